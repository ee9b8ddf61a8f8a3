"""What a source of power and temperature figures is to the rest of the device, and what a policy needs to know of them.

Rules for implementations: a figure that the source does not give is absent, never zero; ``read`` is called about once a
second from one thread and must not block for long; units are in the names; a source that was there and is gone raises
:class:`PowerError` from ``read``, it never repeats an old reading as a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mien.errors import UnsupportedError

_OTHER_SENSORS = ("nvme", "iwlwifi", "pmic")
"""Sensors whose limits are not the processor's, by the beginning of their name."""


class PowerError(UnsupportedError):
    """A power source that was asked for is not on this machine, or has gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSample:
    """One reading."""

    at_s: float
    """``time.monotonic()`` of the reading."""
    total_w: float | None = None
    """Input power of the board or package; ``None`` when the source has no such figure."""
    rails_w: dict[str, float] = field(default_factory=dict)
    limits_a: dict[str, float] = field(default_factory=dict)
    """Current at which a rail raises its critical alarm, where one is set."""
    temperature_c: dict[str, float] = field(default_factory=dict)
    clocks_hz: dict[str, float] = field(default_factory=dict)
    """``gpu``, ``cpu`` (the fastest core) and ``emc`` (memory); a GPU that is switched off has 0."""
    fan_percent: float | None = None
    fan_rpm: float | None = None
    nvpmodel: str | None = None
    """The power mode by name; its number means another mode on another board."""
    gpu_percent: float | None = None
    cpu_percent: float | None = None
    ram_bytes: int | None = None
    """Memory in use."""
    ram_total_bytes: int | None = None
    throttled: bool = False
    over_current: bool = False
    alarms: tuple[str, ...] = ()
    """What raised the two flags: cooling devices, rails, counters."""
    is_replayed: bool = False
    """Whether the figures are a recording's: they are shown as such, and nothing is decided by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a policy that keeps a device within its limits looks at."""

    at_s: float
    """``time.monotonic()``."""
    hottest_c: float | None = None
    """The hottest sensor of the processor and board; not a disk's, not a radio's."""
    throttled: bool = False
    over_current: bool = False
    memory_free: float | None = None
    """Share of the memory that can be had without swapping, 0 to 1."""
    total_w: float | None = None


def health_of(sample: PowerSample | None, *, at_s: float, memory_free: float | None = None) -> Health:
    """A reading as a policy sees it.

    Args:
        sample: the newest reading; ``None`` when there is none that is recent. A replayed one says nothing of now:
            another board was hot, throttled or short of memory then.
        at_s: now.
        memory_free: the kernel's own estimate, which goes before the reading's.
    """
    if sample is None or sample.is_replayed:
        return Health(at_s=at_s, memory_free=memory_free)
    hot = [degrees for name, degrees in sample.temperature_c.items() if not name.lower().startswith(_OTHER_SENSORS)]
    return Health(
        at_s=at_s,
        hottest_c=max(hot) if hot else None,
        throttled=sample.throttled,
        over_current=sample.over_current,
        memory_free=memory_free if memory_free is not None else _free_of(sample),
        total_w=sample.total_w,
    )


def _free_of(sample: PowerSample) -> float | None:
    if sample.ram_bytes is None or not sample.ram_total_bytes:
        return None
    return min(max(1 - sample.ram_bytes / sample.ram_total_bytes, 0.0), 1.0)


class PowerSource(Protocol):
    """A source of figures."""

    @property
    def name(self) -> str:
        """jtop, tegrastats, ina3221, nvml, rapl, replay or none: stands beside every figure that comes from it."""

    def read(self) -> PowerSample | None:
        """The newest reading, or ``None`` when there is none yet.

        Raises:
            PowerError: the source has gone.
        """

    def close(self) -> None:
        """Give the source back."""
