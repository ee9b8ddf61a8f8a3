"""What is sent next: lanes, so that nothing starves behind a backlog. Pure.

Each lane has places of its own among what is on its way. Update reports go one at a time, which keeps their order even
where one is refused and tried again; events have the next turn; windows of this connection and windows from before it
take turns, and those from before come at a bounded rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import chain, zip_longest
from typing import TypeVar

from mien import topics

T = TypeVar("T")


class Lane(Enum):
    """A kind of message that waits in a queue of its own; the value is its places among what is on its way."""

    UPDATES = (topics.UPDATE, 1)
    EVENTS = (topics.EVENT, 7)
    LIVE = (topics.WINDOW, 6)
    """Windows stored since the broker came back."""
    BACKLOG = ("backlog", 6)
    """Windows from before."""

    @property
    def channel(self) -> str:
        """The channel of its messages."""
        return topics.WINDOW if self is Lane.BACKLOG else self.value[0]

    @property
    def places(self) -> int:
        """The most on their way at once."""
        return self.value[1]


class Allowance:
    """So many a second on average, a second's worth at once.

    Args:
        per_s: how many.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._most = max(per_s, 1.0)
        self._left = self._most
        self._at_s: float | None = None

    def at(self, now_s: float) -> int:
        """How many may go now."""
        if self._at_s is not None:
            self._left = min(self._left + (now_s - self._at_s) * self._per_s, self._most)
        self._at_s = now_s
        return int(self._left)

    def take(self, count: int) -> None:
        """So many went."""
        self._left -= count


def in_turn(batches: Mapping[Lane, Sequence[T]]) -> list[T]:
    """The order in which messages of all lanes go out."""
    none = object()
    turns = zip_longest(batches.get(Lane.LIVE, ()), batches.get(Lane.BACKLOG, ()), fillvalue=none)
    windows = [item for item in chain.from_iterable(turns) if item is not none]
    return [*batches.get(Lane.UPDATES, ()), *batches.get(Lane.EVENTS, ()), *windows]  # type: ignore[list-item]
