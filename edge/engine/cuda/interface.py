"""What an engine asks of CUDA: two streams, memory, events, and work that is captured once and replayed.

Rules for implementations: calls may come from any thread, one at a time; whatever CUDA answers but success becomes
:class:`EngineError`; everything that was made lives until ``close``, which gives all of it back, whatever fails.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """The GPU that a binding found."""

    name: str
    compute_capability: str
    """Such as "8.7"."""
    integrated: bool
    """Whether it shares the machine's memory, as on a Jetson."""
    clock_khz: int | None
    """Its highest clock; ``None`` where CUDA does not say."""


class Cuda(Protocol):
    """The first device; streams, events and graphs are handles."""

    name: str
    graphs: bool
    """Whether work can be captured (:meth:`capture`)."""
    stream: int
    """The stream of the work, as TensorRT takes it; downloads follow the work on it."""
    uploads: int
    """The stream of copies to the device, beside the work."""

    def gpu(self) -> Gpu:
        """The device that the streams are on."""

    def free_bytes(self) -> int:
        """Device memory that CUDA calls free."""

    def current(self) -> AbstractContextManager[object]:
        """While it is entered, other users of CUDA in this thread, such as TensorRT, work on this device."""

    def allocate(self, size_bytes: int) -> int:
        """Device memory; its address."""

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Host memory that copies can run from without being staged."""

    def mapped(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[Array, int]:
        """Host memory that the device works on without a copy, and its address there."""

    def upload(self, address: int, source: Array) -> None:
        """Queue a copy from host memory, on the stream of uploads."""

    def download(self, target: Array, address: int) -> None:
        """Queue a copy to host memory, on the stream of the work."""

    def event(self) -> int:
        """A mark that can be put into a stream."""

    def record(self, event: int, stream: int) -> None:
        """Put a mark behind what is queued on a stream."""

    def hold(self, stream: int, event: int) -> None:
        """Let a stream go on only when the mark's last place has been reached."""

    def wait(self, event: int) -> None:
        """Sleep until the mark's last place has been reached."""

    def synchronise(self) -> None:
        """Wait for everything queued, on both streams."""

    def capture(self, work: Callable[[], None]) -> int:
        """What ``work`` queues on the stream of the work, made into a graph instead of being done.

        Raises:
            EngineError: the work cannot be captured, or the binding knows no graphs.
        """

    def launch(self, graph: int) -> None:
        """Queue a graph on the stream of the work."""

    def close(self) -> None:
        """Give everything back; may be called twice.

        Raises:
            EngineError: CUDA failed at something; the rest was given back all the same.
        """


def size_of(shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
    """Bytes of an array."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize
