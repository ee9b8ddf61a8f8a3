"""What building an engine cost: seconds, and the largest memory of this process meanwhile.

Linux keeps a process's peak (``VmHWM``) and forgets it when ``5`` is written to ``/proc/self/clear_refs``
(proc_pid_clear_refs(5)). Where that is not allowed the peak is not known, and says so, rather than that of an earlier
time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(slots=True, kw_only=True)
class BuildCost:
    """Filled in when the work has ended."""

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measured(*, clear: Path = _CLEAR, status: Path = _STATUS) -> Iterator[BuildCost]:
    """Measure what is done while the block runs.

    Args:
        clear: makes the kernel forget the peak so far.
        status: where it tells the peak.
    """
    cost, is_fresh, started_s = BuildCost(), _forget_peak(clear), time.monotonic()
    yield cost
    cost.seconds = time.monotonic() - started_s
    if is_fresh:
        cost.peak_bytes = _peak(status)


def _forget_peak(clear: Path) -> bool:
    try:
        clear.write_text("5")
    except OSError:
        return False
    return True


def _peak(status: Path) -> int | None:
    try:
        found = _PEAK.search(status.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
