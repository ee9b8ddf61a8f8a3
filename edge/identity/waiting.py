"""How long a device that enrols asks again while a person has not decided."""

from __future__ import annotations

import time
from collections.abc import Callable

from mien.console import err
from mien.durations import seconds_of

_PAUSE_S = 5.0


class Waiting:
    """Pauses between two questions until the time is over.

    Args:
        seconds: how long to ask; 0 asks once.
        pause: waits so many seconds.
        clock: seconds that only rise.
    """

    def __init__(
        self,
        seconds: float,
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pause, self._clock = pause, clock
        self._ends_at = clock() + seconds
        self._was_told = False

    @classmethod
    def of(cls, text: str | None) -> Waiting:
        """As a command line has it: ``10m``; ``None`` asks once.

        Raises:
            ConfigError: the text is no duration.
        """
        return cls(seconds_of(text) if text else 0.0)

    def __call__(self, device_id: str) -> bool:
        """Pause, and say whether to ask again."""
        left = self._ends_at - self._clock()
        if left <= 0:
            return False
        if not self._was_told:
            err().print(f"asked as {device_id}; waiting for the operator: mien fleet device accept {device_id}")
            self._was_told = True
        self._pause(min(_PAUSE_S, left))
        return True
