"""Why a rollout went as it did, in words with numbers."""

from fleet.rollouts.analysis import MetricVerdict, Verdict
from fleet.rollouts.explain import explain
from mien.lifecycle import UpdateState
from tests.fakes.rollout_world import World, devices, policy

FPS = MetricVerdict(
    metric="fps",
    outcome="fail",
    reason="-33% against the same devices before (limit -20%, p=0.002)",
    value=20.0,
    before=30.0,
)
HEAT = MetricVerdict(metric="temperature_c", outcome="skipped", reason="0 windows")
BAD = Verdict(outcome="fail", reason="fps: -33%", windows=12, metrics=(FPS, HEAT))


def told(world, **given):
    return "\n".join(explain(world.rollout, world.fleet, given.pop("verdict", None), **given))


def halted():
    """A world of six whose canaries failed in two ways, two of three."""
    world = World(policy(waves=[{"name": "canary", "count": 3}, {"name": "rest", "percent": 100}]), devices(6))
    world.settle()
    ids = [execution.device_id for execution in world.rollout.executions]
    world.report(ids[0], UpdateState.ROLLED_BACK, error_code="probe_failed", message="agreement 0.30")
    world.report(ids[1], UpdateState.FAILED, error_code="out_of_space", message="3 MB are missing")
    world.settle()
    return world, ids


def test_failures_are_counted_by_kind_with_a_reason_each():
    """Which kind, how many, who, and what the first of them said."""
    world, ids = halted()
    said = told(world, because=world.halted_because)
    assert f"FAILED (probe_failed): 1 ({ids[0]}); {ids[0]} says: rolled_back (probe_failed): agreement 0.30." in said
    assert "FAILED (out_of_space): 1" in said
    assert "Devices not reached: 3" in said


def test_a_verdict_is_told_by_metric_with_its_numbers():
    """From the wave that was judged, after it is over too."""
    world, _ = halted()
    said = told(world, verdicts={0: BAD.as_dict()})
    assert "Its verdict was fail, from 12 windows." in said
    assert "fps: fail, now 20, before 30; -33% against the same devices before (limit -20%, p=0.002)." in said
    assert "Not judged for want of data: temperature_c." in said


def test_a_person_is_told_what_they_can_do():
    """As commands, in each state; nothing once it has ended."""
    world = World(policy(), devices(2, online=False))
    world.settle()
    assert "pause (begin nothing new)" in told(world)
    assert f"mien fleet rollout COMMAND {world.rollout.id}" in told(world)
    ended, _ = halted()
    assert "A person can" not in told(ended)


def test_a_soaking_wave_says_so_far_and_whether_it_counts():
    """A report is no gate."""
    world = World(policy(analysis={"mode": "report"}), devices(3))
    world.settle()
    (canary,) = world.rollout.executions
    world.report(canary.device_id, UpdateState.COMMITTED)
    world.settle()
    said = told(world, verdict=BAD)
    assert "So far: fail (fps: -33%)" in said
    assert "only reports" in said


def test_who_waits_is_told_for_what():
    """For a place, for a site, for the window, or for the pause before another attempt."""
    everybody = {"waves": [{"name": "all", "percent": 100}]}
    world = World(
        policy(concurrency=1, budget={"by": "site", "max_unavailable": {"count": 1}}, **everybody), devices(3)
    )
    world.settle()
    assert "To be told: 2; 1 are at it, and 1 at once may be; no more may be away of site (none)." in told(world)
    night = World(policy(windows=[{"start": "22:00", "duration_s": 3600}], **everybody), devices(2), now=43_200.0)
    night.settle()
    assert "To be told: 2; its next window opens at 1970-01-01T22:00:00" in told(night, now=night.now)
    again = World(policy(retry={"failed": 1, "pause_s": 60}, **everybody), devices(1))
    again.settle()
    again.report("cam-0", UpdateState.FAILED)
    again.settle()
    assert "To be told: 1; another attempt of cam-0 comes after a pause." in told(again, now=again.now)
