"""What ingest needs of a message bus.

Rules for implementations: ``received`` is called from one thread, in the order of arrival, and may block (that is the
back-pressure); a message is acknowledged to the broker only when ``acknowledge`` was called with it; ``connected`` is
called after each connection, once subscriptions stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message as it arrived."""

    topic: str
    payload: bytes
    ticket: int = 0
    """What the bus needs to acknowledge it."""
    qos: int = 0


class BusEvents(Protocol):
    """What a bus tells."""

    def connected(self, *, fresh: bool) -> None:
        """The broker accepted us; ``fresh`` when it knows nothing of an earlier session."""

    def received(self, message: Incoming) -> None:
        """A message arrived."""


class Bus(Protocol):
    """A connection to the broker."""

    def start(self, events: BusEvents) -> None:
        """Begin connecting; returns at once."""

    def stop(self) -> None:
        """Disconnect. May be called twice."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us."""

    def acknowledge(self, messages: Sequence[Incoming]) -> None:
        """Tell the broker that these messages are safe."""

    def publish_retained(self, messages: Sequence[tuple[str, bytes]], *, timeout_s: float) -> list[bool]:
        """Publish topics and payloads, retained, QoS 1, many under way at once; an empty payload clears.

        Returns:
            For each, whether the broker confirmed it in time.
        """
