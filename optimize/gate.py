"""Whether a variant may leave the workshop. Pure.

Every variant is held against limits; losses are counted against the FP32 graph measured on the same images. What could
not be measured does not pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from mien.config import Settings
from mien.release import Accuracy, GateCheck, GateResult

REFERENCE = "fp32"


class GateLimits(Settings):
    """The limits, as ``configs/gates/*.yaml`` states them. Accuracies are fractions: 0.005 is half a point."""

    max_map50_95_loss: float = Field(default=0.005, ge=0, le=1)
    """Most that a variant may lose against FP32."""
    max_class_loss: float = Field(default=0.02, ge=0, le=1)
    """Most that one class may lose in mAP50-95; only classes with enough objects are held against it."""
    min_class_objects: int = Field(default=50, ge=1)
    """A class with fewer labelled objects is too small to judge alone."""
    max_confidence_shift: float = Field(default=0.02, ge=0, le=1)
    """Most that the mean score of shared detections may move, up or down."""
    min_reference_agreement: float = Field(default=0.9, ge=0, le=1)
    """Least share of the reference detections that a variant must show again."""
    min_map50: float = Field(default=0.1, ge=0, le=1)
    """Least mAP50 of every variant, FP32 included: where FP32 finds nothing, no loss can be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one variant's file."""

    path: str
    precision: str
    accuracy: Accuracy
    reference_agreement: float
    size_bytes: int
    latency_ms: float
    for_cpu: bool = True
    """Whether onnxruntime, which timed it, is a runtime that the file is made for."""


def gate(measured: Sequence[Measured], limits: GateLimits, objects: Mapping[str, int]) -> GateResult:
    """Hold every variant against the limits.

    Args:
        measured: of all variants; the FP32 graph among them.
        limits: what is allowed.
        objects: labelled validation objects of each class.

    Returns:
        All checks; ``refused`` names each variant that failed, with its reasons.
    """
    reference = next(one for one in measured if one.precision == REFERENCE)
    checks: list[GateCheck] = []
    for one in measured:
        checks += _checks(one, reference, limits, objects)
    refused: dict[str, str] = {}
    for check in checks:
        if not check.passed:
            said = f"{check.name} {check.value:.4f}, limit {check.limit:.4f}"
            refused[check.variant] = "; ".join(filter(None, (refused.get(check.variant, ""), said)))
    return GateResult(
        passed=not refused,
        checks=tuple(checks),
        refused=refused,
        small_classes=tuple(name for name, count in objects.items() if count < limits.min_class_objects),
    )


def measured_line(one: Measured) -> str:
    """What was measured of a file, as one line of a table for a terminal or a log."""
    accuracy = one.accuracy
    shift = "—" if accuracy.confidence_shift is None else f"{accuracy.confidence_shift:+.4f}"
    return (
        f"{one.path:<20} mAP50 {accuracy.map50:.3f}  mAP50-95 {accuracy.map50_95:.3f}  confidence shift {shift}  "
        f"changed images {accuracy.changed_images} of {accuracy.images}  reference {one.reference_agreement:.2f}"
    )


def _checks(one: Measured, reference: Measured, limits: GateLimits, objects: Mapping[str, int]) -> list[GateCheck]:
    accuracy, wanted = one.accuracy, reference.accuracy
    shift = accuracy.confidence_shift
    found_nothing = accuracy.mean_confidence is None and wanted.mean_confidence is None
    moved = abs(shift) if shift is not None else (0.0 if found_nothing else 1.0)
    worst = max(
        (wanted.per_class[name] - accuracy.per_class.get(name, 0.0) for name in _large(wanted, limits, objects)),
        default=0.0,
    )
    return [
        _most(one, "map50_95_loss", wanted.map50_95 - accuracy.map50_95, limits.max_map50_95_loss),
        _most(one, "class_loss", worst, limits.max_class_loss),
        _most(one, "confidence_shift", moved, limits.max_confidence_shift),
        _least(one, "reference_agreement", one.reference_agreement, limits.min_reference_agreement),
        _least(one, "map50", accuracy.map50, limits.min_map50),
    ]


def _large(accuracy: Accuracy, limits: GateLimits, objects: Mapping[str, int]) -> list[str]:
    return [name for name in accuracy.per_class if objects.get(name, 0) >= limits.min_class_objects]


def _most(one: Measured, name: str, value: float, limit: float) -> GateCheck:
    return GateCheck(variant=one.path, name=name, value=value, limit=limit, passed=value <= limit)


def _least(one: Measured, name: str, value: float, limit: float) -> GateCheck:
    return GateCheck(variant=one.path, name=name, value=value, limit=limit, passed=value >= limit)
