"""Maintenance windows: weekly stretches of local time in which a device may do something. Pure: every time is given.

Rules of this file: a window begins at its local time on each of its days and lasts so many real seconds, whatever the
clocks do meanwhile. A local time that is skipped in spring counts as if the clocks had not been moved yet; one that
comes twice in autumn is the first of the two. No window at all means always open.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from mien.errors import ConfigError

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
LONGEST_S = 7 * 86_400.0
_LOOK_AHEAD_DAYS = 15
"""A weekly window opens twice in this time, so windows that never meet in it never do but for a change of clocks."""
_UTC = dt.timezone.utc


class MaintenanceWindow(BaseModel):
    """One weekly window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: tuple[Day, ...] = Field(default=DAYS, min_length=1, max_length=len(DAYS))
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    """Local time, such as "02:30"."""
    duration_s: float = Field(gt=0, le=LONGEST_S)
    time_zone: str | None = Field(default=None, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")
    """IANA name such as "Europe/Berlin"; by default the device's own."""

    @field_validator("days")
    @classmethod
    def _each_day_once(cls, days: tuple[Day, ...]) -> tuple[Day, ...]:
        if len(set(days)) != len(days):
            raise ValueError("a day is named twice")
        return tuple(day for day in DAYS if day in days)

    def __str__(self) -> str:
        """As a person says it: ``mon,tue 02:00 for 120 min (Europe/Berlin)``."""
        days = "daily" if self.days == DAYS else ",".join(self.days)
        zone = f" ({self.time_zone})" if self.time_zone else ""
        return f"{days} {self.start} for {self.duration_s / 60:g} min{zone}"


Windows = Sequence[MaintenanceWindow]


def zone_named(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        ConfigError: this machine's zone data does not know it.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"there is no time zone '{name}' here",
            wanted="an IANA name such as Europe/Berlin",
            remedy="mend the name, or install the zones: apt install tzdata",
        ) from error


def is_open(windows: Windows, now: float, own: dt.tzinfo) -> bool:
    """Whether one of the windows is open.

    Args:
        windows: any of them will do; none means always.
        now: Unix seconds.
        own: the device's time zone, for windows that name none.

    Raises:
        ConfigError: a window's time zone is not known here.
    """
    return closes_at(windows, now, own) is not None or not windows


def closes_at(windows: Windows, now: float, own: dt.tzinfo) -> float | None:
    """When the window that is open now ends, the one that stays open longest; ``None`` when none is open.

    Raises:
        ConfigError: as above.
    """
    ends = [end for window in windows for begin, end in _spans(window, now, own) if begin <= now < end]
    return max(ends, default=None)


def next_opening(windows: Windows, now: float, own: dt.tzinfo) -> float:
    """When one of the windows opens: now, if one is open.

    Raises:
        ConfigError: as above.
    """
    if is_open(windows, now, own):
        return now
    return min(begin for window in windows for begin, _ in _spans(window, now, own) if begin > now)


def next_common_opening(sets: Sequence[Windows], now: float, own: dt.tzinfo) -> float | None:
    """When all sets of windows are open at once, such as a fleet's and a site's own; ``None``: they never meet.

    Raises:
        ConfigError: as above.
    """
    moment = now
    while moment - now < _LOOK_AHEAD_DAYS * 86_400:
        latest = max((next_opening(windows, moment, own) for windows in sets), default=moment)
        if latest == moment:
            return moment
        moment = latest
    return None


def common_closing(sets: Sequence[Windows], now: float, own: dt.tzinfo) -> float | None:
    """When the first of the sets that are all open now closes; ``None`` when nothing closes.

    Raises:
        ConfigError: as above.
    """
    ends = [closes_at(windows, now, own) for windows in sets if windows]
    return min((now if end is None else end for end in ends), default=None)


def _spans(window: MaintenanceWindow, now: float, own: dt.tzinfo) -> Iterator[tuple[float, float]]:
    """The window's stretches around now: all that may still be open, and those of the days to come."""
    zone = zone_named(window.time_zone) if window.time_zone else own
    hour, minute = map(int, window.start.split(":"))
    today = dt.datetime.fromtimestamp(now, _UTC).astimezone(zone).date()
    for offset in range(-8, _LOOK_AHEAD_DAYS):
        day = today + dt.timedelta(days=offset)
        if DAYS[day.weekday()] in window.days:
            begin = dt.datetime.combine(day, dt.time(hour, minute), tzinfo=zone).timestamp()
            yield begin, begin + window.duration_s
