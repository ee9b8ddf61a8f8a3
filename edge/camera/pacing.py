"""Keeps a rhythm: when the next frame is due, whatever the reader did in between.

Waits through an event, so that closing a source ends the wait at once.
"""

from __future__ import annotations

import threading
import time


class Pace:
    """Waits until the next beat; after a long stall it starts a new rhythm instead of hurrying to catch up."""

    def __init__(self, rate_hz: float) -> None:
        self._period_s = 1.0 / rate_hz
        self._due_s: float | None = None
        self._closed = threading.Event()

    def wait(self) -> None:
        """Return when the next beat is due."""
        now = time.monotonic()
        if self._due_s is None or now - self._due_s > 5 * self._period_s:
            self._due_s = now
        elif self._due_s > now:
            self._closed.wait(self._due_s - now)
        self._due_s += self._period_s

    def close(self) -> None:
        """End every wait."""
        self._closed.set()
