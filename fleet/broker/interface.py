"""What the service needs of a broker: to be there, and to be reachable for the service and for devices.

Rules for implementations: ``start`` returns only when a client can connect; ``stop`` may be called twice and leaves no
process behind. Secrets appear in no log and on no command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAccess:
    """How one party reaches the broker."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


class Broker(Protocol):
    """A broker, running or to be started."""

    def start(self) -> None:
        """Make sure that it runs.

        Raises:
            UnavailableError: it does not start, or its port is taken; names the port.
        """

    def stop(self) -> None:
        """End what ``start`` began."""

    @property
    def for_service(self) -> BrokerAccess:
        """How the fleet service connects."""

    @property
    def for_devices(self) -> BrokerAccess:
        """What devices are told when they enrol."""
