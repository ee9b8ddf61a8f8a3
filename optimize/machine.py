"""Names the machine that latencies were measured on."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path


def latency_conditions(threads: int = 1) -> str:
    """Such as "onnxruntime 1.24.4, 1 thread, AMD EPYC 9B14"."""
    return f"onnxruntime {version('onnxruntime')}, {threads} thread, {_cpu()}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
