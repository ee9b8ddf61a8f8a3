"""What serving streams needs of a message bus.

Rules for implementations: ``received`` is called from one thread and must return quickly; requests come to one process
of the service only; ``send`` may block while much is under way (that is the back-pressure), ``tell`` never does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class StreamBus(Protocol):
    """A connection to the broker that is for streams alone, so that they never hold up telemetry."""

    def start(self, received: Callable[[str, bytes], None]) -> None:
        """Begin connecting, and keep connected; ``received`` takes topic and payload of a request."""

    def stop(self) -> None:
        """Disconnect. May be called twice."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us."""

    def send(self, topic: str, payload: bytes) -> bool:
        """Send a block, QoS 1; waits while the broker is away or has too many of them. False where it was stopped."""

    def tell(self, topic: str, payload: bytes) -> None:
        """Send a refusal, QoS 0: one that is lost is found by the device's patience."""
