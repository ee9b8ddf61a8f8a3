"""Whose turn it is, and who gets the fleet's release without a rollout."""

from dataclasses import replace

from fleet.rollouts.actions import AskAgain, Tell
from fleet.rollouts.joining import Current, currents_of, joiners, reach_of
from fleet.rollouts.states import ExecutionState, RolloutState
from mien.lifecycle import UpdateState
from tests.fakes.rollout_world import NEW, OLD, World, devices, policy

ALL = [{"name": "all", "percent": 100}]
NIGHT = [{"start": "22:00", "duration_s": 3600}]
DAY_S = 86_400.0


def told(world):
    return {e.device_id for e in world.rollout.executions if not e.waiting}


def sited(count, sites):
    return [replace(d, labels={"site": str(n % sites)}) for n, d in enumerate(devices(count))]


def test_so_many_at_once_and_the_next_when_one_ends():
    """Two of five work; the third is told when one of them is done."""
    world = World(policy(waves=ALL, concurrency=2), devices(5))
    world.settle()
    first = told(world)
    assert len(first) == 2
    world.report(min(first), UpdateState.COMMITTED)
    assert [a.device_id for a in world.settle() if isinstance(a, Tell)] == sorted(told(world) - first)
    assert len(told(world)) == 3


def test_a_site_keeps_its_devices():
    """Of each site one at most is away; one that is offline already takes the place."""
    fleet = sited(4, 2)
    fleet[0] = replace(fleet[0], online=False)
    world = World(policy(waves=ALL, budget={"by": "site", "max_unavailable": {"count": 1}}), fleet)
    world.settle()
    online = {d.id for d in fleet if d.online}
    assert len(told(world) & online & {"cam-0", "cam-2"}) == 0
    assert len(told(world) & {"cam-1", "cam-3"}) == 1


def test_nobody_is_told_outside_the_hours():
    """Noon in UTC, then ten at night."""
    world = World(policy(waves=ALL, windows=NIGHT), devices(2), now=20_000 * DAY_S + DAY_S / 2)
    world.settle()
    assert told(world) == set()
    world.later(10 * 3600 + 60)
    assert len(told(world)) == 2


def test_what_is_left_when_time_is_over_waits_for_a_person():
    """Nobody is told from then on."""
    world = World(policy(waves=ALL, concurrency=1, ends_at="2001-01-01T00:00:00Z"), devices(2))
    world.settle()
    world.now = 1_000_000_000.0
    world.settle()
    assert world.rollout.state is RolloutState.PAUSED
    assert "ended" in world.paused_because
    assert len(told(world)) == 1


def test_a_failure_is_asked_again_after_a_pause_under_another_name():
    """Once; the second failure counts. A late word about the first attempt is about another deployment."""
    world = World(policy(waves=ALL, retry={"failed": 1, "pause_s": 60}), devices(1))
    world.settle()
    first = world.execution("cam-0").deployment_id
    world.report("cam-0", UpdateState.FAILED, error_code="network")
    assert [a.not_before for a in world.settle() if isinstance(a, AskAgain)] == [world.now + 60]
    assert told(world) == set()
    world.later(61)
    assert told(world) == {"cam-0"}
    assert world.execution("cam-0").deployment_id != first
    world.report("cam-0", UpdateState.FAILED, error_code="network")
    world.settle()
    assert world.states() == {"cam-0": ExecutionState.FAILED}


def test_a_device_that_refused_is_not_asked_again():
    """Its answer would be the same."""
    world = World(policy(waves=ALL, retry={"failed": 3}), devices(1))
    world.settle()
    world.report("cam-0", UpdateState.REJECTED)
    assert not [a for a in world.settle() if isinstance(a, AskAgain)]


def test_an_offline_device_is_left_out_or_counted_as_the_policy_says():
    """After the time that it is given."""
    for then, state in (("skip", ExecutionState.CANCELED), ("count", ExecutionState.TIMED_OUT)):
        world = World(policy(waves=ALL, offline={"then": then, "after_s": 100}), devices(1, online=False))
        world.settle()
        world.later(101)
        assert world.states() == {"cam-0": state}


def test_a_device_that_is_away_holds_no_place():
    """It would not work: whoever is there goes on, and it is told when it returns."""
    fleet = [*devices(1, id="here"), *devices(2, online=False)]
    world = World(policy(waves=ALL, concurrency=1), [replace(d, id=f"{d.id}-{n}") for n, d in enumerate(fleet)])
    world.settle()
    world.report("here-0", UpdateState.COMMITTED)
    world.settle()
    assert told(world) == {"here-0"}
    world.device("cam-1-2", online=True)
    world.settle()
    assert told(world) == {"here-0", "cam-1-2"}


def test_who_waits_and_is_away_at_the_end_is_left_for_its_return():
    """The rollout ends without it, and whoever ends so is welcomed when it returns."""
    fleet = [*devices(3), *devices(1, id="away", online=False)]
    world = World(policy(waves=ALL, concurrency=3, success_threshold=0.5), fleet)
    world.settle()
    for device_id in sorted(told(world)):
        world.report(device_id, UpdateState.COMMITTED)
    world.settle()
    assert world.rollout.state is RolloutState.FINISHED
    assert world.states()["away"] is ExecutionState.CANCELED


def test_a_canary_that_is_away_proves_nothing():
    """Another device takes its place before the wave can end."""
    world = World(policy(offline={"then": "skip", "after_s": 100}), devices(3))
    world.settle()
    (first,) = told(world)
    world.device(first, online=False)
    world.later(101)
    assert len(world.rollout.waves) == 1
    assert world.states()[first] is ExecutionState.CANCELED
    (second,) = told(world) - {first}
    world.report(second, UpdateState.COMMITTED)
    world.settle()
    assert len(world.rollout.waves) == 2


def test_another_attempt_of_a_device_that_is_away_waits_anew():
    """Its time offline does not use all attempts up at once."""
    offline = {"then": "count", "after_s": 100}
    world = World(policy(waves=ALL, offline=offline, retry={"timed_out": 2, "pause_s": 60}), devices(1, online=False))
    world.settle()
    world.later(101)
    assert world.execution("cam-0").attempts == 2
    world.later(159)
    assert world.execution("cam-0").attempts == 2
    world.later(101)
    assert world.execution("cam-0").attempts == 3


def test_what_another_rollout_told_is_not_taken_back():
    """One that ended leaves a device out for being offline; the order that the device holds is not its own."""
    fleet = [*devices(3), *devices(1, id="away", online=False)]
    late = {"then": "skip", "after_s": 100}
    world = World(policy(waves=ALL, success_threshold=0.5, offline=late), fleet)
    world.settle()
    for device in devices(3):
        world.report(device.id, UpdateState.COMMITTED)
    world.settle()
    assert world.rollout.state is RolloutState.FINISHED
    world.device("away", desired_deployment="r2-other")
    world.later(101)
    assert world.states()["away"] is ExecutionState.CANCELED
    assert world.device("away").desired_deployment == "r2-other"


def test_an_attempt_that_ended_late_is_taken_back_too():
    """The device waits for its second attempt when the rollout is halted, and runs the release by its first."""
    world = World(policy(waves=ALL, retry={"timed_out": 1, "pause_s": 600}, timeout_s=100), devices(2))
    world.settle()
    world.report("cam-0", UpdateState.DOWNLOADING)
    world.settle()
    world.later(100)
    world.report("cam-1", UpdateState.DOWNLOADING)
    world.settle()
    world.later(40)
    assert world.execution("cam-0").waiting
    world.device("cam-0", release=NEW)
    world.report("cam-1", UpdateState.ROLLED_BACK)
    world.settle()
    assert world.device("cam-0").desired_deployment == world.execution("cam-0").revert_id
    assert world.execution("cam-0").revert_id is not None


def test_newcomers_get_what_their_group_runs():
    """Of the newest finished rollout for them; not who took it back, runs a newer one or is held elsewhere."""
    finished = [(7, NEW, "site"), (5, OLD, None), (3, NEW, None)]
    currents = currents_of(Current(rollout_id=n, release=release, group=group) for n, release, group in finished)
    assert [current.rollout_id for current in currents] == [7, 5]
    fleet = [
        *devices(1, id="blank", release=None),
        *devices(1, id="old"),
        *devices(1, id="newer", release="faces@2.0.0"),
        *devices(1, id="burnt", known_bad=frozenset({NEW})),
        *devices(1, id="held"),
        *devices(1, id="away", online=False),
        *devices(1, id="other", group="lab", release=None),
    ]
    assert [d.id for d in joiners(currents[0], currents, fleet, {"held"})] == ["blank", "old"]
    assert [d.id for d in joiners(currents[1], currents, fleet, {"held"})] == ["other"]


def test_a_canary_that_ended_well_is_no_word_about_the_others():
    """A rollout for a number of devices, or for some labels, is no reason to tell those whom it left out."""
    few, berlin = reach_of([{"count": 5}]), reach_of([{"count": 1}, {"labels": {"site": "berlin"}}])
    assert reach_of([{"count": 1}, {"percent": 100.0}]) == (frozenset(),)
    finished = [
        Current(rollout_id=9, release="faces@1.3.0", group=None, reaches=few),
        Current(rollout_id=8, release="faces@1.2.0", group=None, reaches=berlin),
        Current(rollout_id=7, release=NEW, group=None),
    ]
    currents = currents_of(finished)
    fleet = [
        *devices(1, id="plain"),
        *devices(1, id="berliner", labels={"site": "berlin", "row": "2"}),
        *devices(1, id="returned"),
    ]
    told = [
        [device.id for device in joiners(current, currents, fleet, (), missed={9: {"returned"}})]
        for current in currents
    ]
    assert told == [["returned"], ["berliner"], ["plain"]]
