"""Runs TensorRT engines: tensors have names, and ``execute_async_v3`` runs them on one stream."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from edge.engine.cuda import Array, Cuda, open_cuda
from edge.engine.interface import INPUT, OUTPUTS, EngineError, EngineInfo, RawOutput, check_names, checked_frames
from edge.engine.tensorrt.host import device_class
from edge.engine.tensorrt.library import TensorRt, load_tensorrt, log_of, runtime_of
from edge.engine.tensorrt.network import shape_of
from edge.engine.tensorrt.sidecar import EngineRecord, check_engine

if TYPE_CHECKING:
    import tensorrt as trt


class TensorRtEngine:
    """A TensorRT engine on the GPU.

    Args:
        path: a built engine, with its record beside it.
        graph_sha256: of the graph that it must come from, when that is known.
        library: the TensorRT module; the installed one unless given.
        cuda: memory and a stream; the first binding found unless given.

    Raises:
        UnsupportedError: TensorRT, a CUDA binding or a GPU is missing.
        EngineError: the file is no engine, or one of another device, version or graph, or not of a mien graph.
    """

    def __init__(
        self, path: Path, *, graph_sha256: str | None = None, library: TensorRt | None = None, cuda: Cuda | None = None
    ) -> None:
        self._library = library or load_tensorrt()
        self._log = log_of(self._library)
        self._cuda = cuda or open_cuda()
        self._host: dict[str, Array] = {}
        self._device: dict[str, int] = {}
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._context: trt.IExecutionContext | None = None
        with ExitStack() as undo:
            undo.callback(self._release)
            content, self._record = self._checked(path, graph_sha256)
            engine = self._deserialised(path, content)
            self._context = self._prepared(path, engine)
            self._info = self._described(path, engine)
            undo.pop_all()

    @property
    def info(self) -> EngineInfo:
        """What was opened."""
        return self._info

    @property
    def record(self) -> EngineRecord:
        """What stands beside the engine."""
        return self._record

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """See :class:`edge.engine.interface.Engine`."""
        if self._context is None:
            raise EngineError("the engine was closed", found=str(self._info.path))
        self._host[INPUT][...] = checked_frames(frames, self._info.input_shape, fixed_batch=True)
        self._cuda.upload(self._device[INPUT], self._host[INPUT])
        self.enqueue()
        for name in OUTPUTS:
            self._cuda.download(self._host[name], self._device[name])
        self._cuda.synchronise()
        boxes, scores, classes = (self._host[name] for name in OUTPUTS)
        return RawOutput(
            boxes=boxes.astype(np.float32), scores=scores.astype(np.float32), classes=classes.astype(np.int32)
        )

    def enqueue(self) -> None:
        """Queue the bare execution on what lies in the device's memory; :meth:`synchronise` waits for it.

        Raises:
            EngineError: TensorRT refuses.
        """
        if self._context is None or not self._context.execute_async_v3(self._cuda.stream):
            raise EngineError(f"{self._info.path} failed on a frame", found=self._log.told())

    def synchronise(self) -> None:
        """Wait for what was queued."""
        self._cuda.synchronise()

    def close(self) -> None:
        """Free the engine and its memory."""
        if self._context is not None:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, path: Path, graph_sha256: str | None) -> tuple[bytes, EngineRecord]:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EngineError(f"could not read {path}", found=error.strerror or str(error)) from error
        record = check_engine(
            path,
            content,
            device=device_class(self._cuda.gpu()),
            tensorrt=self._library.__version__,
            graph_sha256=graph_sha256,
        )
        return content, record

    def _deserialised(self, path: Path, content: bytes) -> trt.ICudaEngine:
        self._log.clear()
        self._runtime = runtime_of(self._library)
        if self._record.dla_core is not None:
            self._runtime.DLA_core = self._record.dla_core
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise EngineError(
                f"TensorRT {self._library.__version__} could not load {path}",
                found=self._log.told(),
                wanted="an engine built on this GPU with this version",
                remedy="build it again from the portable model of the release",
            )
        return self._engine

    def _prepared(self, path: Path, engine: trt.ICudaEngine) -> trt.IExecutionContext:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == self._library.TensorIOMode.INPUT for name in names}
        check_names(path, [n for n in names if is_input[n]], [n for n in names if not is_input[n]])
        shapes = {name: shape_of(engine.get_tensor_shape(name)) for name in names}
        if any(length < 1 for shape in shapes.values() for length in shape):
            raise EngineError(f"{path} has open shapes", found=str(shapes), wanted="fixed shapes")
        context = engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"TensorRT could not make room to run {path}",
                found=self._log.told(),
                remedy="free some memory on the device",
            )
        for name, shape in shapes.items():
            kind = np.dtype(self._library.nptype(engine.get_tensor_dtype(name)))
            self._host[name] = self._cuda.pinned(shape, kind)
            self._device[name] = self._cuda.allocate(max(1, math.prod(shape) * kind.itemsize))
            context.set_tensor_address(name, self._device[name])
        return context

    def _described(self, path: Path, engine: trt.ICudaEngine) -> EngineInfo:
        batch, height, width, channels = shape_of(engine.get_tensor_shape(INPUT))
        return EngineInfo(
            runtime="tensorrt",
            runtime_version=self._library.__version__,
            precision=self._record.precision,
            path=path,
            input_shape=(batch, height, width, channels),
            top_k=shape_of(engine.get_tensor_shape(OUTPUTS[0]))[1],
            threads=1,
        )

    def _release(self) -> None:
        """Give back in the order that TensorRT wants: context, engine, runtime, memory."""
        self._context = None
        self._engine = None
        self._runtime = None
        for address in self._device.values():
            self._cuda.free(address)
        self._device.clear()
        self._host.clear()
        self._cuda.close()
