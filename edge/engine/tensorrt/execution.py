"""An engine's execution: buffers that batches travel in, on two streams, with the work as a CUDA graph where it can be.

A batch goes up on one stream while another is computed on the second; a mark holds the work until its frames are there.
Where GPU and CPU share memory nothing is copied: the engine works on the host's buffers. There is one execution context
with a graph for each set of buffers, since their addresses are part of it; an executor of NVIDIA's keeps graphs by
bindings too (https://nvidia.github.io/TensorRT-Edge-LLM/latest/cpp_api/runtime/engineExecutor.html).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge.engine.cuda import Array, Cuda
from edge.engine.cuda.interface import size_of
from edge.engine.interface import INPUT, OUTPUTS, EngineError, RawOutput
from mien.errors import MienError

if TYPE_CHECKING:
    import tensorrt as trt

_talk = logging.getLogger(__name__)

NOT_ASKED = "switched off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of an engine."""

    shape: tuple[int, ...]
    kind: np.dtype[Any]


@dataclass(slots=True, kw_only=True, eq=False)
class Buffers:
    """What one batch travels in, by the names of its tensors."""

    host: dict[str, Array]
    device: dict[str, int]
    """The addresses that the engine works on; with mapped memory those of ``host``."""
    uploaded: int
    """Marks that the frames are on the device."""
    done: int
    """Marks that the answer is on the host."""
    graph: int | None = None


class Execution:
    """Runs batches. Used by one thread at a time.

    Args:
        cuda: streams and memory; closed by its owner.
        context: TensorRT's, with its shapes set.
        tensors: by name.
        sets: batches that may be on their way at once.
        mapped: whether the engine works on the host's memory.

    Raises:
        EngineError: CUDA has no room.
    """

    def __init__(
        self, cuda: Cuda, context: trt.IExecutionContext, tensors: Mapping[str, Tensor], *, sets: int, mapped: bool
    ) -> None:
        self._cuda = cuda
        self._context = context
        self._mapped = mapped
        self._bound: Buffers | None = None
        self.plain_because: str | None = NOT_ASKED
        """Why the work is no CUDA graph; ``None`` where it is one."""
        self.buffers: Sequence[Buffers] = [self._made(tensors) for _ in range(sets)]

    def begin(self, buffers: Buffers, frames: npt.NDArray[np.uint8]) -> None:
        """Take frames and queue their work; they may be overwritten afterwards.

        Raises:
            EngineError: TensorRT or CUDA failed.
        """
        np.copyto(buffers.host[INPUT], frames)
        if not self._mapped:
            self._cuda.upload(buffers.device[INPUT], buffers.host[INPUT])
            self._cuda.record(buffers.uploaded, self._cuda.uploads)
            self._cuda.hold(self._cuda.stream, buffers.uploaded)
        self.enqueue(buffers)
        if not self._mapped:
            for name in OUTPUTS:
                self._cuda.download(buffers.host[name], buffers.device[name])
        self._cuda.record(buffers.done, self._cuda.stream)

    def finish(self, buffers: Buffers) -> RawOutput:
        """Wait for an answer; it belongs to the caller.

        Raises:
            EngineError: CUDA failed.
        """
        self._cuda.wait(buffers.done)
        boxes, scores, classes = (buffers.host[name] for name in OUTPUTS)
        return RawOutput(
            boxes=boxes.astype(np.float32), scores=scores.astype(np.float32), classes=classes.astype(np.int32)
        )

    def enqueue(self, buffers: Buffers) -> None:
        """Queue the bare work on what lies in the device's memory.

        Raises:
            EngineError: TensorRT or CUDA failed.
        """
        if buffers.graph is not None:
            self._cuda.launch(buffers.graph)
        else:
            self._execute(buffers)

    def capture(self) -> None:
        """Make a graph of the work for each set of buffers; where that fails the work stays as it is, and is told.

        Raises:
            EngineError: the work itself fails.
        """
        if not self._cuda.graphs:
            self._stay_plain(f"{self._cuda.name} has no CUDA graphs")
            return
        graphs: list[int] = []
        for buffers in self.buffers:
            self._warm_up(buffers)
            try:
                graphs.append(self._cuda.capture(partial(self._execute, buffers)))
            except EngineError as error:
                self._stay_plain(f"{error.what}: {error.found}" if error.found else error.what)
                self._warm_up(buffers)
                return
        for buffers, graph in zip(self.buffers, graphs, strict=True):
            buffers.graph = graph
        self.plain_because = None

    def settle(self) -> None:
        """Wait until nothing is under way."""
        try:
            self._cuda.synchronise()
        except MienError as error:
            _talk.warning("the GPU did not come to rest: %s", error)

    def _warm_up(self, buffers: Buffers) -> None:
        """TensorRT does what it does only once, which must not become part of a graph."""
        buffers.host[INPUT][...] = 0
        self.begin(buffers, buffers.host[INPUT])
        self._cuda.wait(buffers.done)

    def _stay_plain(self, reason: str) -> None:
        self.plain_because = reason
        _talk.warning("the engine runs without a CUDA graph: %s", reason)

    def _execute(self, buffers: Buffers) -> None:
        if self._bound is not buffers:
            self._bound = None
            for name, address in buffers.device.items():
                if not self._context.set_tensor_address(name, address):
                    raise EngineError(f"TensorRT does not take the memory of {name}")
            self._bound = buffers
        with self._cuda.current():
            if not self._context.execute_async_v3(self._cuda.stream):
                raise EngineError("TensorRT refuses to run the engine")

    def _made(self, tensors: Mapping[str, Tensor]) -> Buffers:
        host, device = {}, {}
        for name, tensor in tensors.items():
            if self._mapped:
                host[name], device[name] = self._cuda.mapped(tensor.shape, tensor.kind)
            else:
                host[name] = self._cuda.pinned(tensor.shape, tensor.kind)
                device[name] = self._cuda.allocate(max(1, size_of(tensor.shape, tensor.kind)))
        return Buffers(host=host, device=device, uploaded=self._cuda.event(), done=self._cuda.event())
