"""Decides whether the device still does its work: what the watchdog is fed by. Reads nothing and tells nobody."""

from __future__ import annotations

from collections.abc import Callable

PATIENCE_S = 90.0
"""How long frames may stand still: longer than a camera at the device itself is waited for."""


class Liveness:
    """Watches a counter of frames.

    Args:
        progress: rises with each frame that goes through the pipeline.
        is_excused: whether there is a reason that frames stand still: an update, or no model yet.
        clock: monotonic seconds.
        patience_s: how long frames may stand still without one.
    """

    def __init__(
        self,
        progress: Callable[[], int],
        is_excused: Callable[[], bool],
        *,
        clock: Callable[[], float],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._progress, self._is_excused = progress, is_excused
        self._clock, self._patience_s = clock, patience_s
        self._seen, self._moved_at_s = progress(), clock()

    def is_alive(self) -> bool:
        """Whether frames advanced lately, or need not; to be asked every few seconds."""
        seen, now = self._progress(), self._clock()
        if seen != self._seen or self._is_excused():
            self._seen, self._moved_at_s = seen, now
        return now - self._moved_at_s <= self._patience_s
