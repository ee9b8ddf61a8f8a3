"""What the probes bring: plain values, ``None`` for what could not be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a program or library said when it was asked: a value, or why there is none."""

    value: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JtopSeen:
    """jetson-stats: the library here, the group, and what its service said."""

    client: str | None
    """Version of the library; ``None`` when it is not installed."""
    user: str
    """Who the agent runs as: the user ``mien`` where there is one, else who asks."""
    in_group: bool | None
    """Whether that user is in the group jtop; ``None`` when there is no such group."""
    service: Answer
    """Its version (that of the library, where the two fit), or why it did not let us in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerModeSeen:
    """The power mode, and the modes that this board's own configuration has."""

    name: str | None
    ids: dict[str, int]
    """Number of each mode by its name, from /etc/nvpmodel.conf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentSeen:
    """Over-current: events counted since the machine started, and alarms that stand now."""

    events: dict[str, int]
    """Of the firmware's counters, by their name, such as ``oc3``."""
    alarms: tuple[str, ...]
    uptime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySeen:
    """Memory, and whether a desktop takes part of it."""

    total_bytes: int
    available_bytes: int
    desktop: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSeen:
    """The file system of the state folder."""

    folder: str
    """The state folder, or the nearest folder above it that exists."""
    free_bytes: int
    free_files: int | None
    """``None`` on a file system that does not count them."""
    writable: bool
    """Whether who asks may write there."""
    read_only: bool
    remounted: tuple[str, ...] = ()
    """Disks that are mounted read-only although they are meant to be written: the kernel does so after errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSeen:
    """The clock: now, whether something keeps it right, and a moment that is certainly past."""

    now_s: float
    synchronised: bool | None
    installed_s: float
    """When the newest file of mien was written here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSeen:
    """The device's certificate."""

    name: str
    starts_s: float
    ends_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSeen:
    """The installed service."""

    systemd: bool
    """Whether systemd runs this machine."""
    shipped: str | None
    """Where the service file of this version of mien lies; ``None`` when it is not here."""
    path: str | None
    """Where the installed one lies; ``None`` when there is none."""
    same: bool
    active: str
    enabled: str
    restarts: int
    reload_needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSeen:
    """The spool's file."""

    exists: bool
    bytes: int = 0
    waiting: int | None = None
    check: str = "ok"
    """What SQLite's own check said."""
    damaged: tuple[str, ...] = ()
    """Files that were set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSeen:
    """How far a connection to the broker came: ``tcp``, ``tls``, ``session``, or ``done``."""

    address: str
    failed_at: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSeen:
    """A camera that was tried."""

    name: str
    held_by_agent: bool = False
    """Whether it was left alone, since a running agent has it."""
    width: int = 0
    height: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GStreamerSeen:
    """GStreamer as Python reaches it."""

    elements: frozenset[str]
    error: str = ""
    """Why it cannot be reached; empty when it can."""
    remedy: str = ""
