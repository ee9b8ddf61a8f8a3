"""Whether a transfer is too slow to be honest: a server that sends a byte now and then holds an update up for ever.

A read that brings nothing is ended by the client's own time limit; this watches what comes in spite of it.
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
