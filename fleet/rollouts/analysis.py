"""Holds the figures of devices with a new release against others, and says pass, fail or inconclusive.

The reference is what the same devices showed before the change, corrected by what happened to the others meanwhile
(difference in differences): so neither a slow camera on the canary nor a change of light over the whole site takes a
good release back. Devices without a past are held against the devices that are still on the old release. "Worse" needs
both a size (the limit on medians) and a significance (Mann-Whitney U, one-sided). Missing data is never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median
from typing import Any, Literal

from fleet.rollouts.analysis_policy import AnalysisPolicy
from mien.messages import Window

Outcome = Literal["pass", "fail", "inconclusive", "skipped"]
_EXACT_UP_TO = 400
_PSI_FLOOR = 0.5
_SMALLEST_P = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One telemetry window's figures; ``None`` where the device did not measure."""

    fps: float | None = None
    latency_p95_ms: float | None = None
    energy_per_inference_j: float | None = None
    confidence: float | None = None
    detections_per_frame: float | None = None
    expressions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the new figures are held against."""

    stable: Sequence[Sample] = ()
    """Devices on the old release, in the same time."""
    before: Sequence[Sample] = ()
    """The wave's own devices on the old release, before."""
    stable_before: Sequence[Sample] = ()
    """The devices on the old release, in that earlier time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict:
    """One metric, judged."""

    metric: str
    outcome: Outcome
    reason: str
    value: float | None = None
    """Median of the devices with the new release (for expressions: the index itself)."""
    stable: float | None = None
    before: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All metrics, judged together."""

    outcome: Outcome
    reason: str
    windows: int = 0
    metrics: tuple[MetricVerdict, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = MetricVerdict.__dataclass_fields__
        metrics = [{name: getattr(metric, name) for name in names} for metric in self.metrics]
        return {"outcome": self.outcome, "reason": self.reason, "windows": self.windows, "metrics": metrics}


def sample_of(window: Window) -> Sample:
    """The figures of a window that are compared."""
    total = window.latency_ms.get("total")
    return Sample(
        fps=window.fps,
        latency_p95_ms=total.p95 if total else None,
        energy_per_inference_j=window.power.energy_per_inference_j,
        confidence=window.confidence_mean,
        detections_per_frame=window.detections / window.frames if window.frames else None,
        expressions=window.expressions,
    )


def judge(new: Sequence[Sample], reference: Reference, policy: AnalysisPolicy) -> Verdict:
    """Judge a wave.

    Args:
        new: windows of its devices with the new release.
        reference: what they are held against.
        policy: limits.
    """
    limits = {
        "fps": (-1, policy.max_fps_drop),
        "latency_p95_ms": (+1, policy.max_latency_rise),
        "energy_per_inference_j": (+1, policy.max_energy_rise),
        "confidence": (-1, policy.max_confidence_drop),
        "detections_per_frame": (-1, policy.max_detections_drop),
    }
    metrics = [
        _metric(name, new, reference, worse=worse, limit=limit, policy=policy)
        for name, (worse, limit) in limits.items()
    ]
    return _together((*metrics, _mix(new, reference, policy)), len(new))


def mann_whitney(lower: Sequence[float], higher: Sequence[float]) -> float:
    """One-sided p of "values of ``lower`` are not smaller than those of ``higher``": small when they are.

    Exact by counting arrangements where nothing is tied and the groups are small (Mann & Whitney 1947); otherwise the
    normal approximation with tie correction and continuity correction.
    """
    n, m = len(lower), len(higher)
    u = sum((a > b) + 0.5 * (a == b) for a in lower for b in higher)
    pooled = sorted([*lower, *higher])
    ties = [len(list(group)) for _, group in groupby(pooled)]
    if max(ties) == 1 and n * m <= _EXACT_UP_TO:
        counts = _arrangements(n, m)
        return sum(counts[: int(u) + 1]) / sum(counts)
    total = n + m
    variance = n * m / 12 * (total + 1 - sum(t**3 - t for t in ties) / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = (u - n * m / 2 + 0.5) / math.sqrt(variance)
    return 0.5 * math.erfc(-z / math.sqrt(2))


def population_stability(new: Mapping[str, int], reference: Mapping[str, int]) -> float:
    """Population stability index of two mixes: sum of (p - q) ln(p / q), half a count added to each label."""
    labels = sorted({*new, *reference})
    p_all = sum(new.values()) + _PSI_FLOOR * len(labels)
    q_all = sum(reference.values()) + _PSI_FLOOR * len(labels)
    shares = (
        ((new.get(label, 0) + _PSI_FLOOR) / p_all, (reference.get(label, 0) + _PSI_FLOOR) / q_all) for label in labels
    )
    return sum((p - q) * math.log(p / q) for p, q in shares)


def _arrangements(n: int, m: int) -> list[int]:
    """How many of the orderings of n and m values have U = 0, 1, …, n·m: coefficients of the Gaussian binomial."""
    counts = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for k in range(n * m, m + i - 1, -1):
            counts[k] -= counts[k - m - i]
        for k in range(i, n * m + 1):
            counts[k] += counts[k - i]
    return counts


def _column(samples: Sequence[Sample], name: str) -> list[float]:
    return [value for sample in samples if (value := getattr(sample, name)) is not None]


def _metric(
    name: str, new: Sequence[Sample], reference: Reference, *, worse: int, limit: float, policy: AnalysisPolicy
) -> MetricVerdict:
    """Judge one metric; ``worse`` is the sign of a change for the worse."""
    values, expected, against = _column(new, name), *_expected(name, reference, policy)
    figures = {
        "value": _middle(values),
        "stable": _middle(_column(reference.stable, name)),
        "before": _middle(_column(reference.before, name)),
        "limit": limit,
    }
    if len(values) < policy.min_windows or len(expected) < policy.min_windows:
        outcome: Outcome = "inconclusive" if name in policy.required else "skipped"
        told = f"{len(values)} windows against {len(expected)}, {policy.min_windows} of each wanted"
        return MetricVerdict(metric=name, outcome=outcome, reason=told, **figures)
    change = median(values) / median(expected) - 1 if median(expected) > 0 else 0.0
    told = f"{change:+.0%} against {against}"
    if worse * change <= limit:
        return MetricVerdict(metric=name, outcome="pass", reason=told, **figures)
    p = mann_whitney(values, expected) if worse < 0 else mann_whitney(expected, values)
    outcome = "fail" if p <= policy.significance else "inconclusive"
    told += f" (limit {worse * limit:+.0%}, {f'p={p:.3f}' if p >= _SMALLEST_P else f'p<{_SMALLEST_P}'})"
    return MetricVerdict(metric=name, outcome=outcome, reason=told, **figures)


def _expected(name: str, reference: Reference, policy: AnalysisPolicy) -> tuple[list[float], str]:
    """The values a metric should have had without the change, and what they are called."""
    before, stable = _column(reference.before, name), _column(reference.stable, name)
    if len(before) < policy.min_windows:
        return stable, "the devices on the old release"
    earlier = _column(reference.stable_before, name)
    if min(len(stable), len(earlier)) < policy.min_windows or median(earlier) <= 0:
        return before, "the same devices before"
    trend = median(stable) / median(earlier)
    return [value * trend for value in before], "the same devices before, others' change taken off"


def _mix(new: Sequence[Sample], reference: Reference, policy: AnalysisPolicy) -> MetricVerdict:
    """Judge the mix of expressions: it must be near to one of the references, for people change their mood too."""
    mix, limit = _summed(new), policy.max_expression_psi
    others = [(len(side), _summed(side)) for side in (reference.stable, reference.before)]
    enough = [
        other
        for windows, other in others
        if windows >= policy.min_windows and sum(other.values()) >= policy.min_detections
    ]
    if len(new) < policy.min_windows or sum(mix.values()) < policy.min_detections or not enough:
        outcome: Outcome = "inconclusive" if "expressions" in policy.required else "skipped"
        windows, other = max(others, key=lambda side: side[0])
        told = (
            f"{sum(mix.values())} detections in {len(new)} windows against {sum(other.values())} in {windows}, "
            f"{policy.min_detections} in {policy.min_windows} of each wanted"
        )
        return MetricVerdict(metric="expressions", outcome=outcome, reason=told, limit=limit)
    index = min(population_stability(mix, other) for other in enough)
    return MetricVerdict(
        metric="expressions",
        outcome="fail" if index > limit else "pass",
        reason=f"population stability index {index:.2f} (limit {limit:.2f})",
        value=round(index, 4),
        limit=limit,
    )


def _summed(samples: Sequence[Sample]) -> dict[str, int]:
    mix: dict[str, int] = {}
    for sample in samples:
        for label, count in sample.expressions.items():
            mix[label] = mix.get(label, 0) + count
    return mix


def _together(metrics: tuple[MetricVerdict, ...], windows: int) -> Verdict:
    for outcome in ("fail", "inconclusive"):
        named = [metric for metric in metrics if metric.outcome == outcome]
        if named:
            told = "; ".join(f"{metric.metric}: {metric.reason}" for metric in named)
            chosen: Outcome = "fail" if outcome == "fail" else "inconclusive"
            return Verdict(outcome=chosen, reason=told, windows=windows, metrics=metrics)
    judged = [metric.metric for metric in metrics if metric.outcome == "pass"]
    if not judged:
        return Verdict(outcome="inconclusive", reason="nothing was measured", windows=windows, metrics=metrics)
    return Verdict(outcome="pass", reason=f"{', '.join(judged)} within limits", windows=windows, metrics=metrics)


def _middle(values: Sequence[float]) -> float | None:
    return round(median(values), 4) if values else None
