"""Reads the facts of this machine: board, system, runtimes. Every source may be missing; a missing fact is ``None``."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from mien.facts import DeviceFacts

_MODEL = Path("/proc/device-tree/model")
_COMPATIBLE = Path("/proc/device-tree/compatible")
_TEGRA_RELEASE = Path("/etc/nv_tegra_release")
_CPUINFO = Path("/proc/cpuinfo")
_L4T = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)")
_MODULE = re.compile(r"p\d{4}-\d{4}")

_COMPUTE_CAPABILITY = {"tegra234": "8.7", "tegra194": "7.2", "tegra186": "6.2", "tegra210": "5.3", "tegra264": "11.0"}
"""By system on chip; from NVIDIA's table of CUDA-capable Jetson modules."""
_JETPACK = {
    "39.2": "7.2",
    "38.4": "7.1",
    "38": "7",
    "36.5": "6.2",
    "36.4.0": "6.1",
    "36.4": "6.2",
    "36.3": "6.0",
    "36.2": "6.0",
    "35": "5",
    "32": "4",
}
"""JetPack by L4T, longest matching start; point releases of JetPack share these."""


def read_facts() -> DeviceFacts:
    """The facts of the machine that this runs on."""
    compatible = _text(_COMPATIBLE)
    l4t = l4t_version(_text(_TEGRA_RELEASE))
    return DeviceFacts(
        model=_text(_MODEL) or None,
        module=module_of(compatible),
        l4t=l4t,
        jetpack=jetpack_of(l4t),
        os=platform.system().lower(),
        arch=platform.machine(),
        cpu=cpu_model(_text(_CPUINFO)) or platform.machine(),
        cpu_count=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        cuda=_cuda_version(),
        compute_capability=jetson_capability(compatible) or _nvidia_smi_capability(),
        tensorrt=_version("tensorrt"),
        onnxruntime=_version("onnxruntime") or _version("onnxruntime-gpu"),
    )


def l4t_version(text: str) -> str | None:
    """Linux for Tegra's version from ``/etc/nv_tegra_release``, such as "36.4.3"."""
    match = _L4T.search(text)
    return f"{match[1]}.{match[2]}" if match else None


def jetpack_of(l4t: str | None) -> str | None:
    """The JetPack that an L4T version belongs to; ``None`` when it is not known."""
    fitting = [start for start in _JETPACK if l4t and (l4t == start or l4t.startswith(f"{start}."))]
    return _JETPACK[max(fitting, key=len)] if fitting else None


def module_of(compatible: str) -> str | None:
    """The module's id from the device tree's ``compatible`` text; a kit names its carrier board before it."""
    boards = _MODULE.findall(compatible)
    return boards[-1] if boards else None


def jetson_capability(compatible: str) -> str | None:
    """The GPU's compute capability from the device tree's ``compatible`` text."""
    return next((value for chip, value in _COMPUTE_CAPABILITY.items() if f"nvidia,{chip}" in compatible), None)


def cpu_model(cpuinfo: str) -> str | None:
    """The CPU's model name from ``/proc/cpuinfo``; on Arm, its implementer and part numbers."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    if "model name" in fields:
        return fields["model name"]
    if "CPU part" in fields:
        return f"arm {fields.get('CPU implementer', '')} {fields['CPU part']}"
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cuda_version() -> str | None:
    match = re.search(r'"cuda"\s*:\s*{[^}]*"version"\s*:\s*"([\d.]+)"', _text(Path("/usr/local/cuda/version.json")))
    return match[1] if match else None


def _nvidia_smi_capability() -> str | None:
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    first = answer.stdout.strip().splitlines()[:1]
    return first[0].strip() if first else None
