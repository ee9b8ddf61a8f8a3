"""A build that ends when it is told to: TensorRT may work on an engine for many minutes."""

from __future__ import annotations

import threading

from mien.console import SILENT, Progress


class Stoppable:
    """A listener that ends what it listens to, by raising between two steps, once ``stop`` is set.

    Args:
        stop: set when the work shall end.
        raises: what to raise then.
        progress: who is told of the steps.
    """

    def __init__(self, stop: threading.Event, raises: type[BaseException], progress: Progress = SILENT) -> None:
        self._stop = stop
        self._raises = raises
        self._progress = progress

    def start(self, description: str, total: int | None = None) -> None:
        """A piece of work begins."""
        self._check()
        self._progress.start(description, total)

    def advance(self, units: int = 1, *, note: str = "") -> None:
        """Units were finished."""
        self._check()
        self._progress.advance(units, note=note)

    def _check(self) -> None:
        if self._stop.is_set():
            raise self._raises
