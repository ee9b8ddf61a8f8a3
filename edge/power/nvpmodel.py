"""The power mode of a Jetson by name. Its number is never used: 0 is one board's strongest mode, another's 15 W."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable

_MODE = re.compile(r"^NV Power Mode:\s*(\S+)", re.MULTILINE)
_ASK_EVERY_S = 60.0
_LONGEST_S = 5.0


class PowerMode:
    """Asks ``nvpmodel -q``, at most once a minute.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._program = shutil.which("nvpmodel")
        self._clock = clock
        self._asked_at_s: float | None = None
        self._name: str | None = None

    def name(self) -> str | None:
        """The mode's name; ``None`` where there is no such program or it does not say."""
        if self._program is None:
            return None
        now_s = self._clock()
        if self._asked_at_s is None or now_s - self._asked_at_s >= _ASK_EVERY_S:
            self._asked_at_s = now_s
            self._name = mode_in(_answer_of(self._program))
        return self._name


def mode_in(answer: str) -> str | None:
    """The name in what ``nvpmodel -q`` printed; warnings may stand before it and the number after it."""
    found = _MODE.search(answer)
    return found[1] if found else None


def _answer_of(program: str) -> str:
    try:
        done = subprocess.run([program, "-q"], capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
