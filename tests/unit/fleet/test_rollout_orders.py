"""What people may ask of rollouts: who may approve, what forcing is not, what resuming forgives."""

import pytest

from fleet.api.shapes import rollout_json
from fleet.errors import ConflictError
from fleet.rollouts import measure
from fleet.rollouts.orders import Order, command, create, dry_run, get
from fleet.rollouts.states import ExecutionState, RolloutState, WaveState
from fleet.rollouts.tick import Tick
from fleet.store.models import DeviceRow, ExecutionRow
from fleet.store.releases import Release
from mien.lifecycle import UpdateState
from mien.messages import Desired, Status, UpdateReport
from mien.release import ReleaseRef
from tests.fakes.paper_bundle import write_bundle
from tests.fakes.rollout_world import policy
from tests.unit.fleet.conftest import ISSUED, NOW

RELEASE = "faces@1.1.0"
WAVES = [{"name": "canary", "count": 1}, {"name": "rest", "percent": 100, "approval": True}]


@pytest.fixture
def fleet(store, tmp_path):
    """Three accepted devices and a release."""
    manifest = write_bundle(tmp_path / "bundle", "1.1.0")
    with store.write() as work:
        for number in (2, 3):
            work.devices.add(f"cam-{number}", "lab", ISSUED, at=NOW)
        work.releases.put(Release(ref=RELEASE, manifest_sha256="a" * 64, manifest=manifest, published_at=NOW))
    return store


def make(store, **given):
    with store.write() as work:
        return create(work, RELEASE, policy(**given), seed="s", now=NOW, actor="ada").view.id


def order(store, number, name, actor="ada", **given):
    with store.write() as work:
        return command(work, number, Order(name=name, actor=actor, **given), now=NOW).view


def tick(store, at=NOW):
    Tick(store, clock=lambda: at, changed=lambda: None).run()


def look(store, number):
    with store.read() as work:
        return work.rollouts.find(number)


def end(store, number, state=UpdateState.COMMITTED):
    """Every device that was told ends."""
    with store.write() as work:
        for execution in work.rollouts.find(number).view.executions:
            if execution.state in {ExecutionState.QUEUED, ExecutionState.IN_PROGRESS}:
                name = execution.deployment_id
                said = {"deployment_id": name, "release": ReleaseRef.parse(RELEASE), "sequence": 9, "at": 0.0}
                work.rollouts.report(execution.device_id, UpdateReport(state=state, **said))


def at_its_second_wave(store, **given):
    """A rollout whose next wave waits for a person; its number."""
    number = make(store, waves=WAVES, **given)
    order(store, number, "start")
    tick(store)
    end(store, number)
    tick(store)
    assert "approval" in look(store, number).paused_because
    return number


def test_a_wave_waits_for_a_yes_and_keeps_the_remark(fleet):
    """It begins after the approval, whose remark and name stay with the rollout."""
    number = at_its_second_wave(fleet)
    order(fleet, number, "approve", actor="eve", remark="looked at the canary")
    tick(fleet)
    assert len(look(fleet, number).view.executions) == 3
    (said,) = look(fleet, number).remarks
    assert (said["actor"], said["command"], said["remark"]) == ("eve", "approve", "looked at the canary")


def test_two_persons_means_two(fleet):
    """Who made the rollout may neither approve the wave nor force its way around the approval."""
    number = at_its_second_wave(fleet, two_person=True)
    for name in ("approve", "force-next"):
        with pytest.raises(ConflictError):
            order(fleet, number, name, actor="ada")
    tick(fleet)
    assert len(look(fleet, number).view.executions) == 1
    assert order(fleet, number, "approve", actor="eve").state is RolloutState.RUNNING


def test_a_yes_to_a_wave_that_failed_is_none_to_the_next(fleet):
    """It forgives what failed; the next wave asks for itself."""
    number = make(fleet, waves=WAVES, on_error="pause")
    order(fleet, number, "start")
    tick(fleet)
    end(fleet, number, UpdateState.FAILED)
    tick(fleet)
    order(fleet, number, "approve", actor="eve")
    tick(fleet, at=NOW + 1)
    assert "approval" in look(fleet, number).paused_because
    assert len(look(fleet, number).view.executions) == 1


def test_a_resume_is_no_approval(fleet):
    """The wave still waits."""
    number = at_its_second_wave(fleet)
    order(fleet, number, "resume")
    tick(fleet)
    assert look(fleet, number).view.state is RolloutState.PAUSED
    assert len(look(fleet, number).view.executions) == 1


def test_forcing_takes_the_wave_as_done(fleet):
    """Although its device failed, the next wave begins."""
    number = make(fleet, on_error="pause")
    order(fleet, number, "start")
    tick(fleet)
    end(fleet, number, UpdateState.FAILED)
    tick(fleet)
    assert look(fleet, number).view.state is RolloutState.PAUSED
    order(fleet, number, "force-next")
    tick(fleet)
    assert look(fleet, number).view.waves[0].state is WaveState.FINISHED
    assert len(look(fleet, number).view.executions) == 3


def test_an_abort_says_what_becomes_of_the_devices(fleet):
    """It is kept with who did it and why."""
    number = at_its_second_wave(fleet)
    order(fleet, number, "abort", actor="eve", revert=False, remark="wrong day")
    tick(fleet)
    rollout = look(fleet, number)
    assert rollout.view.state is RolloutState.STOPPED
    assert "eve" in rollout.halted_because
    assert rollout.view.executions[0].revert_state is None


def test_a_budget_that_starves_a_site_is_refused(fleet):
    """With the site and its size, before anything is made; a dry run says the same."""
    tight = policy(budget={"by": "site", "max_unavailable": {"percent": 20}})
    for ask in (
        lambda work: create(work, RELEASE, tight, seed="s", now=NOW),
        lambda work: dry_run(work, RELEASE, tight, seed="s"),
    ):
        with pytest.raises(ConflictError) as caught, fleet.write() as work:
            ask(work)
        assert "3 devices of which none may be away" in caught.value.found


def test_what_is_shown_counts_whom_it_is_for(fleet):
    """All that its group holds, reached or not."""
    numbers = [make(fleet, group=group) for group in (None, "lab", "none")]
    with fleet.read() as work:
        shown = [rollout_json(get(work, number), work.devices.views(), now=NOW) for number in numbers]
        assert [one.view.id for one in work.rollouts.all(2)] == numbers[:0:-1]
    assert [shape["devices_total"] for shape in shown] == [3, 3, 0]
    assert [shape["devices_reached"] for shape in shown] == [0, 0, 0]


def test_a_dry_run_changes_nothing_and_says_what_is_not_known(fleet):
    """Cohorts by name; no time, since nothing was measured here yet."""
    with fleet.read() as work:
        found = dry_run(work, RELEASE, policy(), seed="s")
        assert work.rollouts.all() == []
    assert [len(wave.devices) for wave in found.waves] == [1, 2]
    assert found.seconds is None


def present(store, *names):
    with store.write() as work:
        for name in names:
            work.devices.set_status(name, Status(state="online", boot_id="b", agent_version="1", at=NOW), at=NOW)


def orders(store):
    with store.read() as work:
        return {device.id for device in work.devices.all() if device.desired}


def done(store, **given):
    """A rollout that has finished; whom it told."""
    number = make(store, **given)
    order(store, number, "start")
    tick(store)
    end(store, number)
    tick(store)
    assert look(store, number).view.state is RolloutState.FINISHED
    return {execution.device_id for execution in look(store, number).view.executions}


def test_whom_no_wave_reaches_is_told_nothing(fleet):
    """A rollout for one device ends well, and the others are online."""
    present(fleet, "cam-1", "cam-2", "cam-3")
    told = done(fleet, waves=[{"name": "canary", "count": 1}])
    tick(fleet, at=NOW + 10)
    assert orders(fleet) == told
    assert len(told) == 1


def test_who_joins_is_told_within_the_limits(fleet):
    """Two come after the end: one at a time, and nobody outside the window."""
    noon, hour = NOW - NOW % 86_400 + 43_200, {"start": "12:00", "duration_s": 3600}
    number = make(fleet, waves=[{"name": "all", "percent": 100}], concurrency=1, windows=[hour], group="lab")
    with fleet.write() as work:
        work.rollouts.move(number, RolloutState.FINISHED, ended_at=NOW)
    present(fleet, "cam-2", "cam-3")
    tick(fleet, at=noon - 60)
    assert orders(fleet) == set()
    tick(fleet, at=noon + 60)
    tick(fleet, at=noon + 61)
    assert len(orders(fleet)) == 1
    end(fleet, number)
    tick(fleet, at=noon + 62)
    assert len(orders(fleet)) == 2


def test_a_rollout_that_was_taken_back_lets_go_of_whom_another_one_told(fleet):
    """A device that comes late with its release is taken back, unless it has that by a later rollout."""
    number = make(fleet)
    order(fleet, number, "start")
    tick(fleet)
    (first,) = (execution.device_id for execution in look(fleet, number).view.executions)
    order(fleet, number, "abort", revert=True)
    tick(fleet)
    with fleet.write() as work:
        work.devices._session.get_one(DeviceRow, first).release = RELEASE
        work.rollouts._session.get_one(ExecutionRow, (number, first)).previous = "faces@1.0.0"
    with fleet.read() as work:
        assert work.rollouts.to_follow() == [number]
    with fleet.write() as work:
        said = {"deployment_id": "r9-other", "release": ReleaseRef.parse(RELEASE), "manifest_sha256": "a" * 64}
        probe = policy().probe.message()
        work.devices.desire(first, Desired(issued_at=NOW, timeout_s=60, probe=probe, **said))
    with fleet.read() as work:
        assert work.rollouts.to_follow() == []


def test_a_great_wave_is_judged_by_some_of_its_devices(fleet, monkeypatch):
    """The same ones at each look; of a small one, by all."""
    number = make(fleet, waves=[{"name": "all", "percent": 100}])
    order(fleet, number, "start")
    tick(fleet)
    end(fleet, number)
    tick(fleet)
    view = look(fleet, number).view
    with fleet.read() as work:
        everyone = measure._cast(work, view, view.waves[0], ()).fresh
        monkeypatch.setattr(measure, "_MOST_FRESH", 2)
        some = [measure._cast(work, view, view.waves[0], ()).fresh for _ in range(2)]
    assert everyone == {"cam-1", "cam-2", "cam-3"}
    assert len(some[0]) == 2
    assert some[0] == some[1]
