"""What to expect of one graph on one class: roofline, scaled by others' measurements, energy, published rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mien.devices import DeviceClass, HardwarePrecision, PowerMode
from optimize.estimate import Calibrated, Compared, Estimate, calibrated, estimate, joules_of_budget
from optimize.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be expected of one precision; each figure says whether it is an estimate or was published."""

    precision: HardwarePrecision
    roofline: Estimate | None
    """Estimate, a lower bound of the latency; ``None`` where no peak is known."""
    scaled: Calibrated | None
    """Estimate: the roofline times what measurements of other classes were above theirs."""
    joules_at_roofline: float | None
    """Estimate: the power mode's whole budget for the roofline's time."""
    joules_upper: float | None
    """Estimate: the power mode's whole budget for the upper end of the scaled time."""
    published: tuple[Compared, ...]
    """Somebody's measurements of this very class."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "precision": self.precision,
            "estimate": {**self._roofline(), **self._scaled()},
            "published": [published_dict(row) for row in self.published],
        }

    def _roofline(self) -> dict[str, Any]:
        one = self.roofline
        if one is None:
            return {"roofline_ms": None, "why_not": "no peak of this precision is known"}
        return {
            "roofline_ms": one.roofline_ms,
            "kind": "roofline (lower bound)",
            "bound": one.bound,
            "compute_share": one.compute_share,
            "floor_ms": one.floor_ms,
            "arithmetic": one.unit,
            "peak_tera_ops": one.peak_ops / 1e12,
            "bandwidth_gb_s": one.bandwidth / 1e9,
            "gflops": one.flops / 1e9,
            "moved_mb": one.moved_bytes / 1e6,
            "joules_at_roofline": self.joules_at_roofline,
        }

    def _scaled(self) -> dict[str, Any]:
        one = self.scaled
        if one is None:
            return {"scaled_ms": None}
        return {
            "scaled_ms": one.latency_ms,
            "scaled_low_ms": one.low_ms,
            "scaled_high_ms": one.high_ms,
            "scaled_by_measurements_of": list(one.sources),
            "joules_upper_estimate": self.joules_upper,
        }


def outlook(
    device: DeviceClass,
    precision: HardwarePrecision,
    workload: Workload,
    *,
    mode: PowerMode | None,
    measured: Sequence[Compared],
) -> Outlook:
    """What is to be expected of a graph in one precision.

    Args:
        device: the class.
        precision: of the graph.
        workload: of the graph.
        mode: whose clocks and budget are taken.
        measured: published measurements of the same graph on any class.
    """
    guess = estimate(workload, device, precision, mode)
    scaled = calibrated(guess, device, measured) if guess else None
    return Outlook(
        precision=precision,
        roofline=guess,
        scaled=scaled,
        joules_at_roofline=joules_of_budget(guess.roofline_ms, mode) if guess else None,
        joules_upper=joules_of_budget(scaled.high_ms, mode) if scaled else None,
        published=tuple(row for row in measured if row.device == device.name and row.published.precision == precision),
    )


def published_dict(row: Compared) -> dict[str, Any]:
    """A published measurement for ``--json``."""
    return {
        **row.published.model_dump(mode="json"),
        "roofline_ms": row.roofline_ms,
        "times_the_roofline": row.ratio,
        "joules": row.joules,
    }
