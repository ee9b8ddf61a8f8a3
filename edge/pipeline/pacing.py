"""Decides which of a live camera's frames are taken: at most so many a second, and less when the device must rest.

Pure but for its own counting; one thread asks, any thread may change the rate.
"""

from __future__ import annotations

_TOLERANCE = 0.9
"""A frame that comes this much of a gap after the last one is on time: cameras jitter."""


class FrameRate:
    """Thins a live camera's frames.

    Args:
        max_fps: frames a second at most; ``None`` takes all.
    """

    def __init__(self, max_fps: float | None = None) -> None:
        self._least_gap_s = _TOLERANCE / max_fps if max_fps else 0.0
        self._last_s = float("-inf")
        self._credit = 0.0
        self.factor = 1.0
        """Share of the frames within the rate that is taken, 0..1: 0.5 takes every other one."""

    def takes(self, captured_at_s: float) -> bool:
        """Whether the frame of this time (monotonic) is taken."""
        if captured_at_s - self._last_s < self._least_gap_s:
            return False
        self._last_s = captured_at_s
        self._credit += self.factor
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
