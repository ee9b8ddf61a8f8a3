"""What the device needs of a message broker, whatever the library.

Rules for implementations: every call returns at once; events come on a thread of the link's own and must be handled
quickly; connections come and go without the caller's doing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and how the device shows who it is."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files of a mutually authenticated connection."""

    ca: Path
    certificate: Path
    key: Path


class LinkEvents(Protocol):
    """What a link tells its owner."""

    def connected(self) -> None:
        """The broker accepted the connection; subscriptions and retained messages are to be made now."""

    def received(self, topic: str, payload: bytes) -> None:
        """A message arrived."""

    def acknowledged(self, ticket: int, *, accepted: bool) -> None:
        """The broker answered a publication: somebody gets it, or it was refused or would be lost."""

    def refused(self, times: int, reason: str) -> None:
        """The broker refused the connection ``times`` times in a row."""


class MessageLink(Protocol):
    """A connection to the broker that mends itself."""

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""

    def start(self, events: LinkEvents) -> None:
        """Begin connecting, and keep connected."""

    def subscribe(self, topic: str) -> None:
        """Ask for a topic, QoS 1."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send a message with QoS 1; its ticket comes back through ``acknowledged``."""

    def send(self, topic: str, payload: bytes) -> None:
        """Send a message with QoS 0: nothing answers, and what is lost is lost."""

    def readdress(self, address: BrokerAddress) -> None:
        """Use another address or password, and a certificate that was renewed, from the next connection on."""

    def close(self) -> None:
        """Disconnect and end the link's thread."""
