"""Holds the figures of devices with a new release against others, and says pass, fail or inconclusive.

The reference is what the same devices showed before the change, corrected by what happened to the others meanwhile
(difference in differences): so neither a slow camera on the canary nor a change of light over the whole site takes a
good release back. Devices without a past are held against the devices that are still on the old release. Every hardware
class is held against its own kind. "Worse" needs three things: a size (the limit), an effect (Cliff's delta), and a
significance (Mann-Whitney U, one-sided, adjusted for the number of metrics). Missing data is never a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fleet.rollouts.analysis_levels import compare_levels
from fleet.rollouts.analysis_policy import AnalysisPolicy
from fleet.rollouts.analysis_spreads import compare_spreads
from fleet.rollouts.analysis_values import Finding, Outcome, Reference, Sample, sample_of
from fleet.statistics.many import holm

__all__ = ["Consequence", "MetricVerdict", "Reference", "Sample", "Verdict", "consequence", "judge", "sample_of"]

Consequence = Literal["wait", "pass", "halt", "pause"]
_SMALLEST_P = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict:
    """One metric, judged."""

    metric: str
    outcome: Outcome
    reason: str
    value: float | None = None
    """Median of the devices with the new release (for distributions: the index itself)."""
    stable: float | None = None
    before: float | None = None
    limit: float | None = None
    change: float | None = None
    """For the worse where it is positive: a share of what was expected, or degrees, or points of agreement."""
    p: float | None = None
    """Adjusted for all metrics and hardware classes of this verdict."""
    effect: float | None = None
    """Cliff's delta: -1 where every new value is smaller than every expected one, +1 where larger."""
    hardware: str | None = None
    """The hardware class that decided, where several were compared."""
    new: tuple[float, float, float] | None = None
    """Lower quartile, median and upper quartile of the devices with the new release."""
    expected: tuple[float, float, float] | None = None
    """The same of what they are held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All metrics, judged together."""

    outcome: Outcome
    reason: str
    windows: int = 0
    metrics: tuple[MetricVerdict, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the same after it was written and read again, so that a verdict that stays is not stored anew."""
        shown = asdict(self)
        for metric in shown["metrics"]:
            metric.update({name: list(value) for name, value in metric.items() if isinstance(value, tuple)})
        return shown | {"metrics": list(shown["metrics"])}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    finding: Finding
    p: float | None
    outcome: Outcome = field(default="pass")


def judge(new: Sequence[Sample], reference: Reference, policy: AnalysisPolicy) -> Verdict:
    """Judge a wave, or an arm of an experiment.

    Args:
        new: windows of its devices with the new release.
        reference: what they are held against.
        policy: limits.
    """
    findings = [*compare_levels(new, reference, policy), *compare_spreads(new, reference, policy)]
    tested = [finding for finding in findings if finding.p is not None]
    adjusted = iter(holm([finding.p or 0.0 for finding in tested]))
    by_metric: dict[str, list[_Judged]] = {}
    for finding in findings:
        p = next(adjusted) if finding.p is not None else None
        judged = _Judged(finding=finding, p=p, outcome=_outcome(finding, p, policy))
        by_metric.setdefault(finding.metric, []).append(judged)
    return _together(tuple(map(_decisive, by_metric.values())), sum(round(sample.weight) for sample in new))


def consequence(verdict: Verdict | None, policy: AnalysisPolicy, *, waited_s: float) -> Consequence:
    """What a verdict means for what waits for it.

    A failure halts and a pass lets it go on at once; when the time is up without either, a person is asked. In report
    mode nothing halts or pauses: the verdict is kept, and it goes on as soon as there is one, or the time is up.
    """
    late = waited_s > policy.timeout_s
    outcome = verdict.outcome if verdict is not None else "inconclusive"
    if policy.mode == "report":
        return "pass" if late or outcome in {"pass", "fail"} else "wait"
    if outcome == "pass":
        return "pass"
    if outcome == "fail":
        return "halt"
    return "pause" if late else "wait"


def _outcome(finding: Finding, p: float | None, policy: AnalysisPolicy) -> Outcome:
    if finding.missing:
        return "inconclusive" if finding.metric in policy.required else "skipped"
    if not finding.beyond or p is None:
        return "pass"
    strong = finding.effect is None or abs(finding.effect) >= policy.min_effect
    return "fail" if p <= policy.significance and strong else "inconclusive"


def _decisive(judged: Sequence[_Judged]) -> MetricVerdict:
    """Of one metric's comparisons, the one that decides: the first of the worst kind, all classes together first."""
    rank: Mapping[Outcome, int] = {"fail": 0, "inconclusive": 1, "pass": 2, "skipped": 3}
    chosen = min(judged, key=lambda item: rank[item.outcome])
    finding, p = chosen.finding, chosen.p
    reason = finding.told
    if finding.beyond and p is not None:
        chance = f"p={p:.3f}" if p >= _SMALLEST_P else f"p<{_SMALLEST_P}"
        effect = "" if finding.effect is None else f", effect {finding.effect:+.2f}"
        reason += f" ({finding.allowed}, {chance}{effect})"
    if finding.hardware:
        reason += f" on {finding.hardware}"
    return MetricVerdict(
        metric=finding.metric,
        outcome=chosen.outcome,
        reason=reason,
        value=finding.value,
        stable=finding.stable,
        before=finding.before,
        limit=finding.limit,
        change=finding.change,
        p=None if p is None else round(p, 6),
        effect=None if finding.effect is None else round(finding.effect, 4),
        hardware=finding.hardware,
        new=finding.new,
        expected=finding.expected,
    )


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
