"""The probe's verdict: whether a new engine may stay. Pure.

Two looks: the bundle's reference frames (does it still see what it saw when it was packed?) and live frames (is it as
fast, as frugal and as sure as the release before?). What was not measured never passes as good.
"""

from __future__ import annotations

from dataclasses import dataclass

from mien.messages import ProbePolicy, ProbeResult

_ENOUGH_DETECTIONS = 10.0
"""A silent new release is suspicious once the old one would have found this many things in the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFigures:
    """What live frames showed over some seconds."""

    frames: int
    fps: float
    latency_p95_ms: float | None = None
    power_w: float | None = None
    detections: int = 0
    confidence_mean: float | None = None

    @property
    def detections_per_frame(self) -> float:
        """Mean over the frames."""
        return self.detections / self.frames if self.frames else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLook:
    """Agreement with the reference detections: found now, and when the bundle was packed."""

    agreement: float
    recorded: float


def judge(
    policy: ProbePolicy,
    reference: ReferenceLook | None,
    live: LiveFigures | None,
    before: LiveFigures | None,
    *,
    latency_slack_ms: float = 0.0,
) -> ProbeResult:
    """Say whether a release stays.

    Args:
        policy: the limits, as they came with the deployment.
        reference: the look at reference frames; ``None`` when the bundle has none.
        live: the look at live frames; ``None`` when it was not taken (a return to a release that has run here).
        before: the old release's last figures; ``None`` at a first installation.
        latency_slack_ms: a latency that rose by less passes whatever its ratio.
    """
    reasons = _reference_reasons(policy, reference)
    if live is not None:
        reasons += _live_reasons(policy, live)
        if before is not None and live.frames:
            reasons += _compared(policy, live, before, latency_slack_ms)
    if reference is None and live is None:
        reasons.append("nothing was measured")
    return ProbeResult(
        passed=not reasons,
        reference_agreement=reference.agreement if reference else None,
        fps=live.fps if live else None,
        fps_before=before.fps if before else None,
        latency_p95_ms=live.latency_p95_ms if live else None,
        latency_p95_before_ms=before.latency_p95_ms if before else None,
        power_w=live.power_w if live else None,
        power_before_w=before.power_w if before else None,
        confidence_mean=live.confidence_mean if live else None,
        confidence_before=before.confidence_mean if before else None,
        reasons=tuple(reasons),
    )


def _reference_reasons(policy: ProbePolicy, reference: ReferenceLook | None) -> list[str]:
    if reference is None:
        return []
    least = reference.recorded - policy.reference_margin
    if reference.agreement >= least:
        return []
    found, packed = f"{reference.agreement:.2f}", f"{reference.recorded:.2f}"
    return [f"reference agreement {found}, at least {least:.2f} wanted ({packed} when packed)"]


def _live_reasons(policy: ProbePolicy, live: LiveFigures) -> list[str]:
    if live.frames >= policy.min_live_frames:
        return []
    return [f"{live.frames} live frames, at least {policy.min_live_frames} wanted"]


def _compared(policy: ProbePolicy, live: LiveFigures, before: LiveFigures, slack_ms: float) -> list[str]:
    reasons = []
    if live.fps < policy.min_fps_ratio * before.fps:
        reasons.append(f"{live.fps:.1f} fps against {before.fps:.1f} before")
    if live.latency_p95_ms is not None and before.latency_p95_ms is not None:
        limit_ms = max(policy.max_latency_ratio * before.latency_p95_ms, before.latency_p95_ms + slack_ms)
        if live.latency_p95_ms > limit_ms:
            reasons.append(f"latency p95 {live.latency_p95_ms:.1f} ms against {before.latency_p95_ms:.1f} ms before")
    if live.power_w is not None and before.power_w and live.power_w > policy.max_power_ratio * before.power_w:
        reasons.append(f"{live.power_w:.1f} W against {before.power_w:.1f} W before")
    return reasons + _confidence_reasons(policy, live, before)


def _confidence_reasons(policy: ProbePolicy, live: LiveFigures, before: LiveFigures) -> list[str]:
    expected = before.detections_per_frame * live.frames
    if live.detections == 0:
        return [f"nothing detected, about {expected:.0f} expected"] if expected >= _ENOUGH_DETECTIONS else []
    if live.confidence_mean is None or not before.confidence_mean:
        return []
    if live.confidence_mean < policy.min_confidence_ratio * before.confidence_mean:
        return [f"mean confidence {live.confidence_mean:.2f} against {before.confidence_mean:.2f} before"]
    return []
