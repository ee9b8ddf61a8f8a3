"""Reads a line of NVIDIA's ``tegrastats``. Pure.

The spelling changed between boards and releases; what is understood:

- rails: ``VDD_IN 4945mW/4945mW`` (JetPack 5 and 6: now, mean), ``POM_5V_IN 2543/2543`` (JetPack 4, milliwatts without a
  unit), ``VIN 87426mW/43713mW/87426mW`` (JetPack 7.2: now, mean, most). The first figure counts. An idle rail of an AGX
  Orin may say ``-398mW``, which is the sensor's offset and counts as nothing;
- temperatures: ``cpu@48.5C``, ``CPU@46C``, ``cpu@58.25C/61.75C`` (JetPack 7.2: now, most); an offline sensor says
  ``-256C``; ``PMIC@100C`` is a constant of older boards and no temperature;
- GPU: ``GR3D_FREQ 43%``, ``43%@921``, ``43%@[305,305]``; Thor gives ``@[1575,1575,1575]`` without a load, or nothing;
- memory clock: ``EMC_FREQ 10%@1600``, ``@4266``, ``0%``;
- cores: ``CPU [12%@1510,off,…]``, ``CPU [0%,5%,off]@2601``;
- memory: ``RAM 2464/7620MB (lfb 4x4MB)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from edge.power.rails import NOT_CONNECTED, total_w

_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*)\s+(?:(-?\d+)mW(?:/-?\d+mW){0,2}|(-?\d+)/-?\d+)(?=\s|$)")
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z][A-Za-z0-9_]*)@(-?\d+(?:\.\d+)?)C\b")
_GPU_LOAD = re.compile(r"\bGR3D_FREQ\s+(\d+)%")
_GPU_CLOCK = re.compile(r"\bGR3D2?_FREQ\s+(?:\d+%)?@\[?([\d,]+)")
_EMC_CLOCK = re.compile(r"\bEMC_FREQ\s+(?:\d+%)?@(\d+)")
_RAM = re.compile(r"\bRAM\s+(\d+)/(\d+)MB")
_CPU = re.compile(r"\bCPU\s+\[([^\]]*)\](?:@(\d+))?")
_CORE = re.compile(r"(\d+)%(?:@(\d+))?")
_OFFLINE_C = -256.0
_NO_TEMPERATURE = "pmic"
_HZ_PER_MHZ = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class TegraLine:
    """What one line says; absent parts are ``None`` or empty."""

    rails_w: dict[str, float] = field(default_factory=dict)
    total_w: float | None = None
    temperature_c: dict[str, float] = field(default_factory=dict)
    clocks_hz: dict[str, float] = field(default_factory=dict)
    gpu_percent: float | None = None
    cpu_percent: float | None = None
    ram_bytes: int | None = None
    ram_total_bytes: int | None = None


def parse(line: str) -> TegraLine | None:
    """Read one line; ``None`` when it is no tegrastats line."""
    ram = _RAM.search(line)
    temperature_c = _temperatures(line)
    if ram is None and not temperature_c:
        return None
    rails_w = {
        name: max(int(with_unit or bare), 0) / 1000
        for name, with_unit, bare in _RAIL.findall(line)
        if name != NOT_CONNECTED
    }
    cores, cpu_mhz = _cores(line)
    gpu = _GPU_LOAD.search(line)
    return TegraLine(
        rails_w=rails_w,
        total_w=total_w(rails_w),
        temperature_c=temperature_c,
        clocks_hz=_clocks(line, cpu_mhz),
        gpu_percent=float(gpu[1]) if gpu else None,
        cpu_percent=sum(cores) / len(cores) if cores else None,
        ram_bytes=int(ram[1]) << 20 if ram else None,
        ram_total_bytes=int(ram[2]) << 20 if ram else None,
    )


def _temperatures(line: str) -> dict[str, float]:
    found = ((name.lower(), float(degrees)) for name, degrees in _TEMPERATURE.findall(line))
    return {name: degrees for name, degrees in found if degrees != _OFFLINE_C and name != _NO_TEMPERATURE}


def _cores(line: str) -> tuple[list[int], list[int]]:
    """Loads in percent and clocks in MHz of the cores that are on."""
    found = _CPU.search(line)
    if found is None:
        return [], []
    cores = _CORE.findall(found[1])
    clocks = [int(mhz) for _, mhz in cores if mhz] or ([int(found[2])] if found[2] else [])
    return [int(load) for load, _ in cores], clocks


def _clocks(line: str, cpu_mhz: list[int]) -> dict[str, float]:
    gpu_mhz = [int(mhz) for group in _GPU_CLOCK.findall(line) for mhz in group.split(",") if mhz]
    emc_mhz = [int(mhz) for mhz in _EMC_CLOCK.findall(line)]
    clocks = {"gpu": gpu_mhz, "cpu": cpu_mhz, "emc": emc_mhz}
    return {name: max(mhz) * _HZ_PER_MHZ for name, mhz in clocks.items() if mhz}
