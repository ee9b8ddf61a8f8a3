"""cuda-python, https://nvidia.github.io/cuda-python; its runtime module moved between versions 12 and 13.

The runtime keeps a current device for each thread, so every call makes sure of it first. Streams do not wait for the
default stream, on which others may work. Waiting threads sleep: spinning would cost a core of the few that there are.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.engine.cuda.interface import Array, Gpu, size_of
from edge.engine.interface import EngineError

_DEVICE = 0


class CudaPython:
    """cuda-python's runtime module.

    Raises:
        ImportError: it is not installed.
        EngineError: there is no GPU, or CUDA failed.
    """

    name = "cuda-python"
    graphs = True

    def __init__(self) -> None:
        try:
            self._rt: Any = importlib.import_module("cuda.bindings.runtime")
        except ModuleNotFoundError:
            self._rt = importlib.import_module("cuda.cudart")
        self._threads = threading.local()
        self._held = ExitStack()
        if not self._devices():
            raise EngineError("CUDA finds no GPU")
        with ExitStack() as undo:
            undo.callback(self.close)
            self.stream, self.uploads = self._new_stream(), self._new_stream()
            undo.pop_all()

    def gpu(self) -> Gpu:
        """The device that the streams are on."""
        name = self._call("cudaGetDeviceProperties", _DEVICE).name
        major, minor = self._attribute("ComputeCapabilityMajor"), self._attribute("ComputeCapabilityMinor")
        return Gpu(
            name=(name.decode() if isinstance(name, bytes) else str(name)).rstrip("\0"),
            compute_capability=f"{major}.{minor}",
            integrated=bool(self._attribute("Integrated")),
            clock_khz=self._attribute("ClockRate") or None,
        )

    def free_bytes(self) -> int:
        """Device memory that CUDA calls free."""
        free, _ = self._all("cudaMemGetInfo")
        return int(free)

    def current(self) -> AbstractContextManager[object]:
        """This thread's device, which the runtime keeps until another is chosen."""
        return self._on_device()

    def allocate(self, size_bytes: int) -> int:
        """Device memory; its address."""
        return self._kept(self._call("cudaMalloc", size_bytes), "cudaFree")

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Host memory that copies need not stage."""
        return self._host(shape, dtype, self._rt.cudaHostAllocDefault)[0]

    def mapped(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[Array, int]:
        """Host memory, and its address on the device."""
        memory, address = self._host(shape, dtype, self._rt.cudaHostAllocMapped)
        return memory, int(self._call("cudaHostGetDevicePointer", address, 0))

    def upload(self, address: int, source: Array) -> None:
        """Queue a copy from host memory."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self.uploads)

    def download(self, target: Array, address: int) -> None:
        """Queue a copy to host memory."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self.stream)

    def event(self) -> int:
        """A mark that can be put into a stream."""
        flags = self._rt.cudaEventDisableTiming | self._rt.cudaEventBlockingSync
        return self._kept(self._call("cudaEventCreateWithFlags", flags), "cudaEventDestroy")

    def record(self, event: int, stream: int) -> None:
        """Put a mark behind what is queued."""
        self._call("cudaEventRecord", event, stream)

    def hold(self, stream: int, event: int) -> None:
        """Let a stream wait for a mark."""
        self._call("cudaStreamWaitEvent", stream, event, 0)

    def wait(self, event: int) -> None:
        """Sleep until a mark has been reached."""
        self._call("cudaEventSynchronize", event)

    def synchronise(self) -> None:
        """Wait for everything queued."""
        self._call("cudaStreamSynchronize", self.uploads)
        self._call("cudaStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> int:
        """Make a graph of what is queued; on failure the stream is as it was."""
        # Only this thread is barred from what cannot be captured: another may open an engine meanwhile.
        self._call(
            "cudaStreamBeginCapture", self.stream, self._rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )
        with ExitStack() as undo:
            undo.callback(self._abandon_capture)
            work()
            graph = self._call("cudaStreamEndCapture", self.stream)
            undo.pop_all()
        try:
            made = self._call("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        return self._kept(made, "cudaGraphExecDestroy")

    def launch(self, graph: int) -> None:
        """Queue a graph."""
        self._call("cudaGraphLaunch", graph, self.stream)

    def close(self) -> None:
        """Give everything back."""
        self._held.close()
        self.stream = self.uploads = 0

    def _devices(self) -> int:
        """How many there are; asked before one is chosen. Up to 12.8 it raises where there is no driver."""
        try:
            answer: tuple[Any, ...] = self._rt.cudaGetDeviceCount()
        except RuntimeError as error:
            raise EngineError("cudaGetDeviceCount failed", found=str(error).strip()) from error
        return int(_good(answer, "cudaGetDeviceCount")[0])

    def _abandon_capture(self) -> None:
        """Bring the stream out of capturing; what fails here has failed before, and CUDA forgets it."""
        answer: tuple[Any, ...] = self._rt.cudaStreamEndCapture(self.stream)
        if int(answer[0]) == 0:
            self._rt.cudaGraphDestroy(answer[1])
        self._rt.cudaGetLastError()

    def _new_stream(self) -> int:
        return self._kept(self._call("cudaStreamCreateWithFlags", self._rt.cudaStreamNonBlocking), "cudaStreamDestroy")

    def _host(self, shape: tuple[int, ...], dtype: npt.DTypeLike, flags: int) -> tuple[Array, int]:
        size_bytes = size_of(shape, dtype)
        address = self._kept(self._call("cudaHostAlloc", max(1, size_bytes), flags), "cudaFreeHost")
        block = memoryview((ctypes.c_uint8 * size_bytes).from_address(address))
        memory: Array = np.frombuffer(block, np.dtype(dtype))
        return memory.reshape(shape), address

    def _kept(self, handle: Any, undo: str) -> int:  # noqa: ANN401 - a class of its own for each kind, all integers
        address = int(handle)
        self._held.callback(self._call, undo, address)
        return address

    def _attribute(self, name: str) -> int:
        kind = getattr(self._rt.cudaDeviceAttr, f"cudaDevAttr{name}")
        return int(self._call("cudaDeviceGetAttribute", kind, _DEVICE))

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        self._choose_device()
        yield

    def _choose_device(self) -> None:
        if not getattr(self._threads, "chosen", False):
            _good(self._rt.cudaSetDevice(_DEVICE), "cudaSetDevice")
            self._threads.chosen = True

    def _call(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever CUDA answers
        values = self._all(name, *arguments)
        return values[0] if values else None

    def _all(self, name: str, *arguments: object) -> list[Any]:
        self._choose_device()
        return _good(getattr(self._rt, name)(*arguments), name)


def _good(answer: tuple[Any, ...], name: str) -> list[Any]:
    """What a function answered besides its code."""
    code, *values = answer
    if int(code) != 0:
        raise EngineError(f"{name} failed", found=str(code))
    return values
