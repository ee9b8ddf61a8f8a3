"""Experiments: who runs which release, what ends one, and that nothing is lost or done twice."""

import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ConflictError, NotFoundError
from fleet.experiments.assignment import Place, assign, quotas
from fleet.experiments.explain import explain
from fleet.experiments.orders import create, stop
from fleet.experiments.policy import ExperimentPolicy, experiments_folder, find_experiment
from fleet.experiments.states import Arm, ExperimentState
from fleet.rollouts.orders import Order, command
from fleet.rollouts.orders import create as create_rollout
from fleet.rollouts.states import ExecutionState
from fleet.store.database import Store, _engine
from mien.config import settings_from
from mien.errors import ConfigError
from mien.messages import Desired
from tests.fakes.experiment_world import CANDIDATE, CONTROL, ExperimentWorld
from tests.fakes.paper_bundle import write_bundle
from tests.fakes.rollout_world import policy as rollout_policy

AB = {
    "duration_s": 3600,
    "looks": 2,
    "max_failed": 0.2,
    "analysis": {"unit": "device", "min_windows": 6, "min_devices": 6},
}
BANDIT = {
    "kind": "bandit",
    "duration_s": 7200,
    "looks": 1,
    "at_end": "winner",
    "analysis": {"unit": "window", "mode": "report"},
    "bandit": {
        "reward": {"metric": "energy_per_inference_j", "worst": 1.0, "best": 0.0},
        "belief": "normal",
        "round_s": 300,
        "min_windows": 5,
        "max_step": 0.1,
        "min_share": 0.1,
        "rest_s": 600,
        "max_switches": 3,
    },
}
SHIPPED = sorted(experiments_folder().glob("*.yaml"))


@pytest.fixture
def world(store, tmp_path):
    """Sixteen devices of two kinds on the control."""
    made = ExperimentWorld(store, write_bundle(tmp_path / "bundle"))
    made.populate(16, kinds=("orin", "xavier"))
    with store.write() as work:
        work.devices.revoke("cam-1", at=made.now)
    return made


def arms_of(view):
    return {member.device_id: member.arm for member in view.members}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_policy_that_comes_with_mien_is_read(path):
    """And is named as its file is."""
    assert find_experiment(path.stem, path.parent).name == path.stem


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "bandit"}, "needs a section 'bandit'"),
        ({"bandit": BANDIT["bandit"]}, "belongs to kind: bandit"),
        (BANDIT | {"share": 0.05}, "min_share"),
        (BANDIT | {"duration_s": 10}, "would never move"),
        (
            BANDIT | {"bandit": BANDIT["bandit"] | {"reward": {"metric": "fps", "worst": 3, "best": 3}}},
            "must differ",
        ),
    ],
)
def test_a_policy_that_cannot_work_is_refused(values, told):
    """With the reason."""
    with pytest.raises(ConfigError) as caught:
        settings_from(ExperimentPolicy, values, source="policy")
    assert told in "\n".join(caught.value.faults)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 40), min_size=1),
    st.floats(0.01, 0.99),
    st.text("0123456789abcdef", min_size=4, max_size=8),
)
def test_quotas_keep_to_the_share(sizes, share, seed):
    """All together within half a device, each class within one, and neither release is left without a device."""
    parts = quotas(seed, sizes, share)
    everyone = sum(sizes.values())
    assert all(0 <= parts[kind] <= size for kind, size in sizes.items())
    if everyone > 1:
        assert 1 <= sum(parts.values()) <= everyone - 1
        assert abs(sum(parts.values()) - everyone * share) <= 1.0
    if min(share, 1 - share) * everyone >= 1:
        assert all(abs(parts[kind] - size * share) < 1 + 1e-9 for kind, size in sizes.items())


@given(st.integers(2, 60), st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.randoms(use_true_random=False))
def test_as_few_devices_switch_as_the_share_moves_by(count, before, after, shuffled):
    """The same seed gives the same arms in whatever order devices are listed; a moved share moves no more than it must."""
    places = [Place(device_id=f"cam-{n}", hardware="ab"[n % 2]) for n in range(count)]
    first = assign("seed", places, before)
    mixed = list(places)
    shuffled.shuffle(mixed)
    assert assign("seed", mixed, before) == first
    kept = [replace(place, arm=first[place.device_id]) for place in places]
    assert assign("seed", kept, before) == first
    second = assign("seed", kept, after)
    moved = {(first[one], second[one]) for one in first if first[one] is not second[one]}
    assert len(moved) <= 2
    count_of = lambda arms: sum(arm is Arm.CANDIDATE for arm in arms.values())  # noqa: E731
    switched = sum(first[one] is not second[one] for one in first)
    assert switched <= abs(count_of(second) - count_of(first)) + 2


def test_a_device_at_rest_keeps_its_arm():
    """Whatever the share."""
    places = [Place(device_id=f"cam-{n}", arm=Arm.CONTROL) for n in range(10)]
    arms = assign("seed", places, 0.9, resting={"cam-3", "cam-4"})
    assert arms["cam-3"] is arms["cam-4"] is Arm.CONTROL
    assert sum(arm is Arm.CANDIDATE for arm in arms.values()) == 8


def test_both_sides_have_their_part_of_each_hardware_class(world):
    """So that a difference between boards is none between releases."""
    number = world.begin(**AB)
    view = world.view(number)
    candidates = {member.device_id for member in view.on(Arm.CANDIDATE)}
    assert len(candidates) == 8
    assert sum(int(device_id[-2:]) % 2 for device_id in candidates) == 4


def test_every_member_is_told_its_release_by_the_usual_way(world):
    """A desired release each; devices take it, and the experiment knows."""
    number = world.begin(**AB)
    with world.store.read() as work:
        wanted = {device.id: device.desired["release"]["version"] for device in work.devices.all() if device.desired}
    arms = arms_of(world.view(number))
    assert wanted == {one: "1.1.0" if arm is Arm.CANDIDATE else "1.0.0" for one, arm in arms.items()}
    world.run(30)
    assert {member.state for member in world.view(number).members} == {ExecutionState.SUCCEEDED}
    assert world.tick() == 0


def test_a_worse_candidate_is_dropped_at_a_look(world):
    """Its devices go back at once, and the reason has the figures."""
    world.fps = lambda _device, release: 30.0 if release == CONTROL else 20.0
    number = world.begin(**AB)
    world.run(1900)
    view = world.view(number)
    assert view.dropped is Arm.CANDIDATE
    assert view.winner is Arm.CONTROL
    assert view.state is ExperimentState.FINISHED
    assert "fps: -3" in view.because
    with world.store.read() as work:
        assert {device.release for device in work.devices.all() if device.release} == {CONTROL}
        returned = [d for d in work.devices.all() if d.desired and d.desired["deployment_id"].endswith("-1")]
        assert {device.desired["rollback"] for device in returned} == {True}
        assert "experiment.drop" in {entry.action for entry in work.audit.latest(50)}


def test_a_candidate_that_fails_probes_is_dropped_before_any_look(world):
    """More than the policy's share of its devices took it back."""
    world.refuses = lambda device, release: release == CANDIDATE and int(device[-2:]) % 3 == 0
    number = world.begin(**AB)
    world.run(60)
    view = world.view(number)
    assert view.dropped is Arm.CANDIDATE
    assert "agreement 0.1" in view.because
    assert view.state is ExperimentState.FINISHED


def test_alike_releases_end_with_the_time(world):
    """A pass at the last look names the candidate, and with at_end: keep everyone stays."""
    number = world.begin(**AB)
    before = arms_of(world.view(number))
    world.run(3700, every_s=40)
    view = world.view(number)
    assert view.state is ExperimentState.FINISHED
    assert view.winner is Arm.CANDIDATE
    assert arms_of(view) == before


def test_a_release_without_data_is_no_winner(world):
    """Nothing was measured: nothing is shown."""
    number = world.begin(**AB)
    world.answer()
    world.tick()
    world.now += 3601
    world.tick()
    view = world.view(number)
    assert view.outcome == "inconclusive"
    assert view.winner is None
    assert "neither" in view.because


def test_a_bandit_moves_its_share_to_the_better_release(world):
    """By one step a round at most, and no device more often than stated."""
    world.energy = lambda _device, release: 0.5 if release == CONTROL else 0.3
    number = world.begin(**BANDIT)
    world.run(7300, every_s=40)
    view = world.view(number)
    shares = [view.policy.share, *(done.share for done in view.rounds)]
    assert max(abs(b - a) for a, b in pairwise(shares)) <= 0.1 + 1e-9
    assert shares[-1] == pytest.approx(0.9)
    assert view.winner is Arm.CANDIDATE
    assert max(member.switches for member in view.members) <= 3 + 1
    with world.store.read() as work:
        switched = [e for e in work.audit.latest(500) if e.action == "experiment.switch"]
        assert {device.release for device in work.devices.all() if device.release} == {CANDIDATE}
    by_device = {}
    for entry in sorted(switched, key=lambda e: e.at):
        by_device.setdefault(entry.details["device"], []).append(entry.at)
    during = [[at for at in ats if at < view.started_at + 7200] for ats in by_device.values()]
    assert all(b - a >= 600 for ats in during for a, b in pairwise(ats))
    assert "better one with a chance" in " ".join(explain(view, world.now))


def test_a_missed_round_is_not_made_up_for(world):
    """The service was away for an hour: the share moves by one step."""
    number = world.begin(**BANDIT)
    world.run(320)
    assert len(world.view(number).rounds) == 1
    share = world.view(number).share
    world.now += 3000
    world.run(320)
    view = world.view(number)
    assert len(view.rounds) == 3
    assert abs(view.share - share) <= 0.2 + 1e-9


def test_a_device_is_never_in_a_rollout_and_in_an_experiment(world):
    """Refused both ways, with what holds it and how to end that."""
    number = world.begin(**AB)
    with world.store.write() as work:
        rollout = create_rollout(work, CANDIDATE, rollout_policy(), seed="s", now=world.now).view.id
    with pytest.raises(ConflictError) as caught, world.store.write() as work:
        command(work, rollout, Order(name="start", actor="ada"), now=world.now)
    assert f"experiment stop {number}" in caught.value.remedy
    with world.store.write() as work:
        stop(work, number, "keep", now=world.now)
    world.run(30)
    assert world.view(number).state is ExperimentState.STOPPED
    with world.store.write() as work:
        command(work, rollout, Order(name="start", actor="ada"), now=world.now)
    with pytest.raises(ConflictError) as caught:
        world.begin(**AB)
    assert f"rollout stop {rollout}" in caught.value.remedy


def test_a_member_that_something_else_was_deployed_to_leaves(world):
    """Two hands on one device would pull it to and fro."""
    number = world.begin(**AB)
    world.run(30)
    with world.store.write() as work:
        device = work.devices.find("cam-03")
        other = Desired.model_validate({**device.desired, "deployment_id": "r9-other"})
        work.devices.desire("cam-03", other)
    world.run(20)
    member = next(m for m in world.view(number).members if m.device_id == "cam-03")
    assert member.state is ExecutionState.REMOVED
    assert "r9-other" in member.detail


@pytest.mark.parametrize("where", ["control", "candidate"])
def test_a_person_may_end_it_anywhere(world, where):
    """All devices get the release that was named."""
    number = world.begin(**AB)
    world.run(30)
    with world.store.write() as work:
        stop(work, number, where, now=world.now, actor="ann")
    world.run(60)
    view = world.view(number)
    assert view.state is ExperimentState.STOPPED
    assert {member.arm for member in view.members} == {Arm(where)}
    with pytest.raises(ConflictError), world.store.write() as work:
        stop(work, number, where, now=world.now)


def test_a_winner_that_is_not_there_is_refused(world):
    """Nothing was judged yet."""
    number = world.begin(**AB)
    with pytest.raises(ConflictError) as caught, world.store.write() as work:
        stop(work, number, "winner", now=world.now)
    assert "no winner yet" in caught.value.what


def test_too_few_devices_are_refused_before_anything_is_told(world):
    """Whatever they show could not be significant; the reason says so in numbers."""
    with pytest.raises(ConflictError) as caught:
        world.begin(**AB | {"looks": 100, "analysis": {"unit": "device", "min_devices": 3}, "share": 0.15})
    assert "p is" in caught.value.found
    with world.store.read() as work:
        assert not work.experiments.all()
        assert not any(device.desired for device in work.devices.all())


def test_an_experiment_needs_two_published_releases(world):
    """One release twice, or one that nobody published, is refused."""
    with pytest.raises(ConflictError), world.store.write() as work:
        create(work, CONTROL, CONTROL, ExperimentPolicy(), seed="s", now=world.now)
    with pytest.raises(NotFoundError) as caught, world.store.write() as work:
        create(work, CONTROL, "faces@1.1.1", ExperimentPolicy(), seed="s", now=world.now)
    assert CANDIDATE in caught.value.wanted


class _Killed(BaseException):
    """The plug was pulled."""


def _end_of(view, work):
    members = [(m.device_id, m.arm, m.deployment_id, m.state, m.switches) for m in view.members]
    rounds = [(done.number, done.share, done.chance) for done in view.rounds]
    desired = [(d.id, d.desired["deployment_id"], d.release) for d in work.devices.all() if d.desired]
    return view.state, view.share, view.winner, members, rounds, desired


def _bandit_to_its_end(world, path, kills):
    """Run a bandit, ending the process's work at chosen writes; each time a new store is opened on what is left."""
    world.begin(**BANDIT | {"duration_s": 1500})
    count = {"writes": 0}
    real = Store.write

    def shaky(self):
        count["writes"] += 1
        return _Cut(real(self)) if count["writes"] in kills else real(self)

    while world.view().state is ExperimentState.RUNNING or world.view().state is ExperimentState.ENDING:
        world.now += 10
        world.answer()
        world._windows(10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "write", shaky)
            try:
                world.tick()
            except _Killed:
                world.store.close()
                world.store = Store(_engine(f"sqlite:///{path}"))
                patch.undo()
        world.tick()
    with world.store.read() as work:
        return _end_of(world.view(), work), count["writes"]


class _Cut:
    """A unit of work that is killed just before it is kept."""

    def __init__(self, inner):
        self.inner = inner

    def __enter__(self):
        return self.inner.__enter__()

    def __exit__(self, *error):
        self.inner.__exit__(_Killed, _Killed(), None)
        raise _Killed


@pytest.mark.slow
def test_an_experiment_that_is_killed_at_its_writes_ends_as_one_that_is_not(tmp_path, prepared):
    """Whatever write the service dies in, the devices, rounds and deployments at the end are the same."""
    ends = []
    for name, kills in (("calm", set()), ("each", set(range(1, 4000))), ("third", set(range(3, 4000, 3)))):
        path = tmp_path / f"{name}.db"
        shutil.copy(prepared, path)
        world = ExperimentWorld(Store(_engine(f"sqlite:///{path}")), write_bundle(tmp_path / name))
        world.energy = lambda _device, release: 0.5 if release == CONTROL else 0.3
        world.populate(8)
        with world.store.write() as work:
            work.devices.revoke("cam-1", at=world.now)
        end, writes = _bandit_to_its_end(world, path, kills)
        assert writes > 6
        ends.append(end)
        world.store.close()
    assert ends[0] == ends[1] == ends[2]
