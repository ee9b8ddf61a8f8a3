"""How evidence of expressions ages, and which one stands."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.faces.smoothing import Smoother

HAPPY, SAD, FEAR = 4, 6, 3


def _smoother(half_life_s: float = 0.5, margin: float = 0.1, label: int = HAPPY) -> Smoother:
    return Smoother(half_life_s, margin, 0.0, [(label, 0.9)])


def _show(smoother: Smoother, label: int, score: float, *, from_s: float, to_s: float, fps: float) -> None:
    frames = round((to_s - from_s) * fps)
    for frame in range(1, frames + 1):
        smoother.see(from_s + frame * (to_s - from_s) / frames, [(label, score)])


@given(half_life_s=st.floats(0.05, 20), fps=st.floats(4, 120), score=st.floats(0.3, 1))
def test_after_a_half_life_of_contrary_evidence_the_old_counts_half(
    half_life_s: float, fps: float, score: float
) -> None:
    """Exactly, whatever the frame rate."""
    smoother = _smoother(half_life_s)
    _show(smoother, HAPPY, score, from_s=0, to_s=2, fps=30)
    before = smoother.evidence(HAPPY)
    frames = max(round(half_life_s * fps), 1)
    for frame in range(1, frames + 1):
        smoother.see(2 + half_life_s * frame / frames, [(SAD, score)])
    assert smoother.evidence(HAPPY) == pytest.approx(before / 2, rel=1e-6)


def test_old_and_new_weigh_the_same_after_a_half_life() -> None:
    """Of a face that was seen for long, the two expressions then have equal evidence."""
    smoother = _smoother()
    _show(smoother, HAPPY, 0.8, from_s=0, to_s=20, fps=30)
    _show(smoother, SAD, 0.8, from_s=20, to_s=20.5, fps=30)
    assert smoother.evidence(SAD) == pytest.approx(smoother.evidence(HAPPY), rel=1e-3)


@given(
    parts=st.lists(
        st.tuples(st.sampled_from([HAPPY, SAD, FEAR]), st.floats(0.3, 1), st.integers(2, 20)), min_size=1, max_size=8
    )
)
def test_ten_and_thirty_frames_a_second_agree(parts: list[tuple[int, float, int]]) -> None:
    """The same film at another rate gives the same evidence at the same time."""
    slow, fast = _smoother(), _smoother()
    for smoother, fps in ((slow, 10), (fast, 30)):
        now_s = 0.0
        for label, score, tenths in parts:
            _show(smoother, label, score, from_s=now_s, to_s=now_s + tenths / 10, fps=fps)
            now_s += tenths / 10
    for label in (HAPPY, SAD, FEAR):
        assert slow.evidence(label) == pytest.approx(fast.evidence(label), abs=1e-5)
    if slow.label == fast.label:
        assert slow.score == pytest.approx(fast.score, abs=1e-4)


@given(
    looks=st.lists(st.tuples(st.floats(0.001, 0.4), st.integers(0, 7), st.floats(0.25, 1)), min_size=2, max_size=120),
    half_life_s=st.floats(0.1, 2),
)
def test_the_label_changes_once_in_a_half_life_at_most(
    looks: list[tuple[float, int, float]], half_life_s: float
) -> None:
    """Whatever the detector says, frame by frame."""
    smoother = _smoother(half_life_s)
    now_s, label, changes = 0.0, smoother.label, [0.0]
    for passed_s, seen, score in looks:
        now_s += passed_s
        smoother.see(now_s, [(seen, score)])
        if smoother.label != label:
            label = smoother.label
            changes.append(now_s)
    assert all(later - earlier >= half_life_s - 1e-9 for earlier, later in itertools.pairwise(changes))


@given(looks=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 7), st.floats(0.01, 1)), max_size=80))
def test_the_score_is_a_score(looks: list[tuple[float, int, float]]) -> None:
    """Between 0 and 1, over pauses and frames of the same time too."""
    smoother, now_s = _smoother(), 0.0
    for passed_s, seen, score in looks:
        now_s += passed_s
        smoother.see(now_s, [(seen, score)])
        assert 0 <= smoother.score <= 1


def test_alternating_labels_do_not_flicker() -> None:
    """Every other frame says sad, a little less surely: it never stands."""
    smoother = _smoother()
    stood = set()
    for frame in range(1, 300):
        smoother.see(frame / 30, [(SAD, 0.80) if frame % 2 else (HAPPY, 0.85)])
        stood.add(smoother.label)
    assert stood == {HAPPY}
    assert smoother.score == pytest.approx(0.43, abs=0.03)


def test_another_expression_takes_over_after_about_a_half_life() -> None:
    """Not at once, and not much later than when it has the larger share by the margin."""
    smoother = _smoother()
    _show(smoother, HAPPY, 0.8, from_s=0, to_s=5, fps=30)
    _show(smoother, SAD, 0.8, from_s=5, to_s=5.4, fps=30)
    assert smoother.label == HAPPY
    _show(smoother, SAD, 0.8, from_s=5.4, to_s=5.7, fps=30)
    assert smoother.label == SAD


@pytest.mark.parametrize(("score", "stands"), [(0.9, HAPPY), (0.99, SAD)])
def test_a_small_lead_takes_nothing_over(score: float, stands: int) -> None:
    """Every frame shows both; the other one's share must be larger by a tenth of all."""
    smoother = _smoother()
    for frame in range(1, 300):
        smoother.see(frame / 30, [(HAPPY, 0.8), (SAD, score)])
    assert smoother.label == stands


def test_one_look_after_a_pause_does_not_outvote_what_was_seen() -> None:
    """A frame after a gap speaks for a quarter of a second, not for the gap."""
    smoother = _smoother()
    _show(smoother, HAPPY, 0.9, from_s=0, to_s=5, fps=30)
    smoother.see(5.75, [(SAD, 0.9)])
    assert smoother.label == HAPPY
    assert smoother.evidence(SAD) < smoother.evidence(HAPPY)


def test_the_first_frames_count_together() -> None:
    """A first frame that was wrong is outvoted by the two after it, once the face is chosen for."""
    smoother = _smoother(label=FEAR)
    smoother.see(0.1, [(HAPPY, 0.8)])
    smoother.see(0.2, [(HAPPY, 0.8)])
    assert smoother.label == FEAR
    smoother.begin()
    assert smoother.label == HAPPY
