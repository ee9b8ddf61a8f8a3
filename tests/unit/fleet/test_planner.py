"""The planner, by cases and by properties: values in, actions out."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.rollouts.actions import Deploy, Revert, SetExecution, Skip, Withdraw
from fleet.rollouts.analysis import Verdict
from fleet.rollouts.cohorts import next_cohort, targets
from fleet.rollouts.planner import deployment_id, plan
from fleet.rollouts.standing import GRACE_S
from fleet.rollouts.states import ExecutionState, RevertState, RolloutState, WaveState
from mien.lifecycle import UpdateState
from tests.fakes.rollout_world import NEW, OLD, World, devices, policy

X = ExecutionState
PASS = Verdict(outcome="pass", reason="fine")
FAIL = Verdict(outcome="fail", reason="confidence: -60%")
UNSURE = Verdict(outcome="inconclusive", reason="fps: 2 windows, 6 wanted")


def canary_world(count=3, **given) -> World:
    world = World(policy(**given), devices(count))
    world.settle()
    return world


def the_canary(world) -> str:
    (execution,) = world.rollout.executions
    return execution.device_id


def test_the_first_wave_tells_as_many_devices_as_it_may():
    """A canary wave of one reaches one device."""
    world = World(policy(), devices(5))
    deployed = [action for action in world.settle() if isinstance(action, Deploy)]
    assert len(deployed) == 1
    assert deployed[0].previous == OLD


def test_planning_again_asks_for_the_same():
    """The planner keeps nothing: the same values give the same actions."""
    world = World(policy(), devices(5))
    assert plan(world.rollout, world.fleet, None, 5.0) == plan(world.rollout, world.fleet, None, 5.0)


def test_the_next_wave_waits_for_the_first():
    """While the canary works, nobody else is told anything."""
    world = canary_world()
    world.report(the_canary(world), UpdateState.DOWNLOADING, percent=40.0)
    world.settle()
    assert len(world.rollout.executions) == 1
    assert world.execution(the_canary(world)).detail == "downloading 40 %"


def test_success_of_all_waves_finishes_the_rollout():
    """Canary, then rest, then finished."""
    world = canary_world()
    world.report(the_canary(world), UpdateState.COMMITTED)
    world.settle()
    assert len(world.rollout.executions) == 3
    for device_id, state in world.states().items():
        if state is X.QUEUED:
            world.report(device_id, UpdateState.COMMITTED)
    world.settle()
    assert world.rollout.state is RolloutState.FINISHED
    assert set(world.states().values()) == {X.SUCCEEDED}


def test_a_canary_that_rolled_back_halts_the_rollout():
    """It counts as failed, the others are never told, and the device keeps no order for the bad release."""
    world = canary_world()
    canary = the_canary(world)
    world.report(canary, UpdateState.ROLLED_BACK, error_code="probe_failed", message="agreement 0.3")
    actions = world.settle()
    assert world.rollout.state is RolloutState.STOPPED
    assert world.states() == {canary: X.FAILED}
    assert "agreement 0.3" in world.halted_because
    assert Withdraw(device_id=canary) in actions
    assert not [action for action in actions if isinstance(action, Revert)]


def test_a_canary_that_failed_its_analysis_is_taken_back():
    """It runs the bad release, so it is told to return to the one before; the rollout ends when it has."""
    world = canary_world(analysis={})
    canary = the_canary(world)
    world.report(canary, UpdateState.COMMITTED)
    world.settle()
    assert world.rollout.waves[0].state is WaveState.SOAKING
    world.verdict = FAIL
    actions = world.settle()
    assert [action.release for action in actions if isinstance(action, Revert)] == [OLD]
    assert world.rollout.state is RolloutState.STOPPING
    world.report(canary, UpdateState.COMMITTED, revert=True)
    world.settle()
    assert world.rollout.state is RolloutState.STOPPED
    assert world.execution(canary).revert_state is RevertState.DONE
    assert len(world.rollout.executions) == 1


def test_a_passed_analysis_opens_the_next_wave():
    """Only the verdict opens it, not the canary's success."""
    world = canary_world(analysis={})
    world.report(the_canary(world), UpdateState.COMMITTED)
    world.settle()
    assert len(world.rollout.executions) == 1
    world.verdict = PASS
    world.settle()
    assert len(world.rollout.executions) == 3


def test_no_data_pauses_and_never_passes():
    """An inconclusive wave waits, and when its time is up a person is asked."""
    world = canary_world(analysis={"timeout_s": 60})
    world.report(the_canary(world), UpdateState.COMMITTED)
    world.verdict = UNSURE
    world.settle()
    assert world.rollout.state is RolloutState.RUNNING
    world.later(61)
    assert world.rollout.state is RolloutState.PAUSED
    assert "inconclusive" in world.paused_because
    assert len(world.rollout.executions) == 1


def test_the_last_wave_is_not_judged():
    """There is nobody left to compare with, and nothing left to hold back."""
    world = World(policy(waves=[{"name": "all", "percent": 100}], analysis={}), devices(2))
    world.settle()
    for device_id in world.states():
        world.report(device_id, UpdateState.COMMITTED)
    world.settle()
    assert world.rollout.state is RolloutState.FINISHED


def test_a_device_that_never_ends_times_out():
    """A brick counts as a failure."""
    world = canary_world(timeout_s=100)
    canary = the_canary(world)
    world.report(canary, UpdateState.BUILDING)
    world.settle()
    world.later(100 + GRACE_S + 1)
    assert world.states()[canary] is X.TIMED_OUT
    assert world.rollout.state in {RolloutState.STOPPING, RolloutState.STOPPED}


def test_an_offline_device_is_waited_for():
    """A device that was never reached is late only while it is online."""
    world = World(policy(timeout_s=100), devices(2, online=False))
    world.settle()
    canary = the_canary(world)
    world.later(10_000)
    assert world.states()[canary] is X.QUEUED
    world.device(canary, online=True, online_since=world.now)
    world.later(50)
    assert world.states()[canary] is X.QUEUED
    world.later(100 + GRACE_S)
    assert world.states()[canary] is X.TIMED_OUT


def test_online_devices_are_chosen_first():
    """A canary that sleeps would hold everyone up."""
    fleet = [replace(device, online=device.id == "cam-3") for device in devices(6)]
    world = World(policy(), fleet)
    world.settle()
    assert the_canary(world) == "cam-3"


def test_a_device_that_has_the_release_is_not_bothered():
    """It counts as succeeded without being told."""
    world = World(policy(waves=[{"name": "all", "percent": 100}]), devices(1, release=NEW))
    actions = world.settle()
    assert [action.state for action in actions if isinstance(action, Skip)] == [X.SUCCEEDED]
    assert world.rollout.state is RolloutState.FINISHED


def test_a_device_that_knows_the_release_as_bad_is_not_asked_again():
    """It counts as rejected, and halts a rollout that forgives nothing."""
    world = World(policy(waves=[{"name": "all", "percent": 100}]), devices(1, known_bad=frozenset({NEW})))
    world.settle()
    assert world.states() == {"cam-0": X.REJECTED}
    assert world.rollout.state is RolloutState.STOPPED


def test_failures_within_the_threshold_are_forgiven():
    """One in ten may fail where a fifth may."""
    world = World(
        policy(waves=[{"name": "all", "percent": 100}], error_threshold=0.2, success_threshold=0.8), devices(10)
    )
    world.settle()
    world.report("cam-0", UpdateState.FAILED, error_code="network")
    for number in range(1, 9):
        world.report(f"cam-{number}", UpdateState.COMMITTED)
    world.settle()
    assert world.rollout.waves[0].state is WaveState.FINISHED
    world.report("cam-9", UpdateState.FAILED, error_code="network")
    world.settle()
    assert world.rollout.state is RolloutState.FINISHED


def test_a_wave_that_cannot_succeed_any_more_halts():
    """Errors are within their threshold, but too few are left to succeed."""
    world = World(
        policy(waves=[{"name": "all", "percent": 100}], error_threshold=0.5, success_threshold=0.9), devices(4)
    )
    world.settle()
    world.report("cam-0", UpdateState.FAILED)
    world.settle()
    assert world.rollout.state in {RolloutState.STOPPING, RolloutState.STOPPED}


def test_a_halt_takes_the_release_back_everywhere():
    """Devices of earlier waves return too; those under way are cancelled and told to return."""
    world = canary_world(count=4)
    canary = the_canary(world)
    world.report(canary, UpdateState.COMMITTED)
    world.settle()
    others = [device_id for device_id in world.states() if device_id != canary]
    world.report(others[0], UpdateState.ROLLED_BACK)
    world.report(others[1], UpdateState.BUILDING)
    actions = world.settle()
    assert {action.device_id for action in actions if isinstance(action, Revert)} == {canary, others[1]}
    assert world.states()[others[1]] is X.CANCELED
    assert world.states()[others[2]] is X.CANCELED
    assert world.device(others[2]).desired_deployment is None


def test_a_policy_that_keeps_takes_nothing_back():
    """With revert: false a halt leaves devices as they are."""
    world = canary_world(analysis={}, revert=False)
    world.report(the_canary(world), UpdateState.COMMITTED)
    world.verdict = FAIL
    actions = world.settle()
    assert world.rollout.state is RolloutState.STOPPED
    assert not [action for action in actions if isinstance(action, Revert)]


def test_a_device_that_took_up_a_halted_release_late_is_taken_back():
    """It got the order before the halt, slept, and comes back with the bad release."""
    world = World(policy(waves=[{"name": "all", "count": 2}]), devices(2))
    world.settle()
    world.report("cam-0", UpdateState.ROLLED_BACK)
    world.settle()
    assert world.rollout.state is RolloutState.STOPPED
    world.device("cam-1", release=NEW)
    assert [action.device_id for action in world.settle() if isinstance(action, Revert)] == ["cam-1"]


def test_a_later_rollout_is_not_undone():
    """What another rollout told a device stands."""
    world = World(policy(waves=[{"name": "all", "count": 2}]), devices(2))
    world.settle()
    world.report("cam-0", UpdateState.ROLLED_BACK)
    world.settle()
    world.device("cam-1", release=NEW, desired_deployment="r2-other")
    assert world.settle() == []


def test_a_halt_does_not_wait_for_sleeping_devices():
    """They find the order to return when they wake."""
    world = canary_world(analysis={})
    canary = the_canary(world)
    world.report(canary, UpdateState.COMMITTED)
    world.settle()
    world.device(canary, online=False)
    world.verdict = FAIL
    world.settle()
    assert world.rollout.state is RolloutState.STOPPED
    assert world.execution(canary).revert_state is RevertState.IN_PROGRESS


def test_a_device_that_left_the_fleet_is_replaced():
    """A wave whose only device was revoked takes another, and counts the one that left as removed."""
    world = canary_world()
    canary = the_canary(world)
    world.device(canary, accepted=False)
    world.settle()
    assert world.states()[canary] is X.REMOVED
    assert len(world.rollout.of_wave(0)) == 1


def test_a_rollout_without_devices_waits_for_a_person():
    """Nobody reached is no success."""
    world = World(policy(), [])
    world.settle()
    assert world.rollout.state is RolloutState.PAUSED
    assert "matches no device" in world.paused_because


def test_a_paused_rollout_follows_but_begins_nothing():
    """What runs goes on; nobody new is told."""
    world = canary_world()
    world.rollout = replace(world.rollout, state=RolloutState.PAUSED)
    canary = the_canary(world)
    world.report(canary, UpdateState.COMMITTED)
    actions = world.settle()
    assert actions == [SetExecution(device_id=canary, state=X.SUCCEEDED, detail="committed")]


def test_only_the_group_is_meant():
    """Devices of other groups and revoked ones are left alone."""
    fleet = [
        *devices(2),
        *(replace(d, id=f"x-{d.id}", group="lab") for d in devices(2)),
        *devices(1, id="gone", accepted=False),
    ]
    world = World(policy(group="lab", waves=[{"name": "all", "percent": 100}]), fleet)
    world.settle()
    assert set(world.states()) == {"x-cam-0", "x-cam-1"}


def test_labels_choose_their_devices():
    """A wave by labels takes those which carry all of them."""
    fleet = [*devices(2), *devices(1, id="lab-1", labels={"site": "lab", "floor": "2"})]
    world = World(policy(waves=[{"name": "lab", "labels": {"site": "lab"}}]), fleet)
    world.settle()
    assert set(world.states()) == {"lab-1"}


def test_deployments_have_one_name():
    """The same device in the same rollout, whenever it is asked; others differ."""
    world = World(policy(), devices(2))
    assert deployment_id(world.rollout, "cam-0") == deployment_id(world.rollout, "cam-0")
    assert deployment_id(world.rollout, "cam-0") != deployment_id(world.rollout, "cam-1")


wave_lists = st.one_of(
    st.just([{"name": "all", "percent": 100}]),
    st.integers(1, 4).map(lambda n: [{"name": "canary", "count": n}, {"name": "rest", "percent": 100}]),
    st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True).map(
        lambda shares: [*({"name": f"w{s}", "percent": s} for s in sorted(shares)), {"name": "all", "percent": 100}]
    ),
)
ends = st.sampled_from(
    [UpdateState.COMMITTED, UpdateState.COMMITTED, UpdateState.COMMITTED, UpdateState.ROLLED_BACK, UpdateState.BUILDING]
)


@settings(max_examples=60, deadline=None)
@given(waves=wave_lists, count=st.integers(1, 12), threshold=st.sampled_from([0.0, 0.2]), data=st.data())
def test_whatever_devices_do_no_wave_grows_and_every_tick_rests(waves, count, threshold, data):
    """Waves keep to their size, a settled world asks for nothing, nobody new is told after a halt, and it ends."""
    world = World(policy(waves=waves, error_threshold=threshold, success_threshold=1 - threshold), devices(count))
    for _ in range(4 * count + 8):
        before = len(world.rollout.executions)
        halted = world.rollout.state in {RolloutState.STOPPING, RolloutState.STOPPED}
        world.settle()
        assert plan(world.rollout, world.fleet, None, world.now) == ()
        assert not (halted and len(world.rollout.executions) > before)
        for number, wave in enumerate(world.policy.waves):
            reached = sum(1 for e in world.rollout.executions if e.wave <= number)
            if wave.count is not None:
                assert sum(1 for e in world.rollout.executions if e.wave == number) <= wave.count
            else:
                assert reached <= -(-count * wave.percent // 100)
        if world.rollout.state in {RolloutState.FINISHED, RolloutState.STOPPED}:
            break
        for execution in world.rollout.executions:
            if execution.revert_state is RevertState.IN_PROGRESS:
                world.report(execution.device_id, UpdateState.COMMITTED, revert=True)
            elif execution.state in {X.QUEUED, X.IN_PROGRESS}:
                world.report(execution.device_id, data.draw(ends))
        world.now += 400
    assert world.rollout.state in {RolloutState.FINISHED, RolloutState.STOPPED}
    if world.rollout.state is RolloutState.FINISHED:
        assert sum(state is X.SUCCEEDED for state in world.states().values()) >= (1 - threshold) * count - 1e-6
    else:
        assert all(device.release == OLD for device in world.fleet)


@given(count=st.integers(1, 40), order=st.randoms(), size=st.integers(1, 10))
def test_a_cohort_depends_on_the_seed_alone(count, order, size):
    """However devices are listed, the same ones are chosen; another seed orders them anew."""
    world = World(policy(waves=[{"name": "some", "count": size}]), devices(count))
    shuffled = list(world.fleet)
    order.shuffle(shuffled)
    wave = world.policy.waves[0]
    assert next_cohort(world.rollout, world.fleet, wave) == next_cohort(world.rollout, shuffled, wave)
    assert len(next_cohort(world.rollout, shuffled, wave)) == min(size, count)
    assert {d.id for d in targets(world.rollout, shuffled)} == {d.id for d in world.fleet}


def test_an_analysis_that_only_reports_stops_nothing():
    """A failure is kept with the wave, and the rollout goes on; without any verdict it goes on when the time is up."""
    for verdict, wait_s in ((FAIL, 0.0), (UNSURE, 901.0)):
        world = canary_world(analysis={"mode": "report"})
        world.report(the_canary(world), UpdateState.COMMITTED)
        world.settle()
        world.verdict = verdict
        if wait_s:
            assert not world.settle()
        world.later(wait_s)
        assert world.rollout.state is RolloutState.RUNNING
        assert world.rollout.waves[0].state is WaveState.FINISHED


def late_failures(**given) -> World:
    """Two waves of four; the second begins when half of the first are done, and then the other half fail."""
    waves = [{"name": "first", "count": 4}, {"name": "rest", "percent": 100}]
    limits = {"success_threshold": 0.5, "error_threshold": 0.25} | given
    world = World(policy(waves=waves, **limits), devices(8))
    world.settle()
    first = sorted(world.states())
    for device_id in first[:2]:
        world.report(device_id, UpdateState.COMMITTED)
    world.settle()
    assert len(world.rollout.waves) == 2
    for device_id in first[2:]:
        world.report(device_id, UpdateState.ROLLED_BACK)
    world.settle()
    return world


def test_a_wave_that_fails_when_the_next_has_begun_halts_the_rollout():
    """Its devices count for as long as the rollout runs."""
    world = late_failures()
    assert world.rollout.state is RolloutState.STOPPING
    assert "wave first: 2 of 4 failed" in world.halted_because
    assert late_failures(on_error="pause").rollout.state is RolloutState.PAUSED


def test_a_wave_that_was_forced_is_not_held_against_the_next():
    """Too few of it succeeded, and a person went on."""
    world = canary_world(error_threshold=0.0, success_threshold=1.0)
    done = replace(world.rollout.waves[0], state=WaveState.FINISHED)
    world.rollout = replace(world.rollout, waves=(done,))
    world.settle()
    world.report(min(world.rollout.of_wave(0), key=lambda e: e.device_id).device_id, UpdateState.FAILED)
    world.settle()
    assert world.rollout.state is RolloutState.RUNNING
