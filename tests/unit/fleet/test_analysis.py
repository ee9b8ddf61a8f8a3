"""The canary's verdict: statistics against values computed by hand, and what counts as worse."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.rollouts.analysis import Reference, Sample, judge, sample_of
from fleet.rollouts.analysis_policy import AnalysisPolicy
from fleet.statistics.distributions import stability_index
from fleet.statistics.ranks import mann_whitney
from mien.messages import Power, Window

POLICY = AnalysisPolicy(min_windows=4)
MIX = {"happy": 30, "sad": 20}


def samples(count=6, **given):
    """Windows of a healthy device, a little different from each other."""
    figures = {"fps": 30.0, "latency_p95_ms": 20.0, "energy_per_inference_j": 0.25, "confidence": 0.8} | given
    varied = lambda value, n: None if value is None else value * (1 + 0.001 * n)  # noqa: E731
    return [
        Sample(
            **{
                name: varied(value, n)
                for name, value in figures.items()
                if name not in {"expressions", "detections_per_frame"}
            },
            detections_per_frame=figures.get("detections_per_frame", 2.0),
            expressions=figures.get("expressions", MIX),
        )
        for n in range(count)
    ]


def outcome_of(verdict, name):
    return next(metric.outcome for metric in verdict.metrics if metric.metric == name)


def test_mann_whitney_counts_arrangements():
    """Four values all below four others: one arrangement of C(8,4) = 70."""
    assert mann_whitney([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(1 / 70)


def test_mann_whitney_of_a_textbook_case():
    """N = m = 3, U = 2: arrangements with U ≤ 2 are 1 + 1 + 2 = 4 of C(6,3) = 20."""
    assert mann_whitney([1, 2, 6], [4, 5, 7]) == pytest.approx(4 / 20)


@given(st.lists(st.integers(0, 10_000), min_size=5, max_size=9, unique=True), st.integers(1, 4))
def test_mann_whitney_is_the_share_of_orderings_at_least_as_extreme(values, size):
    """The exact p equals counting every way to deal the values."""
    lower, higher = values[:size], values[size:]

    def u_of(group):
        rest = [value for value in values if value not in group]
        return sum(a > b for a in group for b in rest)

    deals = list(combinations(values, size))
    counted = sum(u_of(deal) <= u_of(lower) for deal in deals) / len(deals)
    assert mann_whitney(lower, higher) == pytest.approx(counted)


def test_mann_whitney_with_ties_uses_the_corrected_normal():
    """Two groups of four equal values: z = (0 - 8 + ½) / √(16/12 · (9 - 120/56)) = -2.4802."""
    variance = 16 / 12 * (9 - 120 / 56)
    expected = 0.5 * math.erfc(7.5 / math.sqrt(variance) / math.sqrt(2))
    assert mann_whitney([5.0] * 4, [10.0] * 4) == pytest.approx(expected)


def test_mann_whitney_of_equal_values_says_nothing():
    """Where all is the same there is no evidence."""
    assert mann_whitney([1.0] * 5, [1.0] * 5) == 1.0


def test_population_stability_by_hand():
    """Shares 30.5/51 and 20.5/51 against 20.5/51 and 30.5/51: 2 · (10/51) · ln(30.5/20.5)."""
    index = stability_index([30, 20], [20, 30])
    assert index == pytest.approx(2 * 10 / 51 * math.log(30.5 / 20.5))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=20))
def test_population_stability_of_a_mix_with_itself_is_zero(mix):
    """No difference, no index."""
    assert stability_index(mix, mix) == pytest.approx(0.0)


def test_a_healthy_release_passes():
    """Figures like before and like the others."""
    verdict = judge(samples(), Reference(stable=samples(), before=samples(), stable_before=samples()), POLICY)
    assert verdict.outcome == "pass"
    assert {metric.outcome for metric in verdict.metrics} <= {"pass", "skipped"}


@pytest.mark.parametrize(
    ("metric", "worse"),
    [
        ("fps", {"fps": 20.0}),
        ("latency_p95_ms", {"latency_p95_ms": 40.0}),
        ("energy_per_inference_j", {"energy_per_inference_j": 0.5}),
        ("confidence", {"confidence": 0.5}),
        ("detections_per_frame", {"detections_per_frame": 0.1}),
        ("expressions", {"expressions": {"happy": 50, "sad": 0}}),
    ],
)
def test_each_metric_can_fail_a_release(metric, worse):
    """One thing much worse than before is enough."""
    verdict = judge(samples(**worse), Reference(before=samples(), stable=samples()), POLICY)
    assert verdict.outcome == "fail"
    assert outcome_of(verdict, metric) == "fail"
    assert metric in verdict.reason


def test_a_surer_model_is_no_fault():
    """Confidence is judged in one direction only."""
    verdict = judge(samples(confidence=0.95), Reference(before=samples(confidence=0.6)), POLICY)
    assert verdict.outcome == "pass"


def test_too_few_windows_are_no_pass():
    """Required metrics without data leave the verdict open."""
    verdict = judge(samples(3), Reference(stable=samples()), POLICY)
    assert verdict.outcome == "inconclusive"


def test_a_few_windows_of_another_scene_are_no_verdict():
    """The first windows may show other people than those before; the mix waits for as many as every metric."""
    other_scene = samples(3, expressions={"happy": 50, "sad": 0})
    verdict = judge(other_scene, Reference(before=samples(), stable=samples()), POLICY)
    assert verdict.outcome == "inconclusive"
    assert outcome_of(verdict, "expressions") in {"skipped", "inconclusive"}
    short_past = Reference(before=samples(3), stable=samples(3))
    late = judge(samples(expressions={"happy": 50, "sad": 0}), short_past, POLICY)
    assert outcome_of(late, "expressions") in {"skipped", "inconclusive"}


def test_nobody_to_compare_with_is_no_pass():
    """Without a reference there is no verdict."""
    assert judge(samples(), Reference(), POLICY).outcome == "inconclusive"


def test_a_device_without_power_meter_is_judged_by_the_rest():
    """What nobody measures is skipped, and said to be."""
    none = {"energy_per_inference_j": None}
    verdict = judge(samples(**none), Reference(before=samples(**none)), POLICY)
    assert verdict.outcome == "pass"
    assert outcome_of(verdict, "energy_per_inference_j") == "skipped"


def test_a_blind_model_fails_though_it_has_no_confidence():
    """No detection means no mean confidence; the number of detections tells."""
    blind = samples(confidence=None, detections_per_frame=0.0, expressions={"happy": 0, "sad": 0})
    verdict = judge(blind, Reference(before=samples()), POLICY)
    assert outcome_of(verdict, "confidence") == "skipped"
    assert verdict.outcome == "fail"


def test_a_slow_camera_on_the_canary_is_not_the_releases_fault():
    """The canary always had half the others' frames; it is held against its own past."""
    slow = samples(fps=15.0)
    assert judge(slow, Reference(stable=samples(), before=slow, stable_before=samples()), POLICY).outcome == "pass"


def test_a_dark_evening_is_not_the_releases_fault():
    """All devices grew less sure; what happened to the others is taken off."""
    reference = Reference(
        stable=samples(confidence=0.5), before=samples(confidence=0.8), stable_before=samples(confidence=0.8)
    )
    assert judge(samples(confidence=0.5), reference, POLICY).outcome == "pass"


def test_a_difference_by_chance_is_inconclusive():
    """The medians differ beyond the limit, but the windows overlap too much to tell."""
    new = [Sample(fps=value, latency_p95_ms=20.0) for value in (10, 11, 35, 36, 12)]
    old = [Sample(fps=value, latency_p95_ms=20.0) for value in (30, 9, 31, 8, 32)]
    assert outcome_of(judge(new, Reference(stable=old), POLICY), "fps") == "inconclusive"


def test_a_window_becomes_a_sample():
    """Detections are counted for each frame; a window without frames has no such figure."""
    window = Window(
        window_id="w",
        sequence=1,
        boot_id="b",
        started_at=0,
        ended_at=2,
        frames=20,
        fps=10,
        power=Power(source="none"),
        detections=30,
    )
    assert sample_of(window).detections_per_frame == 1.5
    assert sample_of(window.model_copy(update={"frames": 0})).detections_per_frame is None
