"""A sink of the pipeline that tells what happened to single faces; only where a site asked for it.

Telling waits for the disk, and frames must not: a frame's events are put into a queue, and the device's watch tells
them within a second or so. What is left out because there is too much of it is counted, and told once a minute.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from edge.config import FacesSettings
from edge.faces.events import ExpressionEvents
from edge.limits.interface import Told
from edge.pipeline.model import Result

_MOST_WAITING = 1024
_SURPLUS_EVERY_S = 60.0


class _Waiting(NamedTuple):
    """An event that is to be told."""

    kind: str
    message: str
    details: tuple[tuple[str, str], ...]


class FaceTeller:
    """Turns tracked faces into events.

    Args:
        settings: what is told, and how often at most.
        tell: takes the events.
        clock: monotonic seconds.
    """

    def __init__(self, settings: FacesSettings, *, tell: Told, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._tell = tell
        self._clock = clock
        self._cameras: dict[str, ExpressionEvents] = {}
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._surplus = 0
        self._surplus_at_s = float("-inf")

    def accept(self, result: Result) -> None:
        """Note what one frame changed."""
        if result.faces is None:
            return
        events = self._cameras.get(result.source)
        if events is None:
            events = self._cameras[result.source] = ExpressionEvents(self._settings)
        labels = result.model.labels
        found = [
            _Waiting(
                event.kind,
                f"{result.source}: {event.message(labels)}",
                (("camera", result.source), *event.details(labels)),
            )
            for event in events.update(result.faces)
        ]
        surplus = events.take_surplus()
        if found or surplus:
            self._note(found, surplus)

    def flush(self) -> None:
        """Tell what waits; called about once a second, from any thread but the pipeline's."""
        with self._lock:
            waiting, surplus = list(self._waiting), self._due_surplus()
            self._waiting.clear()
        for event in waiting:
            self._tell(event.kind, "info", event.message, event.details)
        if surplus:
            message = f"{surplus} events of faces were left out, since there were too many"
            self._tell("face_events_left_out", "info", message, (("count", str(surplus)),))

    def close(self) -> None:
        """Tell what is left."""
        self._surplus_at_s = float("-inf")
        self.flush()

    def _note(self, found: list[_Waiting], surplus: int) -> None:
        with self._lock:
            room = _MOST_WAITING - len(self._waiting)
            self._waiting.extend(found[:room])
            self._surplus += surplus + len(found[room:])

    def _due_surplus(self) -> int:
        now_s = self._clock()
        if not self._surplus or now_s - self._surplus_at_s < _SURPLUS_EVERY_S:
            return 0
        surplus, self._surplus, self._surplus_at_s = self._surplus, 0, now_s
        return surplus
