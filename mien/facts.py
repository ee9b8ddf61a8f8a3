"""What a device is: the hardware and runtime facts that decide which model it can run.

Only the value lives here. Reading facts off a machine is the device's work (``edge``).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DeviceFacts(BaseModel):
    """Facts of one device, as it states them in its twin; ``None`` means "not there", never "unknown but fine"."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: str | None = None
    """Board name, e.g. "NVIDIA Jetson Orin Nano Developer Kit" (from /proc/device-tree/model)."""
    module: str | None = None
    """Module id, e.g. "p3767-0005"."""
    l4t: str | None = None
    """Linux for Tegra version, e.g. "36.4.3"."""
    jetpack: str | None = None
    os: str = "linux"
    arch: str
    """Machine architecture as ``uname -m`` says it: "aarch64" or "x86_64"."""
    cpu: str
    """CPU model name; an optimised onnxruntime graph is bound to it."""
    cpu_count: int
    memory_bytes: int
    python: str
    cuda: str | None = None
    compute_capability: str | None = None
    """CUDA compute capability such as "8.7"; ``None`` without a GPU."""
    tensorrt: str | None = None
    """Exact TensorRT version such as "10.3.0.30"; ``None`` when it is not installed."""
    onnxruntime: str | None = None

    def runtimes(self) -> tuple[str, ...]:
        """The runtimes this device can load, best first."""
        available = []
        if self.tensorrt and self.compute_capability:
            available.append("tensorrt")
        if self.onnxruntime:
            available.append("onnxruntime")
        return tuple(available)

    def hardware_class(self) -> str:
        """The name shared by devices that can exchange built engines.

        TensorRT binds an engine to operating system, architecture, compute capability and exact version; an
        onnxruntime graph optimised at the highest level is bound to the CPU it was made on.
        """
        if "tensorrt" in self.runtimes():
            return f"{self.os}-{self.arch}-sm{self.compute_capability}-trt{self.tensorrt}"
        cpu = "-".join(self.cpu.lower().split())
        return f"{self.os}-{self.arch}-{cpu}-ort{self.onnxruntime}"
