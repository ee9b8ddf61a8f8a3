"""Whether the device's clock can be believed when signed metadata is judged by it.

Metadata has an end, and only a clock says whether it is past. A device whose clock has no battery starts in 1970 or at
the date of its image; metadata that is long frozen would then look fresh. So the clock must not be before this package
was made, nor before the moment at which the device last took metadata as valid.
"""

from __future__ import annotations

import datetime as dt

MADE_AT_S = dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc).timestamp()
"""This version was not there before. Moved on with each release."""
SLACK_S = 86400.0
"""So far may a clock be set back: one that went ahead passes only metadata that is still valid, for a day at most."""


def clock_fault(now_s: float, last_valid_s: float | None) -> str | None:
    """Why the clock cannot be right; ``None`` if it may be.

    Args:
        now_s: what it says, in Unix seconds.
        last_valid_s: what it said when metadata was last valid; ``None`` if that is not known.
    """
    if now_s < MADE_AT_S:
        return f"it says {_when(now_s)}, before this version of mien was made ({_when(MADE_AT_S)})"
    if last_valid_s is not None and now_s < last_valid_s - SLACK_S:
        return f"it says {_when(now_s)}, and said {_when(last_valid_s)} when signed metadata was last taken"
    return None


def _when(seconds: float) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M} UTC"
