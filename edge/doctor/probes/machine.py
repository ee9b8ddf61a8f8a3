"""Looks at the machine: power mode, over-current, memory, disk and clock."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import time
from pathlib import Path

import mien
from edge.doctor.probes import ask
from edge.doctor.seen import ClockSeen, CurrentSeen, DiskSeen, MemorySeen, PowerModeSeen
from edge.power.nvpmodel import mode_in
from edge.power.sysfs import SYS, hwmon_folders, integer_of, text_of

_MODES = Path("/etc/nvpmodel.conf")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
_MEMINFO = Path("/proc/meminfo")
_MOUNTS = Path("/proc/self/mounts")
_UPTIME = Path("/proc/uptime")
_SYSTEMD = Path("/etc/systemd/system")
_DISKS = re.compile(r"^/dev/(nvme|mmcblk|sd|vd)")
_MEANT_TO_BE_WRITTEN = "errors=remount-ro"
_TIMEX_BYTES = 256
_CLOCK_UNSYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2)."""


def user() -> str:
    """Who asks; a number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def barred(path: str) -> str:
    """What keeps this user from a file: the first folder above it that is shut, else the file itself."""
    return str(next((one for one in reversed(Path(path).parents) if not os.access(one, os.X_OK)), path))


def power_mode() -> PowerModeSeen:
    """The mode by name, and the modes of this board."""
    answer = ask.program(["nvpmodel", "-q"])
    return PowerModeSeen(name=mode_in(answer.value or ""), ids=modes_in(text_of(_MODES) or ""))


def modes_in(configuration: str) -> dict[str, int]:
    """Number of each power mode by its name, from nvpmodel's configuration."""
    return {name: int(number) for number, name in _MODE.findall(configuration)}


def over_current(sys: Path = SYS) -> CurrentSeen:
    """The firmware's counters and the power monitors' alarms."""
    counters = [path for folder in hwmon_folders(sys, "soctherm_oc") for path in sorted(folder.glob("oc*_event_cnt"))]
    alarms = [
        text_of(folder / f"in{path.name[4]}_label") or path.name
        for folder in hwmon_folders(sys, "ina3221")
        for path in sorted(folder.glob("curr[1-3]_crit_alarm"))
        if integer_of(path) == 1
    ]
    return CurrentSeen(
        events={path.name.removesuffix("_event_cnt"): integer_of(path) or 0 for path in counters},
        alarms=tuple(alarms),
        uptime_s=float((text_of(_UPTIME) or "0").split()[0]),
    )


def memory() -> MemorySeen:
    """The kernel's figures, and whether a display manager is started."""
    text = text_of(_MEMINFO) or ""
    kilobytes = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    target = _SYSTEMD / "default.target"
    graphical = not target.is_symlink() or "graphical" in target.readlink().name
    return MemorySeen(
        total_bytes=kilobytes.get("MemTotal", 0) * 1024,
        available_bytes=kilobytes.get("MemAvailable", 0) * 1024,
        desktop=graphical and (_SYSTEMD / "display-manager.service").exists(),
    )


def disk(state: Path) -> DiskSeen:
    """The file system of the state folder."""
    folder = next(path for path in (state, *state.parents) if path.exists())
    figures = os.statvfs(folder)
    return DiskSeen(
        folder=str(folder),
        free_bytes=figures.f_bavail * figures.f_frsize,
        free_files=figures.f_favail if figures.f_files else None,
        writable=os.access(folder, os.W_OK),
        read_only=bool(figures.f_flag & os.ST_RDONLY),
        remounted=remounted_in(text_of(_MOUNTS) or ""),
    )


def remounted_in(mounts: str) -> tuple[str, ...]:
    """Mount points of disks that are read-only, and were mounted to be so after an error only."""
    found = []
    for line in mounts.splitlines():
        device, place, _, options, *_ = [*line.split(), "", "", "", ""]
        given = options.split(",")
        if _DISKS.match(device) and "ro" in given and _MEANT_TO_BE_WRITTEN in given:
            found.append(place)
    return tuple(found)


def clock() -> ClockSeen:
    """The time of day, and whether the kernel knows that something keeps it right."""
    folder = Path(mien.__file__).parent
    return ClockSeen(
        now_s=time.time(),
        synchronised=_synchronised(),
        installed_s=max(path.stat().st_mtime for path in folder.glob("*.py")),
    )


def _synchronised() -> bool | None:
    """What adjtimex(2) says, asked without changing anything: its first field, ``modes``, stays 0."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _CLOCK_UNSYNCHRONISED
