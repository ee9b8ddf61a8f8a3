"""When a picture was taken: a driver's or stream's own time where it can be true, else the time when it was there."""

from __future__ import annotations

_OLDEST_S = 60.0


def taken_at(stamp_s: float | None, now_s: float) -> float:
    """Seconds on the monotonic clock.

    Args:
        stamp_s: what the source says; some drivers count from another beginning, and some say nothing.
        now_s: the monotonic time when the picture was there.
    """
    if stamp_s is None or not now_s - _OLDEST_S <= stamp_s <= now_s:
        return now_s
    return stamp_s
