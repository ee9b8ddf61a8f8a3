"""A bounded queue between the bus and the store that hands out whole batches.

One thread puts, one takes; neither does more for a message than append it and look.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from fleet.ingest.decoding import Arrived, Bad
from fleet.ingest.interface import Incoming

Taken = tuple[Incoming, Arrived | Bad | None]
"""A message as it came, and what it was read as."""

_LOOK_S = 0.2


class Intake:
    """Holds messages until there are enough of them, or the first has waited long enough.

    Args:
        most: how many it holds before :meth:`put` waits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Taken] = deque()
        self._some, self._enough, self._room = threading.Event(), threading.Event(), threading.Event()
        self._wanted = 1
        self._closed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def put(self, message: Taken) -> None:
        """Add a message; waits while there is no room, and drops it once closed: the broker has it still."""
        while len(self._waiting) >= self._most and not self._closed:
            self._room.clear()
            if len(self._waiting) >= self._most:
                self._room.wait(_LOOK_S)
        if self._closed:
            return
        self._waiting.append(message)
        if not self._some.is_set():
            self._some.set()
        if len(self._waiting) >= self._wanted and not self._enough.is_set():
            self._enough.set()

    def take(self, most: int, *, linger_s: float, wait_s: float) -> list[Taken]:
        """The next messages, in order; empty when none came.

        Args:
            most: how many at most.
            linger_s: how long the first may wait for company.
            wait_s: how long to wait for the first.
        """
        self._wanted = min(most, self._most)
        if not self._waiting and not self._some.wait(wait_s):
            return []
        end = time.monotonic() + linger_s
        while len(self._waiting) < self._wanted and not self._closed and (left := end - time.monotonic()) > 0:
            self._enough.clear()
            if len(self._waiting) < self._wanted:
                self._enough.wait(left)
        batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if not self._waiting:
            self._some.clear()
            if self._waiting:
                self._some.set()
        if not self._room.is_set():
            self._room.set()
        return batch

    def close(self) -> None:
        """Take nothing more; what waits can still be had."""
        self._closed = True
        for event in (self._some, self._enough, self._room):
            event.set()
