"""What a site's settings mean for updates on this machine: its time zone is looked up here."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

from edge.config import UpdateSettings
from edge.update.timetable import SiteTimes
from mien.windows import zone_named

_LOCAL_TIME = Path("/etc/localtime")


def site_times(settings: UpdateSettings, *, seed: str) -> SiteTimes:
    """The site's windows, limit and time zone.

    Args:
        settings: what the site chose.
        seed: the device's id.
    """
    return SiteTimes(
        seed=seed,
        zone=zone_named(settings.time_zone) if settings.time_zone else own_zone(),
        download_windows=settings.download_windows,
        install_windows=settings.install_windows,
        max_bytes_per_s=settings.max_bytes_per_s,
    )


def own_zone(local_time: Path = _LOCAL_TIME) -> dt.tzinfo:
    """This machine's time zone with its changes of clocks; UTC where none is set."""
    try:
        with local_time.open("rb") as stream:
            return ZoneInfo.from_file(stream, key="local")
    except (OSError, ValueError):
        return dt.timezone.utc
