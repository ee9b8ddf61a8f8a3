"""When a deployment may do what: the fleet's windows, the site's own, and jitter. Pure.

The stricter wins: both must be open, and the lower limit on bytes holds. A return to the release before waits for
nothing. Devices that wait for the same window do not begin together: their share of the jitter counts from its opening,
and never beyond the middle of the window.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

from mien.messages import Desired
from mien.windows import MaintenanceWindow, common_closing, next_common_opening

Windows = tuple[MaintenanceWindow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTimes:
    """What a site sets for all deployments on a device."""

    seed: str = ""
    """The device's id: two devices wait for different parts of the jitter."""
    zone: dt.tzinfo = dt.timezone.utc
    """The device's own, for windows that name none."""
    download_windows: Windows = ()
    install_windows: Windows = ()
    max_bytes_per_s: int | None = None


class Timetable:
    """The times of one deployment on one device.

    Args:
        desired: the deployment, with the fleet's windows.
        site: the site's.
    """

    def __init__(self, desired: Desired, site: SiteTimes) -> None:
        self._site = site
        self._jitter_s = 0.0 if desired.rollback else desired.jitter_s
        self._download = () if desired.rollback else (desired.download_windows, site.download_windows)
        self._install = () if desired.rollback else (desired.install_windows, site.install_windows)
        self._share = share_of(f"{site.seed}/{desired.deployment_id}")
        limits = [limit for limit in (desired.max_bytes_per_s, site.max_bytes_per_s) if limit is not None]
        self.max_bytes_per_s = min(limits, default=None)
        """Of the download; ``None`` sets no limit."""

    def begins_at(self, seen_at: float, now: float) -> float | None:
        """When to begin, or to go on, downloading; not after ``now`` says: at once. ``None``: the windows never meet.

        Args:
            seen_at: when the device first heard of the deployment, in Unix seconds.
            now: Unix seconds.

        Raises:
            ConfigError: a window's time zone is not known here.
        """
        first = self._spread(seen_at)
        if first is None or first >= now or self.may_download(now):
            return first
        return self._spread(now)

    def may_download(self, now: float) -> bool:
        """Whether the windows for downloads are open.

        Raises:
            ConfigError: as above.
        """
        return next_common_opening(self._download, now, self._site.zone) == now

    def switches_at(self, now: float) -> float | None:
        """When the device may switch: now, or at the next opening. ``None``: the windows never meet.

        Raises:
            ConfigError: as above.
        """
        return next_common_opening(self._install, now, self._site.zone)

    def _spread(self, after: float) -> float | None:
        opening = next_common_opening(self._download, after, self._site.zone)
        if opening is None:
            return None
        closing = common_closing(self._download, opening, self._site.zone)
        most_s = self._jitter_s if closing is None else min(self._jitter_s, (closing - opening) / 2)
        return opening + self._share * most_s


def share_of(text: str) -> float:
    """A number in 0..1 that is always the same for the same text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
