"""NVIDIA's ``tegrastats``: a pure parser of its lines, and the source that runs it.

The spelling of a line changed between boards and releases; what this parser reads:

- rails: ``VDD_IN 4945mW/4945mW`` (JetPack 5 and 6), ``POM_5V_IN 2543/2543`` (JetPack 4, milliwatts without a unit),
  ``VIN 23500mW/23500mW`` (Thor). The first figure is now, the second NVIDIA's average, which is not used;
- temperatures: ``cpu@48.5C``, ``CPU@46C``, ``tj@51.2C``; an offline sensor says ``-256C``;
- GPU load: ``GR3D_FREQ 43%``, ``GR3D_FREQ 43%@[612]``; Thor gives ``GR3D_FREQ @[1575,1575,1575]``, which has no load;
- memory: ``RAM 2464/7620MB (lfb 4x4MB)``; CPU: ``CPU [12%@1510,off,…]``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field

from edge.power.interface import PowerError, PowerSample

INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN", "SYS_IN", "VIN_SYS_5V0")
"""Names of the rail which feeds the whole board, most telling first; ``VIN_SYS_5V0`` is one part only on Orin AGX."""
_PART_OF_THE_BOARD = frozenset({"VIN_SYS_5V0"})

_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*)\s+(\d+)(?:mW)?/(\d+)(?:mW)?(?=\s|$)")
_TEMPERATURE = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*)@(-?\d+(?:\.\d+)?)C\b")
_GPU = re.compile(r"\bGR3D_FREQ\s+(\d+)%")
_RAM = re.compile(r"\bRAM\s+(\d+)/\d+MB")
_CPU = re.compile(r"\bCPU\s+\[([^\]]*)\]")
_CORE = re.compile(r"(\d+)%")
_OFFLINE_C = -256.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TegraLine:
    """What one line says; absent parts are ``None`` or empty."""

    rails_w: dict[str, float] = field(default_factory=dict)
    total_w: float | None = None
    temperature_c: dict[str, float] = field(default_factory=dict)
    gpu_percent: float | None = None
    cpu_percent: float | None = None
    ram_bytes: int | None = None


def parse(line: str) -> TegraLine | None:
    """Read one line; ``None`` when it is no tegrastats line."""
    ram = _RAM.search(line)
    temperature_c = {
        name.lower(): float(value) for name, value in _TEMPERATURE.findall(line) if float(value) != _OFFLINE_C
    }
    if ram is None and not temperature_c:
        return None
    rails_w = {name: int(now) / 1000 for name, now, _ in _RAIL.findall(line) if name not in {"RAM", "SWAP", "IRAM"}}
    gpu = _GPU.search(line)
    return TegraLine(
        rails_w=rails_w,
        total_w=_total(rails_w),
        temperature_c=temperature_c,
        gpu_percent=float(gpu[1]) if gpu else None,
        cpu_percent=_cpu_percent(line),
        ram_bytes=int(ram[1]) << 20 if ram else None,
    )


def _total(rails_w: dict[str, float]) -> float | None:
    for name in INPUT_RAILS:
        if name in rails_w and name not in _PART_OF_THE_BOARD:
            return rails_w[name]
    return sum(rails_w.values()) if rails_w else None


def _cpu_percent(line: str) -> float | None:
    cores = _CPU.search(line)
    loads = [int(load) for load in _CORE.findall(cores[1])] if cores else []
    return sum(loads) / len(loads) if loads else None


class Tegrastats:
    """Runs ``tegrastats`` and keeps its newest line.

    Args:
        interval_s: how often it reports.

    Raises:
        PowerError: this machine has no tegrastats.
    """

    name = "tegrastats"

    def __init__(self, interval_s: float) -> None:
        program = shutil.which("tegrastats")
        if program is None:
            raise PowerError(
                "there is no tegrastats on this machine",
                wanted="an NVIDIA Jetson with JetPack",
                remedy="choose power.source: auto",
            )
        self._newest: PowerSample | None = None
        self._process = subprocess.Popen(
            [program, "--interval", str(int(interval_s * 1000))], stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._follow, name="tegrastats", daemon=True)
        self._thread.start()

    def read(self) -> PowerSample | None:
        """The newest line's figures."""
        return self._newest

    def close(self) -> None:
        """Stop the program."""
        self._process.terminate()
        self._process.wait(timeout=5)
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        for text in self._process.stdout or ():
            line = parse(text)
            if line is not None:
                self._newest = sample_of(line, time.monotonic())


def sample_of(line: TegraLine, at_s: float) -> PowerSample:
    """A line as a reading taken at ``at_s``."""
    return PowerSample(
        at_s=at_s,
        total_w=line.total_w,
        rails_w=line.rails_w,
        temperature_c=line.temperature_c,
        gpu_percent=line.gpu_percent,
        cpu_percent=line.cpu_percent,
        ram_bytes=line.ram_bytes,
    )
