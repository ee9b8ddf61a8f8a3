"""A sink of the pipeline that tells what happened to single faces; only where a site asked for it."""

from __future__ import annotations

from edge.config import FacesSettings
from edge.faces.events import ExpressionEvents
from edge.limits.interface import Told
from edge.pipeline.model import Result


class FaceTeller:
    """Turns tracked faces into events.

    Args:
        settings: what is told, and how often at most.
        tell: takes the events.
    """

    def __init__(self, settings: FacesSettings, *, tell: Told) -> None:
        self._settings = settings
        self._tell = tell
        self._cameras: dict[str, ExpressionEvents] = {}

    def accept(self, result: Result) -> None:
        """Tell what one frame changed."""
        if result.faces is None:
            return
        events = self._cameras.get(result.source)
        if events is None:
            events = self._cameras[result.source] = ExpressionEvents(self._settings)
        for event in events.update(result.faces):
            labels = result.model.labels
            details = (("camera", result.source), *event.details(labels))
            self._tell(event.kind, "info", f"{result.source}: {event.message(labels)}", details)

    def take_surplus(self) -> int:
        """Events that were not told since the last call, because there were too many."""
        return sum(events.take_surplus() for events in self._cameras.values())

    def close(self) -> None:
        """Nothing to end."""
