"""The machine that an engine is built on or opened on: its GPU, free memory and clocks."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge.engine.cuda import Cuda, Gpu
from edge.engine.tensorrt.sidecar import DeviceClass
from edge.engine.tensorrt.workspace import available_bytes

_talk = logging.getLogger(__name__)
_MEMINFO = Path("/proc/meminfo")
_DEVFREQ = Path("/sys/class/devfreq")
_GPU_WORDS = ("gpu", "gv11b", "ga10b", "gp10b")
"""How a Jetson's GPU is called under devfreq, by generation: 17000000.gpu, 17000000.gv11b, gpu-gpc-0."""
NO_CLOCKS = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the builder must know of the machine."""

    device: DeviceClass
    free_bytes: int
    """Memory that the builder can have."""
    clocks: str
    """The GPU's highest clock now; timings are true at one clock only."""


def device_class(gpu: Gpu) -> DeviceClass:
    """What an engine of this GPU and machine is bound to."""
    return DeviceClass(
        os=platform.system().lower(),
        arch=platform.machine(),
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
    )


def read_host(cuda: Cuda, *, meminfo: Path = _MEMINFO, devfreq: Path = _DEVFREQ) -> Host:
    """The machine that this runs on."""
    gpu = cuda.gpu()
    free_bytes = cuda.free_bytes()
    if gpu.integrated:
        free_bytes = _available(meminfo) or free_bytes
    return Host(device=device_class(gpu), free_bytes=free_bytes, clocks=clocks_of(_clocks(devfreq), gpu.clock_khz))


def clocks_of(devfreq_hz: Iterable[int], clock_khz: int | None) -> str:
    """The highest clock in MHz: what devfreq allows in the present power mode, else what CUDA names."""
    hz = max(devfreq_hz, default=0) or (clock_khz or 0) * 1000
    return f"{hz // 1_000_000}MHz" if hz else NO_CLOCKS


def _available(meminfo: Path) -> int | None:
    try:
        return available_bytes(meminfo.read_text())
    except OSError as error:
        _talk.info("%s cannot be read (%s); CUDA's own figure is used", meminfo, error.strerror)
        return None


def _clocks(devfreq: Path) -> list[int]:
    found = []
    for folder in sorted(devfreq.glob("*")):
        if not any(word in folder.name for word in _GPU_WORDS):
            continue
        try:
            found.append(int((folder / "max_freq").read_text()))
        except (OSError, ValueError):
            _talk.info("%s says no highest clock", folder)
    return found
