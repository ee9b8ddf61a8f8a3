"""Which windows count as evidence, and for how much; what the analysis makes of kinds, devices and many metrics."""

import json

import pytest

from fleet.rollouts.analysis import Reference, Sample, Verdict, consequence, judge, sample_of
from fleet.rollouts.analysis_evidence import Arrived, Known, fewest, samples
from fleet.rollouts.analysis_policy import AnalysisPolicy
from mien.messages import Power, Window
from mien.release import ReleaseRef
from tests.fakes.canary_field import soak

NEW = "faces@1.1.0"
POLICY = AnalysisPolicy(min_windows=4, required=("fps",))


def window(sequence, ended_at, *, release=NEW, **given):
    return Window(
        **{
            "window_id": f"w{sequence}-{ended_at}",
            "sequence": sequence,
            "boot_id": "b",
            "started_at": ended_at - 10,
            "ended_at": ended_at,
            "release": ReleaseRef.parse(release),
            "frames": 300,
            "fps": 30.0,
            "power": Power(source="tegrastats", energy_per_inference_j=0.3),
        }
        | given
    )


def count(arrived, **given):
    return sum(s.weight for s in samples(arrived, {"cam": NEW}, Known(), **({"since": 1000.0} | given)))


def arrived(*windows, late=1.0):
    return [Arrived(device_id="cam", at=one.ended_at + late, window=one) for one in windows]


def test_windows_of_another_release_never_count():
    """Whenever they come."""
    assert count(arrived(window(1, 1020.0), window(2, 1030.0, release="faces@1.0.0"))) == 1


def test_the_backlog_from_before_never_counts():
    """A live window shows what the device's clock says; those of an earlier time are told by it."""
    live, old = window(90, 1020.0), window(5, 700.0)
    late = Arrived(device_id="cam", at=1022.0, window=old)
    assert count([*arrived(live), late]) == 1


def test_the_backlog_of_an_outage_in_the_span_counts():
    """It was measured then, though it came late."""
    late = Arrived(device_id="cam", at=1500.0, window=window(3, 1040.0))
    assert count([*arrived(window(90, 1490.0)), late]) == 2


@pytest.mark.parametrize("wrong_by", [-1000.0, 900_000.0])
def test_a_device_with_a_wrong_clock_is_judged_all_the_same(wrong_by):
    """Its live windows show by how much."""
    told = arrived(*(window(n, 1000.0 + 10 * n + wrong_by) for n in (2, 3, 4)), late=1.0 - wrong_by)
    assert count(told) == 3


def test_a_moment_counts_once():
    """Sent again under another name, or merged over windows that came too."""
    twice = [window(7, 1020.0), window(7, 1020.5)]
    assert count(arrived(*twice)) == 1
    merged = window(9, 1060.0, merged=4)
    assert count(arrived(merged, window(8, 1050.0), window(10, 1070.0))) == 5


def test_a_merge_that_no_device_makes_does_not_count():
    """A number that would fill the memory."""
    assert count(arrived(window(10**12, 1020.0, merged=10**9))) == 0


def test_a_recording_says_nothing_of_the_release():
    """Neither its watts nor its degrees; the frames are the device's own."""
    shown = sample_of(
        window(1, 1020.0, power=Power(source="replay", energy_per_inference_j=1.0), temperature_c={"cpu": 50})
    )
    assert shown.energy_per_inference_j is None
    assert shown.temperature_c is None
    assert shown.fps == 30.0


def test_a_probe_of_another_release_is_not_this_ones():
    """The agreement belongs to the release that was probed."""
    known = Known(agreements={"cam": ("faces@1.0.0", 0.9)})
    (found,) = samples(arrived(window(1, 1020.0)), {"cam": NEW}, known, since=1000.0)
    assert found.probe_agreement is None


def test_so_many_of_each_kind_and_no_more():
    """By a fixed order, whatever the fleet's size."""
    kinds = {f"cam-{n}": "ab"[n % 2] for n in range(100)}
    chosen = fewest(kinds, kinds, most=3, order={one: one for one in kinds})
    assert sorted(kinds[one] for one in chosen) == ["a"] * 3 + ["b"] * 3


def level(kind, fps, number=6, **given):
    return [Sample(device=f"{kind}-{n}", hardware=kind, fps=fps * (1 + 0.001 * n), **given) for n in range(number)]


def fps_of(verdict):
    return next(metric for metric in verdict.metrics if metric.metric == "fps")


def test_each_hardware_class_is_held_against_its_own_kind():
    """A slow board with the new release is no slow release."""
    reference = Reference(stable=[*level("nano", 10), *level("agx", 60)])
    assert fps_of(judge(level("nano", 10), reference, POLICY)).outcome == "pass"


def test_a_fault_on_one_class_alone_is_found():
    """And named, though the other class hides it in the middle of all."""
    new = [*level("nano", 6), *level("agx", 60, 30)]
    found = fps_of(judge(new, Reference(stable=[*level("nano", 10), *level("agx", 60, 30)]), POLICY))
    assert found.outcome == "fail"
    assert found.hardware == "nano"


def test_a_class_of_the_wave_that_is_silent_leaves_the_verdict_open():
    """No data is no pass, for each class."""
    reference = Reference(stable=level("agx", 60), hardware=frozenset({"agx", "nano"}))
    verdict = judge(level("agx", 60), reference, POLICY)
    assert verdict.outcome == "inconclusive"
    assert "nano" in verdict.reason


def test_devices_are_the_unit_where_the_policy_says_so():
    """A thousand windows of one device are one observation."""
    policy = AnalysisPolicy(unit="device", min_windows=3, min_devices=2, required=("fps",))
    one = [Sample(device="only", fps=10.0 + 0.01 * n) for n in range(50)]
    others = [Sample(device=f"cam-{n % 5}", fps=30.0 + 0.01 * n) for n in range(50)]
    assert "1 devices against 5" in judge(one, Reference(stable=others), policy).reason


def test_the_agreement_of_probes_counts_by_device():
    """Ten canaries whose probes agree less than those of the release before, by more than the limit."""
    new = [Sample(device=f"n{n}", fps=30.0 + n, probe_agreement=0.86 + 0.001 * n) for n in range(8)]
    old = [Sample(device=f"o{n}", fps=30.0 + n, probe_agreement=0.98 + 0.001 * n) for n in range(8)]
    found = next(m for m in judge(new, Reference(stable=old), POLICY).metrics if m.metric == "probe_agreement")
    assert found.outcome == "fail"
    assert found.effect == -1


def test_a_hotter_board_fails_by_degrees():
    """The limit is in degrees, and what happened to the others is taken off as degrees."""
    policy = AnalysisPolicy(min_windows=4, max_temperature_rise_c=5, required=("temperature_c",))
    hot = [Sample(temperature_c=70 + 0.1 * n) for n in range(8)]
    before = [Sample(temperature_c=60 + 0.1 * n) for n in range(8)]
    noon = Reference(before=before, stable=hot, stable_before=before)
    assert judge(hot, noon, policy).outcome == "pass"
    assert judge(hot, Reference(before=before, stable=before, stable_before=before), policy).outcome == "fail"


def test_a_surer_histogram_passes_and_a_shyer_one_fails():
    """The same distance, in the other direction."""
    low, high = [0] * 8 + [60] * 4 + [0] * 8, [0] * 16 + [60] * 4
    shy = [Sample(fps=30.0, confidence_histogram=low) for _ in range(6)]
    sure = [Sample(fps=30.0, confidence_histogram=high) for _ in range(6)]
    of = lambda new, old: next(  # noqa: E731
        m for m in judge(new, Reference(stable=old), POLICY).metrics if m.metric == "confidence_histogram"
    )
    assert of(sure, shy).outcome == "pass"
    assert of(shy, sure).outcome == "fail"


@pytest.mark.parametrize(
    ("outcome", "mode", "waited_s", "follows"),
    [
        ("pass", "gate", 0, "pass"),
        ("fail", "gate", 0, "halt"),
        ("inconclusive", "gate", 0, "wait"),
        ("inconclusive", "gate", 901, "pause"),
        (None, "gate", 901, "pause"),
        ("fail", "report", 0, "pass"),
        ("inconclusive", "report", 0, "wait"),
        ("inconclusive", "report", 901, "pass"),
    ],
)
def test_what_a_verdict_means(outcome, mode, waited_s, follows):
    """No data pauses and never passes a gate; a report never halts."""
    verdict = None if outcome is None else Verdict(outcome=outcome, reason="")
    assert consequence(verdict, AnalysisPolicy(mode=mode), waited_s=waited_s) == follows


def test_a_verdict_is_the_same_after_it_was_stored():
    """Else the tick would store it again each second."""
    shown = judge(level("nano", 6), Reference(stable=level("nano", 10)), POLICY).as_dict()
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.slow
def test_the_default_policy_errs_as_seldom_as_the_docs_say():
    """Simulated canaries, seeded: good releases pass, releases far beyond a limit are halted."""
    policy = AnalysisPolicy()
    good = [soak(seed, policy, {})[0] for seed in range(60)]
    assert good.count("halt") <= 2
    for worse in ({"fps": 0.6}, {"latency_p95_ms": 2.5}, {"confidence": 0.7}, {"temperature_c": 18.0}):
        assert [soak(seed, policy, worse)[0] for seed in range(15)].count("halt") >= 14
