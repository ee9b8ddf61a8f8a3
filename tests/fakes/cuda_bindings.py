"""The two CUDA bindings as modules in memory: they answer as the genuine ones do, and keep what they were asked."""

from __future__ import annotations

import ctypes
import itertools
import threading
import types
from types import SimpleNamespace
from typing import Any

import numpy as np

FACTS = {"ComputeCapabilityMajor": 8, "ComputeCapabilityMinor": 7, "Integrated": 1, "ClockRate": 1_300_500}
DEVICE_SIDE = 1 << 48
"""How far a mapped address lies from the host's."""
_NO_ANSWER = (
    *("cudaSetDevice", "cudaStreamDestroy", "cudaStreamWaitEvent", "cudaStreamSynchronize", "cudaStreamBeginCapture"),
    *("cudaEventRecord", "cudaEventSynchronize", "cudaEventDestroy", "cudaMemcpyAsync", "cudaFree", "cudaFreeHost"),
    *("cudaGraphDestroy", "cudaGraphLaunch", "cudaGraphExecDestroy", "cudaGetLastError"),
)
_HANDLES = (
    *("cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMalloc", "cudaStreamEndCapture"),
    "cudaGraphInstantiateWithFlags",
)


class Runtime(types.ModuleType):
    """cuda-python's runtime module: every function answers a code and its values.

    Args:
        name: where the module stands.
        devices: how many GPUs there are.
        fails: functions that fail from their nth call on.
    """

    cudaDeviceAttr = SimpleNamespace(**{f"cudaDevAttr{fact}": fact for fact in FACTS})  # noqa: N815 - CUDA's names
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down")  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")  # noqa: N815
    cudaStreamNonBlocking, cudaEventBlockingSync, cudaEventDisableTiming = 1, 1, 2  # noqa: N815
    cudaHostAllocDefault, cudaHostAllocMapped = 0, 2  # noqa: N815

    def __init__(
        self, name: str = "cuda.bindings.runtime", *, devices: int = 1, fails: dict[str, int] | None = None
    ) -> None:
        super().__init__(name)
        self.calls: list[tuple[Any, ...]] = []
        self.threads: list[tuple[int, str]] = []
        self._devices, self._fails = devices, fails or {}
        self._next = itertools.count(100)
        self._memory: list[Any] = []
        for function in _NO_ANSWER:
            setattr(self, function, self._function(function, tuple))
        for function in _HANDLES:
            setattr(self, function, self._function(function, lambda: (next(self._next),)))
        self.cudaGetDeviceCount = self._function("cudaGetDeviceCount", lambda: (self._devices,))
        self.cudaDeviceGetAttribute = lambda kind, device: (0, FACTS[kind])
        self.cudaGetDeviceProperties = self._function(
            "cudaGetDeviceProperties", lambda: (SimpleNamespace(name=b"Orin\0\0"),)
        )
        self.cudaMemGetInfo = self._function("cudaMemGetInfo", lambda: (3 << 30, 8 << 30))
        self.cudaHostGetDevicePointer = lambda address, flags: (0, address + DEVICE_SIDE)

    def cudaHostAlloc(self, size_bytes: int, flags: int) -> tuple[int, int]:  # noqa: N802 - CUDA's name
        """Real memory, since it is written to."""
        self._memory.append(ctypes.create_string_buffer(size_bytes))
        address = ctypes.addressof(self._memory[-1])
        self.calls.append(("cudaHostAlloc", size_bytes, flags))
        return (0, address)

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """The calls of some functions, in their order."""
        return [call for call in self.calls if call[0] in names]

    def _function(self, name: str, answer: Any) -> Any:
        def function(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            self.threads.append((threading.get_ident(), name))
            if name in self._fails and len(self.named(name)) >= self._fails[name]:
                return (2, None)
            return (0, *answer())

        return function


class Driver(types.ModuleType):
    """pycuda's driver: every function but those of finding a device wants its context in the calling thread."""

    Error = RuntimeError
    device_attribute = SimpleNamespace(INTEGRATED="integrated", CLOCK_RATE="clock")
    host_alloc_flags = SimpleNamespace(DEVICEMAP=2)
    event_flags = SimpleNamespace(DISABLE_TIMING=2, BLOCKING_SYNC=1)

    def __init__(self, *, fails: str = "") -> None:
        super().__init__("pycuda.driver")
        self.calls: list[str] = []
        self.most_deep = 0
        self.by_thread: dict[int, int] = {}
        """How deep each thread's context lies."""
        self._fails = fails
        context = SimpleNamespace(push=lambda: self._step(1), pop=lambda: self._step(-1), detach=self._detach)
        self._device = SimpleNamespace(
            retain_primary_context=lambda: context,
            compute_capability=lambda: (8, 7),
            name=lambda: "Orin",
            get_attribute={"integrated": 1, "clock": 0}.__getitem__,
        )

    def init(self) -> None:
        """Find the GPU."""

    def Device(self, number: int) -> Any:  # noqa: N802 - pycuda's name
        return self._device

    def Stream(self, flags: int) -> Any:  # noqa: N802 - pycuda's name
        self._inside(f"Stream({flags})")
        handle = 9 + sum(call.startswith("Stream(") for call in self.calls)
        return SimpleNamespace(
            handle=handle,
            synchronize=lambda: self._inside(f"synchronize {handle}"),
            wait_for_event=lambda event: self._inside(f"hold {handle}"),
        )

    def Event(self, flags: int) -> Any:  # noqa: N802 - pycuda's name
        self._inside(f"Event({flags})")
        return SimpleNamespace(
            record=lambda stream: self._inside(f"record {stream.handle}"),
            synchronize=lambda: self._inside("wait"),
        )

    def mem_get_info(self) -> tuple[int, int]:
        self._inside("mem_get_info")
        return (1 << 30, 8 << 30)

    def mem_alloc(self, size_bytes: int) -> Any:
        self._inside("mem_alloc")
        return _Block(self, 4096 + size_bytes)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any, mem_flags: int = 0) -> np.ndarray:
        self._inside(f"pagelocked_empty({mem_flags})")
        return _Pagelocked(shape, dtype).of(_Block(self, 8192))

    def memcpy_htod_async(self, address: int, source: Any, stream: Any) -> None:
        self._inside(f"up {stream.handle}")

    def memcpy_dtoh_async(self, target: Any, address: int, stream: Any) -> None:
        self._inside(f"down {stream.handle}")

    def _detach(self) -> None:
        self.calls.append("detach")

    def _inside(self, call: str) -> None:
        assert self.by_thread.get(threading.get_ident()) == 1, f"{call} without a context"
        self.calls.append(call)
        if call == self._fails:
            raise self.Error(f"{call} failed: out of memory")

    def _step(self, by: int) -> None:
        thread = threading.get_ident()
        self.by_thread[thread] = self.by_thread.get(thread, 0) + by
        self.most_deep = max(self.most_deep, self.by_thread[thread])


class _Block:
    """Memory of the device, or of the host with an address there."""

    def __init__(self, driver: Driver, address: int) -> None:
        self._driver, self._address = driver, address

    def __int__(self) -> int:
        return self._address

    def get_device_pointer(self) -> int:
        self._driver._inside("get_device_pointer")
        return self._address + DEVICE_SIDE

    def free(self) -> None:
        self._driver._inside("free")


class _Pagelocked(np.ndarray):
    """An array whose base is its allocation."""

    block: Any = None

    def of(self, block: _Block) -> _Pagelocked:
        self.block = block
        return self

    @property
    def base(self) -> Any:
        return self.block
