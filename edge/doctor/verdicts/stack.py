"""Whether JetPack, Python, CUDA and the runtimes fit each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edge.doctor.finding import Finding, ok, skipped, warning, wrong
from edge.doctor.seen import Answer
from mien.devices import JetPack
from mien.facts import DeviceFacts

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 12)
_OLDEST_TENSORRT = (8, 5)
_NO_JETSON = "this is no Jetson"
_FLASH = "flash JetPack 6.1 or later: docs.nvidia.com/jetson"


def is_jetson(facts: DeviceFacts) -> bool:
    """Whether these are the facts of a Jetson."""
    return bool(facts.l4t or facts.module) or "jetson" in (facts.model or "").lower()


def row_of(facts: DeviceFacts, table: Sequence[JetPack]) -> JetPack | None:
    """The JetPack of a Linux for Tegra: the exact one, else the newest with the same first two numbers."""
    if facts.l4t is None:
        return None
    exact = [row for row in table if facts.l4t in row.l4t]
    start = ".".join(facts.l4t.split(".")[:2]) + "."
    alike = [row for row in table if any(version.startswith(start) for version in row.l4t)]
    fitting = exact or alike
    return fitting[-1] if fitting else None


def jetpack(facts: DeviceFacts, table: Sequence[JetPack]) -> Finding:
    """Whether the board's system is one that mien knows and runs on."""
    if not is_jetson(facts):
        return skipped("jetpack", f"{_NO_JETSON} ({facts.arch})")
    if facts.l4t is None:
        return wrong(
            "jetpack",
            f"{facts.model or facts.module}, and no /etc/nv_tegra_release",
            wanted="JetPack 6 or 7",
            remedy=f"in a container, mount /etc/nv_tegra_release; else {_FLASH}",
        )
    found = f"{facts.model or facts.module}, L4T {facts.l4t}"
    row = row_of(facts, table)
    if row is None:
        known = ", ".join(dict.fromkeys(one.version for one in table)) or "none: the table is not installed"
        return warning("jetpack", f"{found}, which is in no table here", wanted=f"JetPack {known}")
    if facts.l4t not in row.l4t:
        return warning("jetpack", f"{found}: not listed, taken as JetPack {row.version}")
    if _numbers(row.python) < OLDEST_PYTHON:
        return wrong(
            "jetpack", f"{found}, JetPack {row.version} with Python {row.python}", wanted="Python 3.10", remedy=_FLASH
        )
    return ok("jetpack", f"{found}, JetPack {row.version}")


def python(facts: DeviceFacts, table: Sequence[JetPack]) -> Finding:
    """Whether mien runs on this Python, and whether JetPack's bindings were made for it."""
    found, row = _numbers(facts.python)[:2], row_of(facts, table)
    if not OLDEST_PYTHON <= found <= NEWEST_PYTHON:
        wanted = row.python if row else "3.10, 3.11 or 3.12"
        return wrong("python", facts.python, wanted=wanted, remedy=_environment(row.python if row else "3.12"))
    if row is not None and found != _numbers(row.python)[:2]:
        return warning(
            "python",
            f"{facts.python}; TensorRT and GStreamer of JetPack {row.version} are made for {row.python}",
            wanted=row.python,
            remedy=_environment(row.python),
        )
    return ok("python", facts.python)


def cuda(facts: DeviceFacts, table: Sequence[JetPack]) -> Finding:
    """Whether JetPack's own CUDA is here."""
    row = row_of(facts, table)
    if not is_jetson(facts):
        return skipped("cuda", _NO_JETSON if facts.compute_capability is None else "it comes with the engine here")
    if facts.cuda is None:
        return wrong("cuda", "not installed", wanted=row.cuda if row else "", remedy="sudo apt install nvidia-jetpack")
    if row is not None and _numbers(facts.cuda)[:2] != _numbers(row.cuda)[:2]:
        return warning(
            "cuda",
            f"{facts.cuda}",
            wanted=f"{row.cuda}, of JetPack {row.version}",
            remedy="sudo apt install --reinstall nvidia-jetpack",
        )
    return ok("cuda", facts.cuda)


def runtime(facts: DeviceFacts, table: Sequence[JetPack], tensorrt: Answer) -> Finding:
    """Which engine runs here: TensorRT on an NVIDIA GPU, else onnxruntime."""
    if facts.compute_capability is None and not is_jetson(facts):
        if facts.onnxruntime:
            return ok("runtime", f"onnxruntime {facts.onnxruntime}, on the CPU")
        return wrong("runtime", "none", wanted="onnxruntime", remedy="pip install 'mien[edge]'")
    if tensorrt.value is None:
        row = row_of(facts, table)
        remedy = f"sudo apt install tensorrt; {_environment(row.python if row else '3.10')}"
        tell = wrong if not facts.onnxruntime else warning
        instead = f"; onnxruntime {facts.onnxruntime} runs on the CPU instead" if facts.onnxruntime else ""
        return tell("runtime", f"no TensorRT ({tensorrt.error}){instead}", wanted="TensorRT", remedy=remedy)
    return _tensorrt(facts, table, tensorrt.value)


def cuda_binding(facts: DeviceFacts, answer: Answer) -> Finding:
    """Whether CUDA can be reached from Python."""
    if facts.compute_capability is None and not is_jetson(facts):
        return skipped("cuda binding", "there is no NVIDIA GPU")
    if answer.value is None:
        return wrong(
            "cuda binding",
            answer.error,
            wanted="cuda-python or pycuda that finds the GPU",
            remedy="/opt/mien/bin/pip install 'mien[edge,jetson]'",
        )
    return ok("cuda binding", answer.value)


def _tensorrt(facts: DeviceFacts, table: Sequence[JetPack], version: str) -> Finding:
    row = row_of(facts, table)
    if _numbers(version)[:2] < _OLDEST_TENSORRT:
        return wrong("runtime", f"TensorRT {version}", wanted="8.5 or later", remedy=_FLASH)
    if row is not None and row.tensorrt and _numbers(version)[:2] != _numbers(row.tensorrt)[:2]:
        return warning(
            "runtime",
            f"TensorRT {version}",
            wanted=f"{row.tensorrt}, of JetPack {row.version}",
            remedy="/opt/mien/bin/pip uninstall tensorrt tensorrt-cu12 tensorrt-cu13",
        )
    return ok("runtime", f"TensorRT {version}, compute capability {facts.compute_capability}")


def _environment(python_version: str) -> str:
    return f"sudo python{python_version} -m venv --clear --system-site-packages /opt/mien"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
