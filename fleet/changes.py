"""A counter that rises whenever something worth showing has changed; pages wait for it."""

from __future__ import annotations

import threading


class Changes:
    """Counts changes. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False

    def note(self) -> None:
        """Something changed."""
        with self._lock:
            self._count += 1

    @property
    def count(self) -> int:
        """How often something changed so far."""
        return self._count

    @property
    def closed(self) -> bool:
        """Whether the service is ending."""
        return self._closed

    def close(self) -> None:
        """The service is ending: whoever waits should stop."""
        self._closed = True
