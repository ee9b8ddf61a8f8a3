"""Keeps a thread that works in rounds alive: a fault of ours costs one round, and is told once."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

_log = logging.getLogger(__name__)

Tell = Callable[[str, str, str], None]
"""Takes an event: kind, severity, message."""
_Place = tuple[type[BaseException], str, int]


class Supervisor:
    """Guards the rounds of one thread.

    Args:
        name: of the thread, for a person.
        tell: takes the event of a fault; ``None`` where events go nowhere.
    """

    def __init__(self, name: str, tell: Tell | None = None) -> None:
        self._name = name
        self._tell = tell
        self._known: set[_Place] = set()

    def guarded(self, work: Callable[[], object]) -> bool:
        """Do one round's work; whether it went well. A fault is logged and told where it is met for the first time."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a supervisor: no thread may end silently
            self._note(error)
            return False
        return True

    def _note(self, error: Exception) -> None:
        place = _place_of(error)
        if place in self._known:
            return
        self._known.add(place)
        _log.error("a fault in the %s thread, which goes on", self._name, exc_info=error)
        if self._tell is None:
            return
        try:
            self._tell("thread_failed", "error", f"a fault in the {self._name} thread, which goes on: {error!r}"[:500])
        except Exception:  # noqa: BLE001 - supervisor: the way of events may be what is broken
            _log.exception("the fault could not be told")


def _place_of(error: Exception) -> _Place:
    """What a fault is known by: its kind, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return type(error), last.filename if last else "", (last.lineno or 0) if last else 0
