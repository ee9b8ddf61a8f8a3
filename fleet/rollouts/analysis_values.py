"""What the analysis compares: the figures of one telemetry window, the references, and one comparison's finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mien.messages import Window

Outcome = Literal["pass", "fail", "inconclusive", "skipped"]
RECORDING = "replay"
"""The power source that plays a recording: its watts and degrees say nothing of the release that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One telemetry window's figures; ``None`` where the device did not measure."""

    device: str = ""
    hardware: str = ""
    """Hardware class: figures are compared within one only."""
    weight: float = 1.0
    """Windows that this one stands for."""
    fps: float | None = None
    latency_p95_ms: float | None = None
    energy_per_inference_j: float | None = None
    temperature_c: float | None = None
    """Of the hottest sensor."""
    probe_agreement: float | None = None
    """What the device's probe of this release found; the same in all its windows."""
    confidence: float | None = None
    detections_per_frame: float | None = None
    expressions: Mapping[str, int] = field(default_factory=dict)
    confidence_histogram: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the new figures are held against."""

    stable: Sequence[Sample] = ()
    """Devices on the old release, in the same time."""
    before: Sequence[Sample] = ()
    """The wave's own devices on the old release, before."""
    stable_before: Sequence[Sample] = ()
    """The devices on the old release, in that earlier time."""
    hardware: frozenset[str] = frozenset()
    """Hardware classes of the wave, whether or not they sent anything: one that is silent leaves the verdict open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One metric, compared over one hardware class or over all; not judged yet."""

    metric: str
    told: str
    missing: bool = False
    """Whether there was too little to compare."""
    beyond: bool = False
    """Whether it is worse by more than the limit."""
    p: float | None = None
    allowed: str = ""
    value: float | None = None
    stable: float | None = None
    before: float | None = None
    limit: float | None = None
    change: float | None = None
    effect: float | None = None
    hardware: str | None = None
    new: tuple[float, float, float] | None = None
    expected: tuple[float, float, float] | None = None


def sample_of(
    window: Window, *, device: str = "", hardware: str = "", weight: float | None = None, agreement: float | None = None
) -> Sample:
    """The figures of a window that are compared.

    Args:
        window: as the device sent it.
        device: whose it is.
        hardware: that device's class.
        weight: windows that it stands for, if not all that it says.
        agreement: what the device's probe of the release found.
    """
    total, recorded = window.latency_ms.get("total"), window.power.source == RECORDING
    return Sample(
        device=device,
        hardware=hardware,
        weight=float(window.merged) if weight is None else weight,
        fps=window.fps,
        latency_p95_ms=total.p95 if total else None,
        energy_per_inference_j=None if recorded else window.power.energy_per_inference_j,
        temperature_c=None if recorded else max(window.temperature_c.values(), default=None),
        probe_agreement=agreement,
        confidence=window.confidence_mean,
        detections_per_frame=window.detections / window.frames if window.frames else None,
        expressions=window.expressions,
        confidence_histogram=window.confidence_histogram,
    )
