"""This machine's own load, from ``/proc``: CPU in percent since the look before, and memory in use."""

from __future__ import annotations

from pathlib import Path

_STAT = Path("/proc/stat")
_MEMINFO = Path("/proc/meminfo")
_IDLE_FIELDS = slice(3, 5)
"""Idle and waiting for I/O, in the first line of /proc/stat; see proc(5)."""


class HostLoad:
    """Looks at the machine's load.

    Args:
        stat: the kernel's CPU counters.
        meminfo: the kernel's memory figures.
    """

    def __init__(self, stat: Path = _STAT, meminfo: Path = _MEMINFO) -> None:
        self._stat = stat
        self._meminfo = meminfo
        self._before = self._ticks()

    def cpu_percent(self) -> float | None:
        """Share of all cores' time that was used since the last call; ``None`` when it cannot be read."""
        before, now = self._before, self._ticks()
        self._before = now
        if before is None or now is None or now[0] <= before[0]:
            return None
        return 100.0 * (1 - (now[1] - before[1]) / (now[0] - before[0]))

    def ram_bytes(self) -> int | None:
        """Memory in use, in bytes; ``None`` when it cannot be read."""
        memory = self._memory()
        return None if memory is None else memory[0] - memory[1]

    def memory_free(self) -> float | None:
        """Share of the memory that can be had without swapping, 0 to 1; ``None`` when it cannot be read."""
        memory = self._memory()
        return None if memory is None or memory[0] <= 0 else memory[1] / memory[0]

    def _memory(self) -> tuple[int, int] | None:
        """Bytes in all, and bytes that can be had."""
        try:
            lines = dict(line.split(":", 1) for line in self._meminfo.read_text().splitlines() if ":" in line)
            total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
        except (OSError, KeyError, ValueError, IndexError):
            return None
        return total, available

    def _ticks(self) -> tuple[int, int] | None:
        try:
            counters = [int(text) for text in self._stat.read_text().splitlines()[0].split()[1:9]]
        except (OSError, ValueError, IndexError):
            return None
        return sum(counters), sum(counters[_IDLE_FIELDS])
