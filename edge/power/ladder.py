"""Decides which power source is read when one of them fails: the next lower one at once, the better one again later.

A source that dies in the middle of a device's life must not leave it blind: it is closed, reported once, and the ladder
below it is tried. The rungs above the current one are tried again after a while, and ever less often in vain.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.power.interface import PowerError, PowerSample, PowerSource

_log = logging.getLogger(__name__)

SOON_S = 5.0
"""A source that was lost is tried again after this time, then after twice as long each time."""
SELDOM_S = 600.0
_HELD_S = 60.0
"""A source that held for so long before it was lost starts anew with the short wait."""
NOTHING = "none"


@dataclass(frozen=True, slots=True)
class Rung:
    """A source that may be there."""

    name: str
    open: Callable[[], PowerSource]


class Ladder:
    """Several sources as one; the best that answers is read.

    Args:
        rungs: the best first.
        clock: monotonic seconds.

    Raises:
        PowerError: there is one rung only and it is not there. With several, the last is expected to be there always.
    """

    def __init__(self, rungs: Sequence[Rung], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rungs = tuple(rungs)
        self._clock = clock
        self._source: PowerSource | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._index = len(self._rungs)
        self._opened_at_s = self._next_try_s = clock()
        self._wait_s = SOON_S
        if len(self._rungs) == 1:
            self._take(0, self._rungs[0].open())
        else:
            self._try(range(len(self._rungs)))
        self._postpone()

    @property
    def name(self) -> str:
        """The name of the source that is read now; ``none`` when none is."""
        source = self._source
        return source.name if source is not None else NOTHING

    def read(self) -> PowerSample | None:
        """A reading of the best source that answers; ``None`` when there is none now."""
        if self._index > 0 and self._clock() >= self._next_try_s and not self._closed:
            self._climb()
        source = self._source
        if source is None:
            return None
        try:
            return source.read()
        except PowerError as error:
            self._fall(error)
            return None

    def close(self) -> None:
        """Close the source that is open, and any that another thread is just opening."""
        with self._lock:
            self._closed = True
            source, self._source = self._source, None
        if source is not None:
            source.close()

    def _climb(self) -> None:
        old, old_name = self._source, self.name
        if self._try(range(self._index)):
            _log.warning("power figures come from %s again instead of %s", self.name, old_name)
            if old is not None:
                old.close()
        else:
            self._wait_s = min(2 * self._wait_s, SELDOM_S)
        self._postpone()

    def _fall(self, error: PowerError) -> None:
        lost, lost_index, lost_name = self._source, self._index, self.name
        held = self._clock() - self._opened_at_s >= _HELD_S
        self._wait_s = SOON_S if held else min(2 * self._wait_s, SELDOM_S)
        self._source, self._index = None, len(self._rungs)
        if lost is not None:
            lost.close()
        self._try(range(lost_index + 1, len(self._rungs)))
        self._postpone()
        _log.warning(
            "power source %s was lost (%s); power figures come from %s, next try in %.0f s",
            *(lost_name, error, self.name, self._wait_s),
        )

    def _try(self, indices: range) -> bool:
        for index in indices:
            try:
                source = self._rungs[index].open()
            except PowerError as error:
                _log.debug("power source %s: %s", self._rungs[index].name, error)
            else:
                self._take(index, source)
                return True
        return False

    def _take(self, index: int, source: PowerSource) -> None:
        with self._lock:
            if not self._closed:
                self._source, self._index, self._opened_at_s = source, index, self._clock()
                return
        source.close()

    def _postpone(self) -> None:
        self._next_try_s = self._clock() + self._wait_s
