"""Where a face is expected next: it keeps its speed and its size. Pure.

Time is real time, not frames, since rates vary and frames are dropped. The speed is the average of the speeds between
looks, weighted by age with a half-life of :data:`HALF_LIFE_S`; so two looks that are close together, between which the
detector's jitter makes a large speed, hardly count.
"""

from __future__ import annotations

HALF_LIFE_S = 0.1
_LONGEST_S = 0.5
"""A face that was not seen for longer is expected where this time would have brought it."""

Box = list[float]
"""x and y of the upper left and lower right corner, in pixels."""


class Motion:
    """One face's place.

    Args:
        at_s: when it was first seen.
        box: where.
    """

    __slots__ = ("_at_s", "_box", "_speed_x", "_speed_y", "_weight")

    def __init__(self, at_s: float, box: Box) -> None:
        self._at_s = at_s
        self._box = box
        self._speed_x = self._speed_y = 0.0
        self._weight = 0.0

    def expected(self, at_s: float) -> Box:
        """The box at a time."""
        ahead_s = min(max(at_s - self._at_s, 0.0), _LONGEST_S)
        shift_x, shift_y = self._speed_x * ahead_s, self._speed_y * ahead_s
        left, top, right, bottom = self._box
        return [left + shift_x, top + shift_y, right + shift_x, bottom + shift_y]

    def see(self, at_s: float, box: Box) -> None:
        """Take where the face is now."""
        passed_s = at_s - self._at_s
        if passed_s > 0:
            old = self._box
            keep = 2 ** (-passed_s / HALF_LIFE_S)
            self._weight = self._weight * keep + 1 - keep
            gain = (1 - keep) / self._weight
            self._speed_x += gain * ((box[0] + box[2] - old[0] - old[2]) / 2 / passed_s - self._speed_x)
            self._speed_y += gain * ((box[1] + box[3] - old[1] - old[3]) / 2 / passed_s - self._speed_y)
            self._at_s = at_s
        self._box = box
