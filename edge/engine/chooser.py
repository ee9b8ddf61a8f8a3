"""Opens the engine of a runtime by its name, and imports only that runtime's library."""

from __future__ import annotations

from pathlib import Path

from edge.engine.interface import MAX_BATCH_KEY, Engine, EngineBuilder, EngineError
from edge.engine.metadata import metadata_of
from mien.errors import UnsupportedError
from mien.release import Runtime


def open_engine(
    path: Path, runtime: Runtime, threads: int = 1, graph_sha256: str | None = None, *, calls_at_once: int = 1
) -> Engine:
    """Load an engine file, or with onnxruntime a portable model as well.

    Args:
        path: the file.
        runtime: which library runs it.
        threads: of one inference; onnxruntime only.
        graph_sha256: of the graph that the engine must come from; TensorRT only, whose engines have a record.
        calls_at_once: frames computed side by side; onnxruntime only: TensorRT overlaps copies by itself.

    Raises:
        EngineError: the file cannot be loaded.
        UnsupportedError: the runtime is not installed, or there is no GPU.
    """
    if runtime == "onnxruntime":
        from edge.engine.onnxruntime import OnnxRuntimeEngine

        engine = OnnxRuntimeEngine(path, threads=threads)
        return engine if calls_at_once == 1 else _side_by_side(engine, calls_at_once)
    if runtime == "tensorrt":
        from edge.engine.tensorrt import TensorRtEngine

        return TensorRtEngine(path, graph_sha256=graph_sha256)
    raise _unknown(runtime)


def builder_for(runtime: Runtime, timing_cache: Path | None = None, *, max_batch: int | None = None) -> EngineBuilder:
    """The builder of a runtime's engines.

    Args:
        runtime: which library runs them.
        timing_cache: folder in which TensorRT keeps what it measured, so that the next build is shorter.
        max_batch: frames of one call, for a graph that leaves that open; see :func:`batch_for`. TensorRT only:
            onnxruntime's engine takes any number up to the graph's.

    Raises:
        UnsupportedError: the runtime is not installed.
    """
    if runtime == "onnxruntime":
        from edge.engine.onnxruntime import OnnxRuntimeBuilder

        return OnnxRuntimeBuilder()
    if runtime == "tensorrt":
        from edge.engine.tensorrt import BuildOptions, TensorRtBuilder

        return TensorRtBuilder(options=BuildOptions(timing_cache=timing_cache, max_batch=max_batch))
    raise _unknown(runtime)


def batch_for(model: Path, frames_a_call: int) -> int | None:
    """The batch to build a graph's engine for: what is wanted, as far as the graph goes; ``None`` where it is fixed.

    TensorRT computes the whole batch in every call, so an engine for more frames than come wastes the rest.

    Raises:
        EngineError: the file cannot be read.
    """
    try:
        stated = metadata_of(model.read_bytes()).get(MAX_BATCH_KEY, "")
    except OSError as error:
        raise EngineError(f"could not read {model}", found=error.strerror or str(error)) from error
    return max(1, min(int(stated), frames_a_call)) if stated.isdecimal() else None


def is_whole(path: Path, runtime: Runtime) -> bool:
    """Whether a built engine stands with everything that opening it needs: TensorRT's with its record."""
    from edge.engine.tensorrt.sidecar import sidecar_of

    return path.is_file() and (runtime != "tensorrt" or sidecar_of(path).is_file())


def _side_by_side(engine: Engine, calls_at_once: int) -> Engine:
    from edge.engine.parallel import ParallelEngine

    return ParallelEngine(engine, calls_at_once=calls_at_once)


def _unknown(runtime: str) -> UnsupportedError:
    return UnsupportedError("no such runtime", found=runtime, wanted="tensorrt or onnxruntime")
