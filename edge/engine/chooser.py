"""Opens the engine of a runtime by its name, and imports only that runtime's library."""

from __future__ import annotations

from pathlib import Path

from edge.engine.interface import Engine, EngineBuilder
from mien.errors import UnsupportedError
from mien.release import Runtime


def open_engine(path: Path, runtime: Runtime, threads: int = 1) -> Engine:
    """Load an engine file, or with onnxruntime a portable model as well.

    Args:
        path: the file.
        runtime: which library runs it.
        threads: of one inference; onnxruntime only.

    Raises:
        EngineError: the file cannot be loaded.
        UnsupportedError: the runtime is not installed, or there is no GPU.
    """
    if runtime == "onnxruntime":
        from edge.engine.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(path, threads=threads)
    if runtime == "tensorrt":
        from edge.engine.tensorrt import TensorRtEngine

        return TensorRtEngine(path)
    raise _unknown(runtime)


def builder_for(runtime: Runtime) -> EngineBuilder:
    """The builder of a runtime's engines.

    Raises:
        UnsupportedError: the runtime is not installed.
    """
    if runtime == "onnxruntime":
        from edge.engine.onnxruntime import OnnxRuntimeBuilder

        return OnnxRuntimeBuilder()
    if runtime == "tensorrt":
        from edge.engine.tensorrt import TensorRtBuilder

        return TensorRtBuilder()
    raise _unknown(runtime)


def _unknown(runtime: str) -> UnsupportedError:
    return UnsupportedError("no such runtime", found=runtime, wanted="tensorrt or onnxruntime")
