"""What a simulated device says, asks and waits for; the loop (:mod:`fleet.simulator.run`) does it.

Rules: a device does nothing by itself and knows no clock. Each call says what time it is and takes back what is to be
sent, in order; :attr:`due` says when the device wants to be called again.
"""

from __future__ import annotations

from dataclasses import dataclass

from mien.release import ReleaseRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """A message on one of the device's own channels."""

    channel: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Please verify a release with the TUF client and fetch what this device would run."""

    release: ReleaseRef
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What that gave."""

    code: str | None
    """A code for the report when it was refused; ``None``: all is well."""
    message: str = ""
    variant: str = ""
    bytes_read: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a device wants done."""

    says: tuple[Say, ...] = ()
    check: Check | None = None
