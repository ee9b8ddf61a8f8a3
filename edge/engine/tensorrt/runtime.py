"""Runs TensorRT engines: tensors have names, and two batches may be under way besides one that is asked for aside."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from edge.engine.cuda import Cuda, open_cuda
from edge.engine.interface import INPUT, OUTPUTS, EngineError, EngineInfo, RawOutput, check_names, checked_frames
from edge.engine.tensorrt.execution import Buffers, Execution, Tensor
from edge.engine.tensorrt.host import device_class
from edge.engine.tensorrt.library import TensorRt, load_tensorrt, log_of, runtime_of
from edge.engine.tensorrt.network import shape_of
from edge.engine.tensorrt.sidecar import EngineRecord, check_engine

if TYPE_CHECKING:
    import tensorrt as trt


class TensorRtEngine:
    """A TensorRT engine on the GPU; an :class:`edge.engine.interface.OverlappingEngine`.

    Args:
        path: a built engine, with its record beside it.
        graph_sha256: of the graph that it must come from, when that is known.
        library: the TensorRT module; the installed one unless given.
        cuda: streams and memory, closed with the engine; the first binding found unless given.
        graph: whether the work is made into a CUDA graph where that is possible.
        mapped: whether the engine works on the host's memory instead of copies; unless given, where GPU and CPU
            share their memory.

    Raises:
        UnsupportedError: TensorRT, a CUDA binding or a GPU is missing.
        EngineError: the file is no engine, or one of another device, version or graph, or not of a mien graph.
    """

    depth = 2

    def __init__(
        self,
        path: Path,
        *,
        graph_sha256: str | None = None,
        library: TensorRt | None = None,
        cuda: Cuda | None = None,
        graph: bool = True,
        mapped: bool | None = None,
    ) -> None:
        self._library = library or load_tensorrt()
        self._log = log_of(self._library)
        self._cuda = cuda or open_cuda()
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._execution: Execution | None = None
        self._tickets = 0
        self._under_way: deque[tuple[int, Buffers]] = deque()
        with ExitStack() as undo:
            undo.callback(self._release)
            with self._cuda.current():
                content, self._record = self._checked(path, graph_sha256)
                engine = self._deserialised(path, content)
                context, tensors = self._prepared(path, engine)
                self._info = self._described(path, tensors)
                self.mapped = self._cuda.gpu().integrated if mapped is None else mapped
                self._execution = Execution(self._cuda, context, tensors, sets=self.depth + 1, mapped=self.mapped)
                if graph:
                    with self._watched():
                        self._execution.capture()
            self._aside, *free = self._execution.buffers
            self._free = deque(free)
            undo.pop_all()

    @property
    def info(self) -> EngineInfo:
        """What was opened."""
        return self._info

    @property
    def record(self) -> EngineRecord:
        """What stands beside the engine."""
        return self._record

    @property
    def plain_because(self) -> str | None:
        """Why the work is no CUDA graph; ``None`` where it is one."""
        return self._running().plain_because

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """See :class:`edge.engine.interface.Engine`."""
        execution = self._running()
        block = checked_frames(frames, self._info.input_shape, fixed_batch=True)
        with self._watched():
            execution.begin(self._aside, block)
            return execution.finish(self._aside)

    def submit(self, frames: npt.NDArray[np.uint8]) -> int:
        """See :class:`edge.engine.interface.OverlappingEngine`."""
        execution = self._running()
        block = checked_frames(frames, self._info.input_shape, fixed_batch=True)
        if not self._free:
            raise EngineError(
                "too many batches are under way", found=str(len(self._under_way)), wanted=f"at most {self.depth}"
            )
        with self._watched():
            execution.begin(self._free[0], block)
        self._tickets += 1
        self._under_way.append((self._tickets, self._free.popleft()))
        return self._tickets

    def collect(self, ticket: int) -> RawOutput:
        """See :class:`edge.engine.interface.OverlappingEngine`."""
        execution = self._running()
        if not self._under_way or self._under_way[0][0] != ticket:
            raise EngineError(
                f"batch {ticket} is not the next to be collected",
                found=", ".join(str(known) for known, _ in self._under_way) or "no batch under way",
                wanted="the oldest of those under way",
            )
        _, buffers = self._under_way.popleft()
        self._free.append(buffers)
        with self._watched():
            return execution.finish(buffers)

    def enqueue(self) -> None:
        """Queue the bare execution on what lies in the device's memory; :meth:`synchronise` waits for it.

        Raises:
            EngineError: TensorRT refuses.
        """
        execution = self._running()
        with self._watched():
            execution.enqueue(self._aside)

    def synchronise(self) -> None:
        """Wait for what was queued."""
        self._cuda.synchronise()

    def close(self) -> None:
        """Free the engine and its memory."""
        if self._execution is not None:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> Execution:
        if self._execution is None:
            raise EngineError("the engine was closed", found=str(self._info.path))
        return self._execution

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """A failure is told with TensorRT's words. Streams keep their order, so buffers can be used again at once."""
        self._log.clear()
        try:
            yield
        except EngineError as error:
            found = "; ".join(part for part in (error.what, error.found, self._log.told()) if part)
            raise EngineError(f"{self._info.path} failed on a frame", found=found) from error

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

    def _prepared(self, path: Path, engine: trt.ICudaEngine) -> tuple[trt.IExecutionContext, dict[str, Tensor]]:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == self._library.TensorIOMode.INPUT for name in names}
        check_names(path, [n for n in names if is_input[n]], [n for n in names if not is_input[n]])
        context = engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"TensorRT could not make room to run {path}",
                found=self._log.told(),
                remedy="free some memory on the device",
            )
        if any(length < 0 for length in shape_of(engine.get_tensor_shape(INPUT))):
            _, _, largest = engine.get_tensor_profile_shape(INPUT, 0)
            if not context.set_input_shape(INPUT, largest):
                raise EngineError(f"{path} does not take the largest batch of its profile", found=self._log.told())
        shapes = {name: shape_of(context.get_tensor_shape(name)) for name in names}
        if any(length < 1 for shape in shapes.values() for length in shape):
            raise EngineError(f"{path} has open shapes", found=str(shapes), wanted="shapes that its input decides")
        kinds = {name: np.dtype(self._library.nptype(engine.get_tensor_dtype(name))) for name in names}
        return context, {name: Tensor(shape=shapes[name], kind=kinds[name]) for name in names}

    def _described(self, path: Path, tensors: dict[str, Tensor]) -> EngineInfo:
        batch, height, width, channels = tensors[INPUT].shape
        return EngineInfo(
            runtime="tensorrt",
            runtime_version=self._library.__version__,
            precision=self._record.precision,
            path=path,
            input_shape=(batch, height, width, channels),
            top_k=tensors[OUTPUTS[0]].shape[1],
            threads=1,
        )

    def _release(self) -> None:
        """Let the GPU come to rest, then give back as TensorRT wants: context, engine, runtime, memory."""
        with ExitStack() as every:
            every.callback(self._cuda.close)
            with self._cuda.current():
                if self._execution is not None:
                    self._execution.settle()
                self._under_way.clear()
                self._execution = None
                self._engine = None
                self._runtime = None
