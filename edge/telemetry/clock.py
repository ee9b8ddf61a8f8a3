"""The wall clock as telemetry wants it: tied to the monotonic clock, so that nobody's correction bends a window.

A time is the anchor plus what the monotonic clock counted since. When the system's clock says something else than that,
it was stepped (or the device slept): the step is told once, and times after it follow the new clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_TOLERANCE_S = 1.0
"""The system clock is slewed by less than this between two looks, and both clocks are slewed together."""


class WallClock:
    """Unix seconds that run on between two looks for a step.

    Args:
        wall: the system's clock, which may be set.
        monotonic: the one that may not.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset_s = wall() - monotonic()

    def at(self, monotonic_s: float) -> float:
        """The Unix time of a monotonic one, by the clock as it was at the last look; never below zero."""
        return max(self._offset_s + monotonic_s, 0.0)

    def look(self) -> float | None:
        """Seconds by which the system's clock was stepped since the last look; ``None`` when it was not."""
        offset_s = self._wall() - self._monotonic()
        step_s = offset_s - self._offset_s
        self._offset_s = offset_s
        return step_s if abs(step_s) > _TOLERANCE_S else None
