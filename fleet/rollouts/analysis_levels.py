"""Compares levels (rates, times, energy, heat, agreement): medians for the size, ranks for the evidence.

Every hardware class is compared with its own kind. Where a wave has several, each class with enough windows is one
comparison, and all of them together another one (van Elteren's sum), so that a fault on one class is found, and so is
one that no class has enough windows for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fleet.rollouts.analysis_policy import AnalysisPolicy
from fleet.rollouts.analysis_values import Finding, Reference, Sample
from fleet.statistics.ranks import Weighted, chance_of, compare, delta_of, middle

_ALL = "all hardware classes together"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How one level is judged."""

    name: str
    worse: int
    """The sign of a change for the worse."""
    limit: str
    """The field of the policy."""
    relative: bool = True
    """Whether the limit is a share of what was expected, or a difference in the level's own unit."""
    unit: str = ""
    by_device: bool = False
    """Whether a device has one value only, however many windows it sends."""


LEVELS = (
    Level(name="fps", worse=-1, limit="max_fps_drop"),
    Level(name="latency_p95_ms", worse=+1, limit="max_latency_rise"),
    Level(name="energy_per_inference_j", worse=+1, limit="max_energy_rise"),
    Level(name="temperature_c", worse=+1, limit="max_temperature_rise_c", relative=False, unit=" °C"),
    Level(name="probe_agreement", worse=-1, limit="max_agreement_drop", relative=False, by_device=True),
    Level(name="confidence", worse=-1, limit="max_confidence_drop"),
    Level(name="detections_per_frame", worse=-1, limit="max_detections_drop"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The values of one hardware class, and those it should have had."""

    hardware: str
    new: list[Weighted]
    expected: list[Weighted]
    against: str
    enough: bool

    def change(self, level: Level) -> float:
        found, wanted = middle(self.new), middle(self.expected)
        if not level.relative:
            return found - wanted
        return found / wanted - 1 if wanted > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One level, and all that it is asked of."""

    level: Level
    new: Sequence[Sample]
    reference: Reference
    policy: AnalysisPolicy


def compare_levels(new: Sequence[Sample], reference: Reference, policy: AnalysisPolicy) -> list[Finding]:
    """One finding or more for each level."""
    found: list[Finding] = []
    for level in LEVELS:
        found += _findings(_Question(level=level, new=new, reference=reference, policy=policy))
    return found


def observations(samples: Iterable[Sample], level: Level, policy: AnalysisPolicy) -> list[Weighted]:
    """The values of a level with their weights: one for each window, or one for each device."""
    measured = [
        (sample.device, (float(value), sample.weight))
        for sample in samples
        if (value := getattr(sample, level.name)) is not None
    ]
    if not level.by_device and policy.unit == "window":
        return [item for _, item in measured]
    devices: dict[str, list[Weighted]] = {}
    for device, item in measured:
        devices.setdefault(device, []).append(item)
    least = 0 if level.by_device else policy.min_windows
    return [(middle(items), 1.0) for items in devices.values() if sum(weight for _, weight in items) >= least]


def quartiles(values: Sequence[Weighted]) -> tuple[float, float, float]:
    """The weighted median, with those of the lower and the upper half."""
    mid = middle(values)
    low = [item for item in values if item[0] <= mid]
    high = [item for item in values if item[0] >= mid]
    return round(middle(low), 4), round(mid, 4), round(middle(high), 4)


def _findings(question: _Question) -> list[Finding]:
    level, policy = question.level, question.policy
    kinds = sorted({sample.hardware for sample in question.new} | question.reference.hardware) or [""]
    pairs = [_pair(question, kind) for kind in kinds]
    if len(pairs) == 1:
        return [_compared(question, pairs, None)]
    whole = [pair for pair in pairs if pair.new and pair.expected]
    together = _compared(question, whole, _ALL) if len(whole) > 1 else None
    alone = [(pair, _compared(question, [pair], pair.hardware)) for pair in pairs]
    if together is not None and not together.missing:
        alone = [(pair, found) for pair, found in alone if not found.missing or _must_have(pair, level, policy)]
    return [*([together] if together is not None else []), *(found for _, found in alone)]


def _must_have(pair: _Pair, level: Level, policy: AnalysisPolicy) -> bool:
    """Whether a class that has too little leaves the verdict open though all classes together have enough.

    A required metric needs windows of each class. Where devices are the unit, a class has as many as it has, and one on
    each side will do.
    """
    if level.name not in policy.required:
        return False
    return policy.unit == "window" or not (pair.new and pair.expected)


def _compared(question: _Question, pairs: Sequence[_Pair], hardware: str | None) -> Finding:
    level, policy = question.level, question.policy
    values, expected = _flat(pair.new for pair in pairs), _flat(pair.expected for pair in pairs)
    limit = float(getattr(policy, level.limit))
    finding = replace(_figures(question, {pair.hardware for pair in pairs}), hardware=hardware, limit=limit)
    if not (all(pair.enough for pair in pairs) or (hardware == _ALL and _enough(values, expected, level, policy))):
        return replace(finding, missing=True, told=_too_little(values, expected, level, policy))
    weights = [sum(weight for _, weight in pair.new) for pair in pairs]
    change = sum(w * pair.change(level) for w, pair in zip(weights, pairs, strict=True)) / sum(weights)
    sides = [(pair.new, pair.expected) if level.worse < 0 else (pair.expected, pair.new) for pair in pairs]
    ranks = [compare(*side) for side in sides]
    against = pairs[0].against if len({pair.against for pair in pairs}) == 1 else "what each class showed"
    return replace(
        finding,
        told=f"{_size(level, change)} against {against}",
        allowed=f"limit {_size(level, level.worse * limit)}",
        beyond=level.worse * change > limit,
        change=round(level.worse * change, 4),
        p=chance_of(ranks),
        effect=-level.worse * delta_of(ranks),
        new=quartiles(values),
        expected=quartiles(expected),
    )


def _figures(question: _Question, kinds: set[str]) -> Finding:
    """The medians of each side, for people."""
    level, reference = question.level, question.reference
    value, stable, before = (
        _median(observations(_of(side, kinds), level, question.policy))
        for side in (question.new, reference.stable, reference.before)
    )
    return Finding(metric=level.name, told="", value=value, stable=stable, before=before)


def _pair(question: _Question, kind: str) -> _Pair:
    level, policy = question.level, question.policy
    values = observations(_of(question.new, {kind}), level, policy)
    expected, against = _expected(level, kind, question.reference, policy)
    enough = _enough(values, expected, level, policy)
    return _Pair(hardware=kind, new=values, expected=expected, against=against, enough=enough)


def _expected(level: Level, kind: str, reference: Reference, policy: AnalysisPolicy) -> tuple[list[Weighted], str]:
    """The values a class should have had without the change, and what they are called."""
    before, stable, earlier = (
        observations(_of(side, {kind}), level, policy)
        for side in (reference.before, reference.stable, reference.stable_before)
    )
    if not _enough(before, before, level, policy):
        return stable, "the devices on the old release"
    if not _enough(stable, earlier, level, policy) or (level.relative and middle(earlier) <= 0):
        return before, "the same devices before"
    moved = middle(stable) - middle(earlier)
    trend = middle(stable) / middle(earlier) if level.relative else 1.0
    shifted = [(value * trend if level.relative else value + moved, weight) for value, weight in before]
    return shifted, "the same devices before, others' change taken off"


def _enough(first: Sequence[Weighted], second: Sequence[Weighted], level: Level, policy: AnalysisPolicy) -> bool:
    least = _least(level, policy)
    return all(sum(weight for _, weight in side) >= least for side in (first, second))


def _least(level: Level, policy: AnalysisPolicy) -> int:
    return policy.min_devices if level.by_device or policy.unit == "device" else policy.min_windows


def _too_little(new: Sequence[Weighted], expected: Sequence[Weighted], level: Level, policy: AnalysisPolicy) -> str:
    what = "devices" if level.by_device or policy.unit == "device" else "windows"
    counts = [f"{sum(weight for _, weight in side):.0f}" for side in (new, expected)]
    return f"{counts[0]} {what} against {counts[1]}, {_least(level, policy)} of each wanted"


def _size(level: Level, change: float) -> str:
    if level.relative:
        return f"{change:+.0%}"
    return f"{change:+.1f}{level.unit}" if level.unit else f"{change:+.2f}"


def _of(samples: Iterable[Sample], kinds: set[str]) -> list[Sample]:
    return [sample for sample in samples if sample.hardware in kinds]


def _flat(parts: Iterable[list[Weighted]]) -> list[Weighted]:
    return [item for part in parts for item in part]


def _median(values: Sequence[Weighted]) -> float | None:
    return round(middle(values), 4) if values else None
