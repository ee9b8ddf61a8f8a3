"""Verdicts of the probe, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.update.probe import LiveFigures, ReferenceLook, judge
from mien.messages import ProbePolicy

POLICY = ProbePolicy()
SAME = ReferenceLook(agreement=0.98, recorded=0.98)
LIVE = LiveFigures(frames=100, fps=10.0, latency_p95_ms=20.0, power_w=10.0, detections=100, confidence_mean=0.8)


def test_the_same_figures_pass() -> None:
    """A release that does what the old one did stays."""
    assert judge(POLICY, SAME, LIVE, LIVE).passed


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        pytest.param(replace(LIVE, frames=3), "live frames", id="too-few-frames"),
        pytest.param(replace(LIVE, fps=6.9), "fps", id="slow"),
        pytest.param(replace(LIVE, latency_p95_ms=31.0), "latency", id="late"),
        pytest.param(replace(LIVE, power_w=15.1), "W against", id="hungry"),
        pytest.param(replace(LIVE, confidence_mean=0.5), "confidence", id="unsure"),
        pytest.param(replace(LIVE, detections=0, confidence_mean=None), "nothing detected", id="blind"),
    ],
)
def test_a_worse_figure_fails_with_its_reason(live: LiveFigures, reason: str) -> None:
    """Each limit alone takes a release back, and says why."""
    result = judge(POLICY, SAME, live, LIVE)
    assert not result.passed
    assert len(result.reasons) == 1
    assert reason in result.reasons[0]


def test_low_agreement_fails_without_live_frames() -> None:
    """The reference alone can take a release back."""
    result = judge(POLICY, ReferenceLook(agreement=0.92, recorded=0.98), None, None)
    assert not result.passed
    assert "reference agreement 0.92" in result.reasons[0]


def test_agreement_is_held_against_what_was_packed() -> None:
    """A variant that reproduced 80 % when it was packed may do so here."""
    assert judge(POLICY, ReferenceLook(agreement=0.78, recorded=0.8), LIVE, LIVE).passed


def test_nothing_measured_never_passes() -> None:
    """No data is no proof."""
    assert not judge(POLICY, None, None, None).passed


def test_a_first_release_is_not_compared() -> None:
    """Without a release before, only the absolute limits count."""
    assert judge(POLICY, SAME, replace(LIVE, fps=1.0), None).passed


def test_a_small_rise_of_a_small_latency_passes() -> None:
    """From 2 to 9 ms is a high ratio and no harm, within the slack."""
    live, before = replace(LIVE, latency_p95_ms=9.0), replace(LIVE, latency_p95_ms=2.0)
    assert judge(POLICY, SAME, live, before, latency_slack_ms=10.0).passed
    assert not judge(POLICY, SAME, live, before).passed


def test_an_empty_scene_is_no_fault() -> None:
    """Nothing detected where little was to be expected passes."""
    nobody = replace(LIVE, detections=0, confidence_mean=None)
    assert judge(POLICY, SAME, nobody, replace(LIVE, detections=5)).passed


AWAY = replace(LIVE, frames=0, fps=0.0, cameras_away=("porch", "yard"))


@pytest.mark.parametrize(
    ("live", "before", "note"),
    [
        pytest.param(AWAY, LIVE, "no verdict on live frames: porch, yard were away", id="away"),
        pytest.param(replace(LIVE, fps=5.0, cameras_away=("yard",)), LIVE, "yard was away", id="one-of-two-away"),
        pytest.param(replace(LIVE, power_w=20.0), replace(LIVE, cameras_away=("yard",)), "yard was away", id="before"),
        pytest.param(replace(LIVE, latency_p95_ms=90.0), replace(LIVE, is_reduced=True), "down before", id="lighter"),
        pytest.param(replace(LIVE, fps=5.0, is_reduced=True), LIVE, "down meanwhile", id="slowed"),
        pytest.param(replace(LIVE, frames=3, is_reduced=True), None, None, id="few-but-slowed"),
    ],
)
def test_other_conditions_never_condemn(live: LiveFigures, before: LiveFigures | None, note: str | None) -> None:
    """A camera away, a lighter variant or a lowered rate says nothing about the release, and the result says so."""
    result = judge(POLICY, SAME, live, before)
    assert result.passed
    assert (note or "") in "".join(result.reasons)
    assert bool(result.reasons) == bool(note)


def test_figures_without_a_camera_are_no_figures_of_the_release() -> None:
    """What was counted without one of the cameras is not reported as if it was the release's."""
    result = judge(POLICY, SAME, replace(LIVE, cameras_away=("yard",)), LIVE)
    assert (result.fps, result.power_w, result.fps_before) == (None, None, 10.0)


def test_a_camera_away_hides_no_fault_of_the_reference() -> None:
    """The reference frames decide alone then, and may condemn."""
    result = judge(POLICY, ReferenceLook(agreement=0.5, recorded=0.98), AWAY, LIVE)
    assert not result.passed
    assert "reference agreement" in result.reasons[0]


def test_an_engine_that_gives_nothing_while_stepped_down_fails() -> None:
    """A lowered rate explains few frames, not none."""
    assert not judge(POLICY, SAME, replace(LIVE, frames=0, fps=0.0, is_reduced=True), LIVE).passed


def test_power_is_compared_under_like_load() -> None:
    """Twice the frames, because a camera came back, take more power; the same frames may not."""
    assert judge(POLICY, SAME, replace(LIVE, fps=20.0, power_w=18.0), LIVE).passed
    assert not judge(POLICY, SAME, replace(LIVE, fps=13.0, power_w=18.0), LIVE).passed


@given(
    st.floats(0, 100),
    st.floats(0, 1000),
    st.floats(0, 50),
    st.integers(10, 1000),
    st.integers(0, 5000),
    st.floats(0, 1),
)
def test_getting_better_never_turns_a_pass_into_a_fail(
    fps: float, latency_ms: float, power_w: float, frames: int, detections: int, confidence: float
) -> None:
    """More frames a second, less latency and less power never hurt."""
    live = LiveFigures(
        frames=frames,
        fps=fps,
        latency_p95_ms=latency_ms,
        power_w=power_w,
        detections=detections,
        confidence_mean=confidence if detections else None,
    )
    better = replace(live, fps=fps + 1, latency_p95_ms=latency_ms / 2, power_w=power_w / 2)
    if judge(POLICY, SAME, live, LIVE).passed:
        assert judge(POLICY, SAME, better, LIVE).passed
