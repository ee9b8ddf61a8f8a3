"""pycuda, https://documen.tician.de/pycuda, on the device's primary context, which TensorRT uses as well.

A context belongs to the thread that pushed it, so it is pushed around each call and popped again. pycuda has no graphs:
neither its releases up to 2026.1 nor its repository wrap them (https://github.com/inducer/pycuda,
``src/wrapper/wrap_cudadrv.cpp``).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.engine.cuda.interface import Array, Gpu
from edge.engine.interface import EngineError

_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: the stream does not wait for the default stream. pycuda has no name for it."""


class PyCuda:
    """pycuda's driver module.

    Raises:
        ImportError: it is not installed.
        EngineError: there is no GPU, or CUDA failed.
    """

    name = "pycuda"
    graphs = False

    def __init__(self) -> None:
        self._driver: Any = importlib.import_module("pycuda.driver")
        self._threads = threading.local()
        self._held = ExitStack()
        self._things: dict[int, Any] = {}
        try:
            self._driver.init()
            self._context: Any = self._driver.Device(0).retain_primary_context()
        except self._driver.Error as error:
            raise EngineError("pycuda finds no GPU", found=str(error)) from error
        self._held.callback(self._detach)
        self._held.callback(self._forget)
        with ExitStack() as undo:
            undo.callback(self.close)
            self.stream, self.uploads = self._new_stream(), self._new_stream()
            undo.pop_all()

    def gpu(self) -> Gpu:
        """The device that the streams are on."""
        device, kinds = self._driver.Device(0), self._driver.device_attribute
        major, minor = device.compute_capability()
        return Gpu(
            name=str(device.name()),
            compute_capability=f"{major}.{minor}",
            integrated=bool(device.get_attribute(kinds.INTEGRATED)),
            clock_khz=int(device.get_attribute(kinds.CLOCK_RATE)) or None,
        )

    def free_bytes(self) -> int:
        """Device memory that CUDA calls free."""
        free, _ = self._inside(self._driver.mem_get_info)
        return int(free)

    def current(self) -> AbstractContextManager[object]:
        """This thread's context."""
        return self._pushed()

    def allocate(self, size_bytes: int) -> int:
        """Device memory; its address."""
        block = self._inside(self._driver.mem_alloc, size_bytes)
        self._held.callback(self._inside, block.free)
        return int(block)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Host memory that copies need not stage."""
        return self._host(shape, dtype, 0)

    def mapped(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[Array, int]:
        """Host memory, and its address on the device."""
        memory = self._host(shape, dtype, self._driver.host_alloc_flags.DEVICEMAP)
        base: Any = memory.base
        return memory, int(self._inside(base.get_device_pointer))

    def upload(self, address: int, source: Array) -> None:
        """Queue a copy from host memory."""
        self._inside(self._driver.memcpy_htod_async, address, source, self._things[self.uploads])

    def download(self, target: Array, address: int) -> None:
        """Queue a copy to host memory."""
        self._inside(self._driver.memcpy_dtoh_async, target, address, self._things[self.stream])

    def event(self) -> int:
        """A mark that can be put into a stream."""
        flags = self._driver.event_flags
        event = self._inside(self._driver.Event, int(flags.DISABLE_TIMING) | int(flags.BLOCKING_SYNC))
        self._things[id(event)] = event
        return id(event)

    def record(self, event: int, stream: int) -> None:
        """Put a mark behind what is queued."""
        self._inside(self._things[event].record, self._things[stream])

    def hold(self, stream: int, event: int) -> None:
        """Let a stream wait for a mark."""
        self._inside(self._things[stream].wait_for_event, self._things[event])

    def wait(self, event: int) -> None:
        """Sleep until a mark has been reached."""
        self._inside(self._things[event].synchronize)

    def synchronise(self) -> None:
        """Wait for everything queued."""
        self._inside(self._things[self.uploads].synchronize)
        self._inside(self._things[self.stream].synchronize)

    def capture(self, work: Callable[[], None]) -> int:
        """Refuse: there are no graphs."""
        raise EngineError("pycuda has no CUDA graphs", found=f"asked for {work}", wanted="cuda-python")

    def launch(self, graph: int) -> None:
        """Refuse: there are no graphs."""
        raise EngineError("pycuda has no CUDA graphs", found=f"graph {graph}", wanted="cuda-python")

    def close(self) -> None:
        """Give everything back."""
        self._held.close()

    def _new_stream(self) -> int:
        stream = self._inside(self._driver.Stream, _NON_BLOCKING)
        self._things[int(stream.handle)] = stream
        return int(stream.handle)

    def _host(self, shape: tuple[int, ...], dtype: npt.DTypeLike, flags: int) -> Array:
        memory: Array = self._inside(self._driver.pagelocked_empty, shape, np.dtype(dtype), mem_flags=flags)
        base: Any = memory.base
        self._held.callback(self._inside, base.free)
        return memory

    def _forget(self) -> None:
        """Streams and events have no function that ends them: they end with their last reference."""
        with self._pushed():
            self._things.clear()

    def _detach(self) -> None:
        try:
            self._context.detach()
        except self._driver.Error as error:
            raise EngineError("CUDA failed", found=str(error)) from error

    @contextmanager
    def _pushed(self) -> Iterator[None]:
        """The context, once for each thread: what is called inside may ask for it again."""
        try:
            if getattr(self._threads, "inside", False):
                yield
                return
            self._context.push()
            self._threads.inside = True
            try:
                yield
            finally:
                self._threads.inside = False
                self._context.pop()
        except self._driver.Error as error:
            raise EngineError("CUDA failed", found=str(error)) from error

    def _inside(self, function: Any, *arguments: object, **named: object) -> Any:  # noqa: ANN401 - pycuda is untyped
        with self._pushed():
            return function(*arguments, **named)
