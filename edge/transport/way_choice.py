"""Decides which way signed files come: over HTTPS, or in blocks over MQTT where only the broker's port is open.

``auto`` begins with HTTPS, the faster way; after some failures of connection kind in a row it goes over MQTT, and tries
HTTPS again later. A way that was named is kept: its failures are told and nothing else is tried. Without a clock.
"""

from __future__ import annotations

from typing import Literal

Way = Literal["https", "mqtt"]
Transport = Literal["auto", "https", "mqtt"]


class WayChoice:
    """The way now.

    Args:
        transport: what the site chose.
        failures: so many failures in a row, and ``auto`` takes the other way.
        again_s: after so long ``auto`` tries HTTPS again.
    """

    def __init__(self, transport: Transport, *, failures: int = 2, again_s: float = 3600.0) -> None:
        self._transport = transport
        self._most, self._again_s = failures, again_s
        self._failures = 0
        self._way: Way = "mqtt" if transport == "mqtt" else "https"
        self._left_at: float | None = None

    @property
    def way(self) -> Way:
        """The way that was taken last."""
        return self._way

    def at(self, now: float) -> Way:
        """The way to take, in seconds of a clock that never goes back."""
        if self._left_at is not None and self._way == "mqtt" and now - self._left_at >= self._again_s:
            self._turn("https", now)
            self._failures = self._most - 1  # one look is enough
        return self._way

    def worked(self) -> None:
        """A file came."""
        self._failures = 0

    def failed(self, now: float) -> bool:
        """Nobody was reached that way; whether the other one is to be taken now."""
        if self._transport != "auto":
            return False
        self._failures += 1
        if self._failures < self._most:
            return False
        self._turn("mqtt" if self._way == "https" else "https", now)
        return True

    def _turn(self, way: Way, now: float) -> None:
        self._way, self._failures = way, 0
        self._left_at = now if way == "mqtt" else None
