"""The limits of the analysis: how much worse a release may be, how sure that must be, and what a verdict may do.

Read as part of a rollout's or an experiment's policy. What the figures mean is decided in
:mod:`fleet.rollouts.analysis`; every default is told, with its measured error rates, in ``docs/analysis.md``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mien.config import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Rise = Annotated[float, Field(ge=0, le=100)]
Metric = Literal[
    "fps",
    "latency_p95_ms",
    "energy_per_inference_j",
    "temperature_c",
    "probe_agreement",
    "confidence",
    "detections_per_frame",
    "confidence_histogram",
    "expressions",
]


class AnalysisPolicy(Settings):
    """How the devices of a wave are held against those still on the old release, and against themselves before.

    A share such as ``max_fps_drop: 0.2`` allows a median 20 % worse. Confidence is judged one-sidedly: a better model
    may be surer. What people show changes by itself, so the limit on expressions is generous.
    """

    mode: Literal["gate", "report"] = "gate"
    """``report``: the verdict is measured and shown, and the rollout goes on whatever it is."""
    unit: Literal["window", "device"] = "window"
    """What counts as one observation: each telemetry window, or each device by its median window."""
    min_windows: int = Field(default=6, ge=3)
    """Telemetry windows that each side must have; with ``unit: device``, that each device must have."""
    min_devices: int = Field(default=5, ge=2)
    """Devices that each side must have where the device is the unit, and for the agreement of probes."""
    timeout_s: float = Field(default=900.0, gt=0)
    """When there is no verdict by then, the rollout pauses for a person."""
    significance: float = Field(default=0.05, gt=0, le=0.2)
    """Largest p at which a difference counts: the chance of one false alarm among all metrics (Holm)."""
    min_effect: Share = 0.33
    """Smallest Cliff's delta at which a difference counts; below 0.33 it is called small (Romano et al. 2006)."""
    max_fps_drop: Share = 0.2
    max_latency_rise: Rise = 0.5
    max_energy_rise: Rise = 0.3
    max_temperature_rise_c: float = Field(default=10.0, gt=0, le=100)
    """Of the hottest sensor, in degrees."""
    max_agreement_drop: Share = 0.05
    """Of the probes' agreement with the releases' own reference outputs, in points of 0..1."""
    max_confidence_drop: Share = 0.15
    max_detections_drop: Share = 0.6
    max_confidence_psi: float = Field(default=0.5, gt=0)
    """Of the confidence histogram, where it moved down; a better model may be surer."""
    max_expression_psi: float = Field(default=0.5, gt=0)
    min_detections: int = Field(default=100, ge=10)
    """Detections that each side must have before their distributions are compared."""
    required: tuple[Metric, ...] = ("fps", "latency_p95_ms")
    """Metrics without which there is no verdict; others are skipped where a device does not report them."""
