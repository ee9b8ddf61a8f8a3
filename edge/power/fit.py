"""Makes a reading fit for use: a figure that cannot be true is left out, so that one bad sensor costs no other. Pure.

A fan driven beyond its full rate, as NVML tells of some cards, runs at its full rate. Nothing else is bent: a negative
power, an endless clock or a temperature that is no number is absent from the reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from edge.power.interface import PowerSample

_FULL_PERCENT = 100.0


def fit(sample: PowerSample) -> PowerSample:
    """The reading without what is unfit."""
    fan = amount(sample.fan_percent)
    return replace(
        sample,
        total_w=amount(sample.total_w),
        rails_w=_amounts(sample.rails_w),
        limits_a=_amounts(sample.limits_a),
        temperature_c={name: degrees for name, degrees in sample.temperature_c.items() if math.isfinite(degrees)},
        clocks_hz=_amounts(sample.clocks_hz),
        fan_percent=None if fan is None else min(fan, _FULL_PERCENT),
        fan_rpm=amount(sample.fan_rpm),
        gpu_percent=amount(sample.gpu_percent),
        cpu_percent=amount(sample.cpu_percent),
        ram_bytes=count(sample.ram_bytes),
        ram_total_bytes=count(sample.ram_total_bytes),
    )


def amount(value: float | None) -> float | None:
    """A figure that is finite and not below zero, or ``None``."""
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def count(value: int | None) -> int | None:
    """A whole number that is not below zero, or ``None``."""
    return int(value) if value is not None and math.isfinite(value) and value >= 0 else None


def _amounts(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if amount(value) is not None}
