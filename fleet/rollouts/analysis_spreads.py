"""Compares distributions (confidences, expressions) by the population stability index, class by class.

Each must be near to one of the references, for people change their mood, and light changes, without any release. The
histogram of confidences counts only where it moved down: a better model may be surer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fleet.rollouts.analysis_policy import AnalysisPolicy
from fleet.rollouts.analysis_values import Finding, Reference, Sample
from fleet.statistics.distributions import binned_delta, chance_of_index, stability_index

Counts = dict[str, int]
"""Detections by bin; bins of a histogram are named so that they sort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    name: str
    limit: str
    read: Callable[[Sample], Counts]
    downwards: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    windows: float
    counts: Counts

    def enough(self, policy: AnalysisPolicy) -> bool:
        return self.windows >= policy.min_windows and sum(self.counts.values()) >= policy.min_detections


def _histogram(sample: Sample) -> Counts:
    return {f"{index:03d}": count for index, count in enumerate(sample.confidence_histogram)}


def _expressions(sample: Sample) -> Counts:
    return dict(sample.expressions)


SPREADS = (
    _Spread(name="confidence_histogram", limit="max_confidence_psi", read=_histogram, downwards=True),
    _Spread(name="expressions", limit="max_expression_psi", read=_expressions),
)


def compare_spreads(new: Sequence[Sample], reference: Reference, policy: AnalysisPolicy) -> list[Finding]:
    """One finding or more for each distribution."""
    kinds = sorted({sample.hardware for sample in new} | reference.hardware) or [""]
    found: list[Finding] = []
    for spread in SPREADS:
        each = [_finding(spread, kind, new, reference, policy) for kind in kinds]
        told = [finding for finding in each if not finding.missing]
        found += told if told and spread.name not in policy.required else each
    return [finding if len(kinds) > 1 else _unnamed(finding) for finding in found]


def _finding(
    spread: _Spread, kind: str, new: Sequence[Sample], reference: Reference, policy: AnalysisPolicy
) -> Finding:
    mine = _side(spread, new, kind)
    sides = [_side(spread, side, kind) for side in (reference.stable, reference.before)]
    others = [side for side in sides if side.enough(policy)]
    limit = float(getattr(policy, spread.limit))
    if not mine.enough(policy) or not others:
        other = max(sides, key=lambda side: side.windows)
        told = (
            f"{sum(mine.counts.values())} detections in {mine.windows:.0f} windows against "
            f"{sum(other.counts.values())} in {other.windows:.0f}, "
            f"{policy.min_detections} in {policy.min_windows} of each wanted"
        )
        return Finding(metric=spread.name, hardware=kind, missing=True, told=told, limit=limit)
    nearest = min(others, key=lambda side: stability_index(*_aligned(mine, side)))
    ours, theirs = _aligned(mine, nearest)
    index, delta = stability_index(ours, theirs), binned_delta(ours, theirs)
    return Finding(
        metric=spread.name,
        hardware=kind,
        told=f"population stability index {index:.2f}" + (f", moved {_way(delta)}" if spread.downwards else ""),
        allowed=f"limit {limit:.2f}",
        limit=limit,
        value=round(index, 4),
        beyond=index > limit and (not spread.downwards or delta < 0),
        p=chance_of_index(index, ours, theirs),
    )


def _side(spread: _Spread, samples: Iterable[Sample], kind: str) -> _Side:
    counts: Counts = {}
    windows = 0.0
    for sample in samples:
        if sample.hardware == kind:
            windows += sample.weight
            for name, count in spread.read(sample).items():
                counts[name] = counts.get(name, 0) + count
    return _Side(windows=windows, counts=counts)


def _aligned(first: _Side, second: _Side) -> tuple[list[int], list[int]]:
    names = sorted({*first.counts, *second.counts})
    return [first.counts.get(name, 0) for name in names], [second.counts.get(name, 0) for name in names]


def _way(delta: float) -> str:
    return "down" if delta < 0 else "up"


def _unnamed(finding: Finding) -> Finding:
    return replace(finding, hardware=None)
