"""What joins two threads: a slot where the latest item wins, and a bounded queue where none is lost.

Both end the same way: after ``finish`` the taker gets what is left and then :class:`EndOfStream`.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class EndOfStream(Exception):  # noqa: N818 - a signal between threads, no fault
    """No more items will come."""


class Link(Protocol[T]):
    """Hands items from one thread to another."""

    def put(self, item: T) -> None:
        """Hand over an item; may wait, may displace an older one."""

    def get(self) -> T:
        """The next item.

        Raises:
            EndOfStream: the giver has finished and nothing is left.
        """

    def finish(self) -> None:
        """Say that no more items will come; ends every wait."""


class BoundedQueue(Generic[T]):
    """First in, first out; ``put`` waits while it is full.

    Args:
        capacity: the most items that wait.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._finished = False

    def put(self, item: T) -> None:
        """Hand over an item; waits for room. An item put after ``finish`` is let go."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished or len(self._items) < self._capacity)
            if not self._finished:
                self._items.append(item)
                self._changed.notify_all()

    def get(self) -> T:
        """The oldest item; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished or bool(self._items))
            if not self._items:
                raise EndOfStream
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def get_now(self) -> T | None:
        """The oldest item, if one is there."""
        with self._changed:
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """No more items will come."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()


class LatestSlot(Generic[T]):
    """Room for one item: a new one takes the place of one that nobody took. ``put`` never waits."""

    def __init__(self) -> None:
        self._items: deque[T] = deque(maxlen=1)
        self._changed = threading.Condition()
        self._finished = False
        self._dropped = 0

    def put(self, item: T) -> None:
        """Hand over an item; an older one that is still there is dropped and counted."""
        with self._changed:
            if self._finished:
                return
            self._dropped += len(self._items)
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """The latest item; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished or bool(self._items))
            if not self._items:
                raise EndOfStream
            return self._items.popleft()

    def finish(self) -> None:
        """No more items will come."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def take_dropped(self) -> int:
        """How many items were displaced since the last call."""
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped
