"""The process that builds one engine: steps back behind everything else on the device, then builds.

Its order comes as JSON on the command line. Its last line on standard output says how it went, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from edge.building.order import BuildOrder, build_here
from mien.errors import MienError

NICE = 10
_OOM_SCORE = 900
"""Whom the kernel ends first when memory is gone: this process, not the agent."""
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS, _IOPRIO_IDLE = 1, 3 << 13
_PR_SET_PDEATHSIG = 1


def step_back() -> None:
    """Lowest of all that the device does, and gone when the agent is; what this machine does not know is left out."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(f"{_OOM_SCORE}\n")
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)


def main(order: str) -> int:
    """Build; 0 when the engine stands."""
    step_back()
    try:
        build_here(BuildOrder.model_validate_json(order))
    except MienError as error:
        sys.stdout.write(f"\n{json.dumps({'what': error.what, 'found': error.found})}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
