"""The little of CUDA that an engine needs, through whichever binding the device has: cuda-python, else pycuda.

A Jetson's JetPack brings CUDA; ``mien[jetson]`` brings cuda-python, ``mien[pycuda]`` the other. Nothing here
knows TensorRT.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge.engine.interface import EngineError
from mien.errors import UnsupportedError

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
    """One stream, and memory that lives until it is freed. Used by one thread."""

    name: str
    stream: int
    """The stream's handle, as TensorRT takes it."""

    def gpu(self) -> Gpu:
        """The device that the stream is on."""

    def free_bytes(self) -> int:
        """Device memory that CUDA calls free."""

    def allocate(self, size_bytes: int) -> int:
        """Device memory; its address."""

    def free(self, address: int) -> None:
        """Give device memory back."""

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Host memory that copies can run from without being staged."""

    def upload(self, address: int, source: Array) -> None:
        """Queue a copy from host memory."""

    def download(self, target: Array, address: int) -> None:
        """Queue a copy to host memory."""

    def synchronise(self) -> None:
        """Wait for everything queued."""

    def close(self) -> None:
        """Free the stream and pinned memory."""


def open_cuda() -> Cuda:
    """The first binding that is there and finds a device.

    Raises:
        UnsupportedError: no binding is installed, or none finds a GPU; says what each answered.
    """
    answers: list[str] = []
    for name, kind in (("cuda-python", _CudaPython), ("pycuda", _PyCuda)):
        try:
            return kind()
        except (ImportError, EngineError) as error:
            answers.append(f"{name}: {error}")
    raise UnsupportedError(
        "no CUDA binding finds a GPU",
        found="; ".join(answers)[:400],
        wanted="cuda-python or pycuda, and an NVIDIA GPU",
        remedy="on a Jetson: pip install 'mien[jetson]'; elsewhere use the onnxruntime runtime",
    )


class _CudaPython:
    """cuda-python, https://nvidia.github.io/cuda-python; its runtime module moved between versions 12 and 13."""

    name = "cuda-python"

    def __init__(self) -> None:
        try:
            self._rt: Any = importlib.import_module("cuda.bindings.runtime")
        except ModuleNotFoundError:
            self._rt = importlib.import_module("cuda.cudart")
        self._pinned: list[int] = []
        if not self._call("cudaGetDeviceCount"):
            raise EngineError("CUDA finds no GPU")
        self.stream = int(self._call("cudaStreamCreate"))

    def gpu(self) -> Gpu:
        name = self._call("cudaGetDeviceProperties", 0).name
        major, minor = self._attribute("ComputeCapabilityMajor"), self._attribute("ComputeCapabilityMinor")
        return Gpu(
            name=(name.decode() if isinstance(name, bytes) else str(name)).rstrip("\0"),
            compute_capability=f"{major}.{minor}",
            integrated=bool(self._attribute("Integrated")),
            clock_khz=self._attribute("ClockRate") or None,
        )

    def free_bytes(self) -> int:
        free, _ = self._all("cudaMemGetInfo")
        return int(free)

    def allocate(self, size_bytes: int) -> int:
        return int(self._call("cudaMalloc", size_bytes))

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        import ctypes

        kind = np.dtype(dtype)
        size_bytes = int(np.prod(shape)) * kind.itemsize
        address = int(self._call("cudaMallocHost", size_bytes))
        self._pinned.append(address)
        block = memoryview((ctypes.c_uint8 * size_bytes).from_address(address))
        memory: Array = np.frombuffer(block, kind)
        return memory.reshape(shape)

    def upload(self, address: int, source: Array) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self.stream)

    def download(self, target: Array, address: int) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self.stream)

    def synchronise(self) -> None:
        self._call("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        while self._pinned:
            self._call("cudaFreeHost", self._pinned.pop())
        if self.stream:
            self._call("cudaStreamDestroy", self.stream)
            self.stream = 0

    def _attribute(self, name: str) -> int:
        return int(self._call("cudaDeviceGetAttribute", getattr(self._rt.cudaDeviceAttr, f"cudaDevAttr{name}"), 0))

    def _call(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever CUDA answers
        values = self._all(name, *arguments)
        return values[0] if values else None

    def _all(self, name: str, *arguments: object) -> list[Any]:
        answer: tuple[Any, ...] = getattr(self._rt, name)(*arguments)
        code, *values = answer
        if int(code) != 0:
            raise EngineError(f"{name} failed", found=str(code))
        return values


class _PyCuda:
    """pycuda, https://documen.tician.de/pycuda; a context belongs to a thread, so it is pushed around each call."""

    name = "pycuda"

    def __init__(self) -> None:
        self._driver: Any = importlib.import_module("pycuda.driver")
        try:
            self._driver.init()
            self._context = self._driver.Device(0).retain_primary_context()
        except self._driver.Error as error:
            raise EngineError("pycuda finds no GPU", found=str(error)) from error
        self._blocks: dict[int, Any] = {}
        self._stream = self._inside(self._driver.Stream)
        self.stream = int(self._stream.handle)

    def gpu(self) -> Gpu:
        device, kinds = self._driver.Device(0), self._driver.device_attribute
        major, minor = device.compute_capability()
        return Gpu(
            name=str(device.name()),
            compute_capability=f"{major}.{minor}",
            integrated=bool(device.get_attribute(kinds.INTEGRATED)),
            clock_khz=int(device.get_attribute(kinds.CLOCK_RATE)) or None,
        )

    def free_bytes(self) -> int:
        free, _ = self._inside(self._driver.mem_get_info)
        return int(free)

    def allocate(self, size_bytes: int) -> int:
        block = self._inside(self._driver.mem_alloc, size_bytes)
        self._blocks[int(block)] = block
        return int(block)

    def free(self, address: int) -> None:
        self._inside(self._blocks.pop(address).free)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        block: Array = self._inside(self._driver.pagelocked_empty, shape, np.dtype(dtype))
        return block

    def upload(self, address: int, source: Array) -> None:
        self._inside(self._driver.memcpy_htod_async, address, source, self._stream)

    def download(self, target: Array, address: int) -> None:
        self._inside(self._driver.memcpy_dtoh_async, target, address, self._stream)

    def synchronise(self) -> None:
        self._inside(self._stream.synchronize)

    def close(self) -> None:
        for address in list(self._blocks):
            self.free(address)

    def _inside(self, function: Any, *arguments: object) -> Any:  # noqa: ANN401 - pycuda is untyped
        self._context.push()
        try:
            return function(*arguments)
        except self._driver.Error as error:
            raise EngineError("CUDA failed", found=str(error)) from error
        finally:
            self._context.pop()
