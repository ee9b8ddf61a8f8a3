"""Builds and runs TensorRT engines, 8.5 and later: tensors have names, and ``execute_async_v3`` runs them.

An engine binds to operating system, architecture, compute capability and exact TensorRT version, so it is built on the
device. Precision comes from the graph: FP16 from its types, INT8 from explicit Q/DQ; from TensorRT 10 on the network is
strongly typed, before that the flags that allow those types are set. API by version: NVIDIA's migration guide,
https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration-guide.html.
"""

from __future__ import annotations

import importlib
import math
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from edge.engine.cuda import Array, Cuda, open_cuda
from edge.engine.interface import INPUT, OUTPUTS, EngineError, EngineInfo, RawOutput, check_names, checked_frames
from mien.console import SILENT, Progress
from mien.errors import UnsupportedError
from mien.files import write_bytes

_KEPT_MESSAGES = 3
_OLDEST = (8, 5)
_STRONG_TYPES_SINCE = 10
_CALIBRATORS_UNTIL = 11


class TensorRtEngine:
    """A TensorRT engine on the GPU.

    Args:
        path: a built engine.
        trt: the TensorRT module; the installed one unless given.
        cuda: memory and a stream; the first binding found unless given.

    Raises:
        UnsupportedError: TensorRT, a CUDA binding or a GPU is missing.
        EngineError: the file is no engine, or one of another GPU or version, or not of a mien graph.
    """

    def __init__(self, path: Path, *, trt: Any = None, cuda: Cuda | None = None) -> None:  # noqa: ANN401 - untyped
        self._trt = trt or load_tensorrt()
        self._cuda = cuda or open_cuda()
        self._log = _log_of(self._trt)
        self._runtime: Any = self._trt.Runtime(self._log)
        self._engine: Any = _deserialised(self._runtime, path, self._trt)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT for name in names}
        check_names(path, [n for n in names if is_input[n]], [n for n in names if not is_input[n]])
        self._shapes = {name: tuple(self._engine.get_tensor_shape(name)) for name in names}
        self._check_static(path)
        self._context: Any = self._engine.create_execution_context()
        self._host: dict[str, Array] = {}
        self._device: dict[str, int] = {}
        self._allocate(names)
        batch, height, width, channels = self._shapes[INPUT]
        self._info = EngineInfo(
            runtime="tensorrt",
            runtime_version=self._trt.__version__,
            precision=None,
            path=path,
            input_shape=(batch, height, width, channels),
            top_k=self._shapes[OUTPUTS[0]][1],
            threads=1,
        )

    @property
    def info(self) -> EngineInfo:
        """What was opened."""
        return self._info

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """See :class:`edge.engine.interface.Engine`."""
        if self._context is None:
            raise EngineError("the engine was closed", found=str(self._info.path))
        self._host[INPUT][...] = checked_frames(frames, self._info.input_shape, fixed_batch=True)
        self._cuda.upload(self._device[INPUT], self._host[INPUT])
        if not self._context.execute_async_v3(self._cuda.stream):
            raise EngineError(f"{self._info.path} failed on a frame", found="; ".join(self._log.messages))
        for name in OUTPUTS:
            self._cuda.download(self._host[name], self._device[name])
        self._cuda.synchronise()
        boxes, scores, classes = (self._host[name] for name in OUTPUTS)
        return RawOutput(
            boxes=boxes.astype(np.float32), scores=scores.astype(np.float32), classes=classes.astype(np.int32)
        )

    def close(self) -> None:
        """Free the engine and its memory."""
        if self._context is None:
            return
        self._context = None
        self._engine = None
        self._runtime = None
        for address in self._device.values():
            self._cuda.free(address)
        self._device.clear()
        self._host.clear()
        self._cuda.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_static(self, path: Path) -> None:
        if any(length < 1 for shape in self._shapes.values() for length in shape):
            raise EngineError(f"{path} has open shapes", found=str(self._shapes), wanted="fixed shapes")

    def _allocate(self, names: list[str]) -> None:
        for name in names:
            shape, kind = self._shapes[name], np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
            self._host[name] = self._cuda.pinned(shape, kind)
            self._device[name] = self._cuda.allocate(max(1, math.prod(shape) * kind.itemsize))
            self._context.set_tensor_address(name, self._device[name])


class TensorRtBuilder:
    """Builds this GPU's engine from a portable model.

    Args:
        trt: the TensorRT module; the installed one unless given.
        workspace_mb: memory that the builder may use.
        configure: sets more of TensorRT's builder configuration, such as a DLA core or the compute capability aimed at.

    Raises:
        UnsupportedError: TensorRT is missing or too old.
    """

    def __init__(
        self,
        *,
        trt: Any = None,  # noqa: ANN401 - untyped
        workspace_mb: int = 1024,
        configure: Callable[[Any], None] | None = None,
    ) -> None:
        self._trt = trt or load_tensorrt()
        self._workspace_bytes = workspace_mb << 20
        self._configure = configure

    def build(self, model: Path, out: Path, *, progress: Progress = SILENT) -> Path:
        """See :class:`edge.engine.interface.EngineBuilder`."""
        progress.start("build engine (TensorRT)", 2)
        log = _log_of(self._trt)
        builder = self._trt.Builder(log)
        network = builder.create_network(_network_flags(self._trt))
        self._parse(network, log, model)
        progress.advance()
        config = builder.create_builder_config()
        config.set_memory_pool_limit(self._trt.MemoryPoolType.WORKSPACE, self._workspace_bytes)
        _allow_types(self._trt, config, network)
        if self._configure:
            self._configure(config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(
                f"TensorRT could not build {model}",
                found="; ".join(log.messages)[:600],
                remedy="look at free memory, then at the log above",
            )
        write_bytes(out, bytes(plan))
        progress.advance()
        return out

    def _parse(self, network: Any, log: Any, model: Path) -> None:  # noqa: ANN401 - untyped
        parser = self._trt.OnnxParser(network, log)
        try:
            content = model.read_bytes()
        except OSError as error:
            raise EngineError(f"could not read {model}", found=error.strerror or str(error)) from error
        if not parser.parse(content):
            faults = [str(parser.get_error(index)) for index in range(parser.num_errors)]
            raise EngineError(
                f"TensorRT's parser refuses {model}",
                found="; ".join(faults)[:600],
                wanted="a portable graph of a release bundle",
            )


def load_tensorrt() -> Any:  # noqa: ANN401 - untyped
    """The TensorRT of this device.

    Raises:
        UnsupportedError: it is missing or older than 8.5.
    """
    try:
        trt: Any = importlib.import_module("tensorrt")
    except ImportError as error:
        raise UnsupportedError(
            "TensorRT is not installed here",
            found=str(error),
            wanted="the tensorrt module of JetPack, 8.5 or later",
            remedy="on a Jetson make the environment with --system-site-packages; elsewhere use onnxruntime",
        ) from error
    if _version(trt) < _OLDEST:
        raise UnsupportedError(
            "this TensorRT is too old",
            found=trt.__version__,
            wanted="8.5 or later",
            remedy="flash JetPack 5.1 or later",
        )
    return trt


def _version(trt: Any) -> tuple[int, int]:  # noqa: ANN401 - untyped
    major, minor = trt.__version__.split(".")[:2]
    return int(major), int(minor)


@lru_cache(maxsize=2)
def _log_of(trt: Any) -> Any:  # noqa: ANN401 - untyped
    """TensorRT's logger, which keeps errors for the message of an exception. TensorRT knows one for each process."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401 - untyped
            if severity in {trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR}:
                self.messages.append(message)

    return Log()


def _deserialised(runtime: Any, path: Path, trt: Any) -> Any:  # noqa: ANN401 - untyped
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EngineError(f"could not read {path}", found=error.strerror or str(error)) from error
    engine = runtime.deserialize_cuda_engine(content) if runtime is not None else None
    if engine is None:
        raise EngineError(
            f"TensorRT {trt.__version__} could not load {path}",
            found="; ".join(_log_of(trt).messages)[:600],
            wanted="an engine built on this GPU with this version",
            remedy="build it again from the portable model of the release",
        )
    return engine


def _network_flags(trt: Any) -> int:  # noqa: ANN401 - untyped
    flags = trt.NetworkDefinitionCreationFlag
    if hasattr(flags, "STRONGLY_TYPED") and _is_strong(trt):
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0


def _is_strong(trt: Any) -> bool:  # noqa: ANN401 - untyped
    return "tensorrt_rtx" in trt.__name__ or _version(trt)[0] >= _STRONG_TYPES_SINCE


def _allow_types(trt: Any, config: Any, network: Any) -> None:  # noqa: ANN401 - untyped
    """Before strong typing, allow exactly the types that the graph uses."""
    if _is_strong(trt) or _version(trt)[0] >= _CALIBRATORS_UNTIL:
        return
    types = {
        layer.get_output(index).dtype
        for layer in (network.get_layer(place) for place in range(network.num_layers))
        for index in range(layer.num_outputs)
    }
    for kind, flag in ((trt.float16, "FP16"), (trt.int8, "INT8")):
        if kind in types:
            config.set_flag(getattr(trt.BuilderFlag, flag))
