"""A message bus in memory: what it is given arrives, what is published can be looked at."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.ingest.interface import BusEvents, Incoming


class FakeBus:
    """Keeps everything."""

    def __init__(self, *, is_connected: bool = True) -> None:
        self.is_connected = is_connected
        self.confirms = True
        self.acknowledged: list[Incoming] = []
        self.published: dict[str, bytes] = {}
        self.events: BusEvents | None = None

    def start(self, events: BusEvents) -> None:
        self.events = events

    def stop(self) -> None:
        self.is_connected = False

    def acknowledge(self, messages: Sequence[Incoming]) -> None:
        self.acknowledged += messages

    def publish_retained(self, messages: Sequence[tuple[str, bytes]], *, timeout_s: float) -> list[bool]:
        if not (self.is_connected and self.confirms):
            return [False] * len(messages)
        self.published |= dict(messages)
        return [True] * len(messages)
