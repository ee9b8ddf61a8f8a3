"""How much memory is left, as a fraction: of the machine, and of the service's own limit where it has one."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_OWN_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def memory_left(meminfo: Path = _MEMINFO, own_group: Path = _OWN_GROUP, groups: Path = _GROUPS) -> float | None:
    """The smaller of the two, 0..1; ``None`` where neither is known."""
    known = [part for part in (_of_machine(meminfo), _of_group(own_group, groups)) if part is not None]
    return min(known, default=None)


def _of_machine(meminfo: Path) -> float | None:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        total, available = (int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return available / total if total else None


def _of_group(own_group: Path, groups: Path) -> float | None:
    try:
        path = own_group.read_text().rpartition("::")[2].strip()
        folder = groups / path.lstrip("/")
        most = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        files = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    used -= int(files.get("inactive_file", 0))  # given up by the kernel before anything is
    return max(1 - used / most, 0.0) if most else None
