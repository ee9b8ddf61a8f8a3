"""What a source of power and temperature figures is to the rest of the device.

Rules for implementations: a figure that the source does not give is absent, never zero; ``read`` is called about once a
second from one thread and must not block for long; units are in the names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mien.errors import UnsupportedError


class PowerError(UnsupportedError):
    """A power source that was asked for is not on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSample:
    """One reading."""

    at_s: float
    """``time.monotonic()`` of the reading."""
    total_w: float | None = None
    """Input power of the board or package; ``None`` when the source has no such figure."""
    rails_w: dict[str, float] = field(default_factory=dict)
    temperature_c: dict[str, float] = field(default_factory=dict)
    gpu_percent: float | None = None
    cpu_percent: float | None = None
    ram_bytes: int | None = None
    throttled: bool = False
    over_current: bool = False


class PowerSource(Protocol):
    """A source of figures."""

    @property
    def name(self) -> str:
        """jtop, tegrastats, ina3221, rapl, replay or none: stands beside every figure that comes from it."""

    def read(self) -> PowerSample | None:
        """The newest reading, or ``None`` when there is none yet."""

    def close(self) -> None:
        """Give the source back."""
