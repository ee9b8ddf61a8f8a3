"""Whether a transfer is too slow to be honest, and whether it is faster than it may be.

A server that sends a byte now and then holds an update up for ever. A read that brings nothing is ended by the client's
own time limit; :class:`Pace` watches what comes in spite of it. :class:`Throttle` says how long not to read, so that
what a site allows is not exceeded.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tuf.api.exceptions import SlowRetrievalError

LEAST_BYTES_PER_S = 500.0
OVER_S = 60.0


class Pace:
    """Watches one transfer.

    Args:
        least_bytes_per_s: what must come on the mean over every ``over_s``.
        over_s: how long a stretch is looked at.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        least_bytes_per_s: float = LEAST_BYTES_PER_S,
        over_s: float = OVER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._least, self._over_s, self._clock = least_bytes_per_s, over_s, clock
        self._since, self._bytes = clock(), 0

    def saw(self, count: int) -> None:
        """Count bytes that arrived.

        Raises:
            SlowRetrievalError: too few came in the last stretch.
        """
        self._bytes += count
        took = self._clock() - self._since
        if took < self._over_s:
            return
        if self._bytes < self._least * took:
            raise SlowRetrievalError(
                f"{self._bytes} bytes came in {took:.0f} s; fewer than {self._least:.0f} a second are not waited for"
            )
        self._since, self._bytes = self._clock(), 0


class Throttle:
    """A bucket that fills with so many bytes a second; what is taken beyond it is waited for.

    Args:
        bytes_per_s: on the mean.
        clock: seconds that never go back.
        burst_s: so many seconds' worth may come at once after a pause.
    """

    def __init__(self, bytes_per_s: float, clock: Callable[[], float] = time.monotonic, burst_s: float = 1.0) -> None:
        self._rate, self._clock, self._most = bytes_per_s, clock, bytes_per_s * burst_s
        self._at, self._left = clock(), self._most

    def took(self, count: int) -> float:
        """Count bytes that were read; how long not to read now, in seconds."""
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._rate, self._most) - count
        self._at = now
        return max(-self._left / self._rate, 0.0)
