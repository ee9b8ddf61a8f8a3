"""The probe's verdict: whether a new engine may stay. Pure.

Two looks: the bundle's reference frames (does it still see what it saw when it was packed?) and live frames (is it as
fast, as frugal and as sure as the release before?). What was not measured never passes as good, and what was measured
under other conditions never counts against a release: a camera that is away, a lighter variant, a lowered frame rate.
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
    cameras_away: tuple[str, ...] = ()
    """Cameras that were away or gave no frame meanwhile."""
    is_reduced: bool = False
    """Measured with a lighter variant or at a lowered frame rate, because of the device's limits."""

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
    seen = None if live is None or live.cameras_away else live
    left_out = _left_out(live, before)
    if seen is not None:
        reasons += _live_reasons(policy, seen)
        if before is not None and seen.frames and not left_out:
            reasons += _compared(policy, seen, before, latency_slack_ms)
    if reference is None and seen is None:
        reasons.append("nothing was measured")
    return ProbeResult(
        passed=not reasons,
        reference_agreement=reference.agreement if reference else None,
        fps=seen.fps if seen else None,
        fps_before=before.fps if before else None,
        latency_p95_ms=seen.latency_p95_ms if seen else None,
        latency_p95_before_ms=before.latency_p95_ms if before else None,
        power_w=seen.power_w if seen else None,
        power_before_w=before.power_w if before else None,
        confidence_mean=seen.confidence_mean if seen else None,
        confidence_before=before.confidence_mean if before else None,
        reasons=(*reasons, *left_out),
    )


def _left_out(live: LiveFigures | None, before: LiveFigures | None) -> list[str]:
    """Why live frames were not judged, or not held against the release before."""
    if live is None:
        return []
    if live.cameras_away:
        return [f"no verdict on live frames: {_names(live.cameras_away)} away"]
    if before is None:
        return []
    if before.cameras_away:
        return [f"not compared: {_names(before.cameras_away)} away before"]
    if before.is_reduced or live.is_reduced:
        return [f"not compared: the device had stepped down {'before' if before.is_reduced else 'meanwhile'}"]
    return []


def _names(cameras: tuple[str, ...]) -> str:
    return f"{', '.join(cameras)} {'was' if len(cameras) == 1 else 'were'}"


def _reference_reasons(policy: ProbePolicy, reference: ReferenceLook | None) -> list[str]:
    if reference is None:
        return []
    least = reference.recorded - policy.reference_margin
    if reference.agreement >= least:
        return []
    found, packed = f"{reference.agreement:.2f}", f"{reference.recorded:.2f}"
    return [f"reference agreement {found}, at least {least:.2f} wanted ({packed} when packed)"]


def _live_reasons(policy: ProbePolicy, live: LiveFigures) -> list[str]:
    if live.frames >= policy.min_live_frames or (live.frames and live.is_reduced):
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
    more_work = policy.min_fps_ratio * live.fps > before.fps  # a camera came back: so many more frames take more power
    hungry = live.power_w is not None and before.power_w and live.power_w > policy.max_power_ratio * before.power_w
    if hungry and not more_work:
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
