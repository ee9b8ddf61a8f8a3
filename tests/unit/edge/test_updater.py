"""The update's workflow, with the world around it in memory and the state folder on a real disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.update.interface import UpdateCancelled, UpdateFault
from edge.update.journal import Journal, UpdateRecord
from mien.errors import UnavailableError
from mien.facts import DeviceFacts
from mien.release import Precision, ReleaseRef, VariantPolicy
from tests.fakes.update_world import FACTS, GOOD_LIVE, Killed, World

ALL = ["downloading", "verifying", "building", "installing", "probing"]


@pytest.fixture
def world(memory_path: Path) -> World:
    """A device without any release."""
    return World(memory_path)


def test_a_first_release_goes_through_every_state(world: World) -> None:
    """States are reported in the lifecycle's order and the release runs at the end."""
    world.deploy("1.0.0")
    assert world.reporter.states() == [*ALL, "committed"]
    assert (world.active(), world.device.running) == ("1.0.0", "1.0.0")


def test_an_update_leaves_the_old_release_as_fallback(world: World) -> None:
    """After a second release the first stands ready in the other slot."""
    world.deploy("1.0.0")
    world.deploy("1.1.0")
    fallback = world.slots.fallback()
    assert fallback is not None
    assert (world.active(), fallback.release.version) == ("1.1.0", "1.0.0")


def test_report_numbers_rise(world: World) -> None:
    """Sequences are strictly rising within a deployment."""
    world.deploy("1.0.0")
    numbers = [report.sequence for report in world.reporter.reports]
    assert numbers == sorted(set(numbers))


def test_a_failed_probe_restores_the_old_release(world: World) -> None:
    """Low agreement with the reference rolls back to the slot before, and never runs the new release live."""
    world.deploy("1.0.0")
    world.device.agreement["1.1.0"] = 0.4
    world.deploy("1.1.0")
    assert world.last() == ("rolled_back", "probe_failed")
    assert (world.active(), world.device.running) == ("1.0.0", "1.0.0")
    assert "1.1.0" not in world.device.taken_up
    assert world.reporter.events == ["rolled_back"]


def test_a_slow_release_is_taken_back(world: World) -> None:
    """Live frames decide as well: half the frame rate is not accepted."""
    world.deploy("1.0.0")
    world.device.live["1.1.0"] = replace(GOOD_LIVE, fps=4.0)
    world.deploy("1.1.0")
    assert world.last() == ("rolled_back", "probe_failed")
    assert world.device.taken_up == ["1.0.0", "1.1.0", "1.0.0"]


def test_a_bad_first_release_leaves_the_device_with_none(world: World) -> None:
    """Without a release before, rolling back means running nothing."""
    world.device.agreement["1.0.0"] = 0.0
    world.deploy("1.0.0")
    assert world.last()[0] == "rolled_back"
    assert (world.active(), world.device.running) == (None, None)


def test_a_release_that_was_taken_back_is_refused(world: World) -> None:
    """The second deployment of a bad release is rejected without a download."""
    world.device.agreement["1.0.0"] = 0.0
    first = world.deploy("1.0.0")
    world.source.fetched.clear()
    world.updater().handle(world.desired("1.0.0", first.manifest_sha256))
    assert world.last() == ("rejected", "known_bad")
    assert world.source.fetched == []


@pytest.mark.parametrize(
    ("version", "more", "expected"),
    [
        ("1.2.0", {}, ("rejected", "known_bad")),
        ("1.1.5", {}, ("rejected", "known_bad")),
        ("1.3.0", {}, ("committed", None)),
        ("2.0.0", {}, ("committed", None)),
        ("1.1.5", {"rollback": True}, ("committed", None)),
    ],
)
def test_after_a_release_failed_here_only_a_newer_one_is_taken(
    world: World, version: str, more: dict[str, object], expected: tuple[str, str | None]
) -> None:
    """By version, not only by content: the same version packed anew, and an older one, were made before the mending."""
    world.deploy("1.0.0")
    world.device.agreement["1.2.0"] = 0.1
    world.deploy("1.2.0")
    assert world.last() == ("rolled_back", "probe_failed")
    world.device.agreement.clear()
    folder = world.source.folder / "1.2.0"
    folder.rename(folder.with_name("failed"))
    sha256 = world.source.add(version, salt="packed anew")
    world.updater().handle(world.desired(version, sha256, **more))
    assert world.last() == expected


def test_a_newer_release_that_runs_lifts_the_bar_for_older_ones(world: World) -> None:
    """Once 1.3.0 mended it, 1.1.0 may be tried; the failed 1.2.0 itself stays out."""
    world.deploy("1.0.0")
    world.device.agreement["1.2.0"] = 0.1
    failed = world.deploy("1.2.0")
    world.device.agreement.clear()
    world.deploy("1.3.0")
    world.deploy("1.1.0")
    assert world.last() == ("committed", None)
    world.updater().handle(world.desired("1.2.0", failed.manifest_sha256))
    assert world.last() == ("rejected", "known_bad")


def test_what_runs_is_never_refused_for_what_failed(world: World) -> None:
    """The release that was returned to is older than the failed one, and a new order for it just says that it runs."""
    first = world.deploy("1.0.0")
    world.device.agreement["1.2.0"] = 0.1
    world.deploy("1.2.0")
    world.updater().handle(world.desired("1.0.0", first.manifest_sha256))
    assert world.last() == ("committed", None)


def test_too_little_room_says_how_much_is_needed(world: World) -> None:
    """The report names what is free, and what download, engine and slack take."""
    world.device.room = 5 << 20
    world.deploy("1.0.0")
    message = str(world.reporter.reports[-1].message)
    assert "5 MiB free" in message
    assert "to download and check" in message
    assert "28 MiB" in str(world.reporter.reports[-1].remedy)


def test_what_came_before_a_cut_needs_no_more_room(world: World) -> None:
    """A disk that had just enough still has, when the device goes on with what is on it."""
    sha256 = world.source.add("1.0.0")
    world.device.room = (32 << 20) + 120
    world.updater().handle(world.desired("1.0.0", sha256))
    assert world.last() == ("failed", "no_space")
    world.source.stored = 40
    world.updater().handle(world.desired("1.0.0", sha256))
    assert world.last() == ("committed", None)


def test_a_full_disk_does_not_keep_a_bad_release_running(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be noted from the verdict on; the old release runs, and the next start says how it ended."""
    world.deploy("1.0.0")
    world.device.live["1.1.0"] = replace(GOOD_LIVE, fps=1.0)
    write = Journal.write

    def full(self: Journal, record: UpdateRecord) -> None:
        if record.probe is not None:
            raise UnavailableError("could not write", found="No space left on device")
        write(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", full)
        with pytest.raises(UnavailableError):
            world.updater().handle(world.desired("1.1.0", world.source.add("1.1.0")))
    assert (world.active(), world.device.running) == ("1.0.0", "1.0.0")
    world.updater().recover()
    assert (world.last()[0], world.active(), world.device.running) == ("rolled_back", "1.0.0", "1.0.0")


def test_an_engine_that_cannot_be_opened_is_taken_back(world: World) -> None:
    """A fault while the new release is taken up restores the old one."""
    world.deploy("1.0.0")
    world.device.broken.add("1.1.0")
    world.deploy("1.1.0")
    assert world.last() == ("rolled_back", "build_failed")
    assert world.device.running == "1.0.0"


def test_a_build_that_fails_leaves_the_active_slot_alone(world: World) -> None:
    """Before the switch, a fault ends in failed and nothing was taken up or down."""
    world.deploy("1.0.0")
    world.device.unbuildable.add("1.1.0")
    world.deploy("1.1.0")
    assert world.last() == ("failed", "build_failed")
    assert world.device.taken_up == ["1.0.0"]


@pytest.mark.parametrize("code", ["expired_metadata", "rollback_attack", "bad_signature", "not_signed"])
def test_what_is_not_trusted_is_rejected(world: World, code: str) -> None:
    """Each fault of trust ends in rejected, under its own code."""
    world.source.faults["manifest"] = [UpdateFault(code, "no")]
    world.deploy("1.0.0")
    assert world.last() == ("rejected", code)


def test_wrong_bytes_are_rejected(world: World) -> None:
    """A hash that does not fit ends in rejected."""
    world.source.faults["fetch"] = [UpdateFault("hash_mismatch", "no")]
    world.deploy("1.0.0")
    assert world.last() == ("rejected", "hash_mismatch")


def test_another_manifest_than_meant_is_rejected(world: World) -> None:
    """A name whose content is not what the deployment means is refused."""
    world.source.add("1.0.0")
    world.updater().handle(world.desired("1.0.0", "f" * 64))
    assert world.last() == ("rejected", "manifest_mismatch")


def test_a_release_for_other_machines_is_rejected_before_any_download(world: World) -> None:
    """No fitting variant: the reasons are in the message and nothing was fetched."""
    sha256 = world.source.add("1.0.0", runtimes=("tensorrt",))
    world.updater().handle(world.desired("1.0.0", sha256))
    assert world.last() == ("rejected", "incompatible")
    assert "runs on tensorrt" in str(world.reporter.reports[-1].message)
    assert world.source.fetched == []


def test_too_little_room_fails_before_any_download(world: World) -> None:
    """The signed lengths say beforehand that it cannot fit."""
    world.device.room = 1000
    world.deploy("1.0.0")
    assert world.last() == ("failed", "no_space")
    assert world.source.fetched == []


def test_a_network_fault_is_sat_out(world: World) -> None:
    """A download that fails once goes on by itself."""
    world.source.faults["fetch"] = [UpdateFault("network", "cut off")]
    world.deploy("1.0.0")
    assert world.last() == ("committed", None)


def test_a_network_that_stays_away_ends_with_the_time(world: World) -> None:
    """When no time is left for another try, the deployment fails under the network's code."""
    world.source.faults["fetch"] = [UpdateFault("network", "cut off")]
    world.deploy("1.0.0", timeout_s=0.005)
    assert world.last() == ("failed", "network")


def test_the_active_release_is_reported_as_committed_at_once(world: World) -> None:
    """A new deployment of what runs already does nothing but say so."""
    first = world.deploy("1.0.0")
    world.source.fetched.clear()
    world.updater().handle(world.desired("1.0.0", first.manifest_sha256))
    assert world.last() == ("committed", None)
    assert world.source.fetched == []
    assert world.device.taken_up == ["1.0.0"]


def test_a_deployment_that_ended_is_not_done_twice(world: World) -> None:
    """The retained desired state of a finished deployment comes again at each connection and changes nothing."""
    desired = world.deploy("1.0.0")
    count = len(world.reporter.reports)
    world.updater().handle(desired)
    assert len(world.reporter.reports) == count


def test_an_ordered_return_takes_the_local_slot(world: World) -> None:
    """Nothing is fetched or built, the release left behind is no fallback, and it is not condemned."""
    first = world.deploy("1.0.0")
    world.deploy("1.1.0")
    world.source.fetched.clear()
    builds = world.device.builds
    world.updater().handle(world.desired("1.0.0", first.manifest_sha256, rollback=True))
    assert world.last() == ("committed", None)
    assert (world.source.fetched, world.device.builds, world.active()) == ([], builds, "1.0.0")
    assert world.slots.fallback() is None
    assert world.journal.known_bad().releases == {}


def test_an_ordered_return_downloads_when_the_local_slot_is_damaged(world: World) -> None:
    """A local slot whose engine was changed is not used."""
    first = world.deploy("1.0.0")
    world.deploy("1.1.0")
    fallback = world.slots.fallback()
    assert fallback is not None
    fallback.engine_path.write_text("bit rot")
    world.source.fetched.clear()
    world.updater().handle(world.desired("1.0.0", first.manifest_sha256, rollback=True))
    assert world.last() == ("committed", None)
    assert world.source.fetched


@pytest.mark.parametrize("step", ["build", "reference", "take_up", "watch"])
def test_a_kill_at_any_step_is_survived(world: World, step: str) -> None:
    """The next start finishes the deployment, and the report numbers go on rising."""
    world.deploy("1.0.0")
    world.device.dies_in = step
    with pytest.raises(Killed):
        world.deploy("1.1.0")
    world.device.dies_in = None
    world.updater().recover()
    assert world.last() == ("committed", None)
    assert (world.active(), world.device.running) == ("1.1.0", "1.1.0")
    numbers = [report.sequence for report in world.reporter.reports if report.deployment_id == "d2"]
    assert numbers == sorted(set(numbers))


def test_a_release_that_kills_its_process_twice_is_taken_back(world: World) -> None:
    """One death in the probe may be a power cut; the second is the release's fault."""
    world.deploy("1.0.0")
    world.device.dies_in = "watch"
    with pytest.raises(Killed):
        world.deploy("1.1.0")
    with pytest.raises(Killed):
        world.updater().recover()
    world.device.dies_in = None
    world.updater().recover()
    assert world.last() == ("rolled_back", "interrupted")
    assert (world.active(), world.device.running) == ("1.0.0", "1.0.0")


def test_a_device_that_dies_in_every_build_gives_up(world: World) -> None:
    """After five attempts the deployment fails, and what ran before runs."""
    world.deploy("1.0.0")
    world.device.dies_in = "build"
    with pytest.raises(Killed):
        world.deploy("1.1.0")
    for _ in range(4):
        with pytest.raises(Killed):
            world.updater().recover()
    world.updater().recover()
    assert world.last() == ("failed", "interrupted")
    assert world.device.running == "1.0.0"


def test_a_start_takes_up_the_active_release(world: World) -> None:
    """Nothing pending: the release that ran last runs again."""
    world.deploy("1.0.0")
    world.device.running = None
    world.updater().recover()
    assert world.device.running == "1.0.0"


def test_a_start_builds_again_after_the_runtime_changed(world: World) -> None:
    """An engine made for another runtime version is not loaded but built anew from the model in its slot."""
    world.deploy("1.0.0")
    world.device.machine = FACTS.model_copy(update={"onnxruntime": "9.9.9"})
    world.updater().recover()
    assert (world.device.running, world.device.builds) == ("1.0.0", 2)


def test_a_start_falls_back_when_the_active_engine_is_damaged(world: World) -> None:
    """Bit rot in the active slot is told as an event, and the fallback runs."""
    world.deploy("1.0.0")
    world.deploy("1.1.0")
    active = world.slots.active()
    assert active is not None
    active.engine_path.write_text("bit rot")
    world.updater().recover()
    assert world.device.running == "1.0.0"
    assert "engine_unusable" in world.reporter.events


def test_files_that_arrived_before_a_network_fault_are_not_fetched_again(world: World) -> None:
    """A try that goes on keeps the whole files of the try before."""
    sha256 = world.source.add("1.0.0")
    fetch = world.source.fetch

    def cut_off_before_the_second(release: ReleaseRef, path: str, *rest: object) -> None:
        if path == "reference.npz" and world.source.fetched == ["model.onnx"]:
            world.source.fetched.append("cut")
            raise UpdateFault("network", "cut off")
        fetch(release, path, *rest)  # type: ignore[arg-type]

    world.source.fetch = cut_off_before_the_second  # type: ignore[method-assign]
    world.updater().handle(world.desired("1.0.0", sha256))
    assert world.source.fetched == ["model.onnx", "cut", "reference.npz"]


def test_an_orderly_stop_in_the_probe_is_no_verdict(world: World) -> None:
    """However often the agent is stopped while it probes, the release is not taken back for it."""
    world.deploy("1.0.0")
    desired = world.desired("1.1.0", world.source.add("1.1.0"))
    world.device.stops_in = "watch"
    with pytest.raises(UpdateCancelled):
        world.updater().handle(desired)
    for _ in range(3):
        with pytest.raises(UpdateCancelled):
            world.updater().recover()
    world.device.stops_in = None
    world.updater().recover()
    assert world.last() == ("committed", None)


def test_an_orderly_stop_ends_the_wait_for_the_network(world: World) -> None:
    """A stopping agent does not sit out a network fault; the next start goes on."""
    world.source.faults["fetch"] = [UpdateFault("network", "cut off")]
    world.cancel.set()
    with pytest.raises(UpdateCancelled):
        world.deploy("1.0.0")
    world.cancel.clear()
    world.updater().recover()
    assert world.last() == ("committed", None)


def test_a_release_that_was_lost_is_brought_again(world: World) -> None:
    """Bit rot without a fallback: the retained desired state heals the device."""
    desired = world.deploy("1.0.0")
    active = world.slots.active()
    assert active is not None
    active.engine_path.write_text("bit rot")
    world.updater().recover()
    assert world.active() is None
    world.updater().handle(desired)
    assert world.last() == ("committed", None)
    assert world.device.running == "1.0.0"


LIGHTER = VariantPolicy(precisions=("fp32", "int8"), lighter=True)


def test_a_lighter_variant_comes_along_where_the_site_may_need_one(world: World) -> None:
    """Both are downloaded and built; the site's first choice runs, and the lighter one stands whole beside it."""
    world.policy = LIGHTER
    sha256 = world.source.add("1.0.0", precisions=("fp32", "int8"))
    world.updater().handle(world.desired("1.0.0", sha256))
    active = world.slots.active()
    assert active is not None
    lighter = active.lighter()
    assert lighter is not None
    assert (active.record.precision, lighter.record.precision, lighter.record.built) == ("fp32", "int8", True)
    lighter.verify()
    assert lighter.engine_path != active.engine_path
    assert world.device.builds == 2


@pytest.mark.parametrize(
    ("policy", "precisions"),
    [
        (VariantPolicy(precisions=("fp32", "int8")), ("fp32", "int8")),
        (LIGHTER, ("fp32",)),
        (VariantPolicy(precisions=("int8", "fp32"), lighter=True), ("fp32", "int8")),
        (VariantPolicy(precisions=("fp32",), lighter=True), ("fp32", "int8")),
        (VariantPolicy(precisions=("fp32", "fp16"), lighter=True), ("fp32", "fp16")),
    ],
)
def test_no_second_variant_is_brought_for_nothing(
    world: World, policy: VariantPolicy, precisions: tuple[Precision, ...]
) -> None:
    """Not when it is not wanted, not there, not lighter, not allowed, nor FP16 on a CPU."""
    world.policy = policy
    sha256 = world.source.add("1.0.0", precisions=precisions)
    world.updater().handle(world.desired("1.0.0", sha256))
    active = world.slots.active()
    assert active is not None
    assert active.lighter() is None
    assert world.device.builds == 1


def test_the_lighter_engine_is_built_again_with_its_release(world: World) -> None:
    """After an upgrade of the runtime both engines are of the new one."""
    world.policy = LIGHTER
    sha256 = world.source.add("1.0.0", precisions=("fp32", "int8"))
    world.updater().handle(world.desired("1.0.0", sha256))
    world.device.machine = replace_facts("1.25.0")
    world.updater().recover()
    active = world.slots.active()
    assert active is not None
    lighter = active.lighter()
    assert lighter is not None
    assert {active.record.hardware_class, lighter.record.hardware_class} == {world.device.machine.hardware_class()}


def replace_facts(onnxruntime: str) -> DeviceFacts:
    return FACTS.model_copy(update={"onnxruntime": onnxruntime})


def test_an_engine_that_cannot_be_opened_at_a_start_keeps_its_release(world: World) -> None:
    """Too little memory for a moment: nothing is thrown away or condemned, it is told once, and runs when it can."""
    desired = world.deploy("1.0.0")
    world.device.running = None
    world.device.broken.add("1.0.0")
    updater = world.updater()
    updater.recover()
    assert (updater.engine_is_lost, world.active(), world.journal.known_bad().releases) == (True, "1.0.0", {})
    told = len(world.reporter.reports)
    updater.handle(desired)
    assert not updater.take_up_again()
    assert (world.reporter.events, len(world.reporter.reports)) == (["engine_unusable"], told)
    world.device.broken.clear()
    assert updater.take_up_again()
    assert (updater.engine_is_lost, world.device.running) == (False, "1.0.0")


def test_a_full_disk_at_a_start_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rebuilt engine's record cannot be written: the old one still holds, and the next try brings the release up."""
    world.deploy("1.0.0")
    world.device.machine = replace_facts("9.9.9")
    updater = world.updater()
    with monkeypatch.context() as full:
        full.setattr("edge.update.slots.write_text", _full_disk)
        updater.recover()
    kept = world.slots.active()
    assert kept is not None
    kept.verify()
    assert (updater.engine_is_lost, world.reporter.events) == (True, ["engine_unusable"])
    assert updater.take_up_again()
    assert world.device.running == "1.0.0"


def _full_disk(path: Path, *_: object) -> None:
    raise UnavailableError(f"could not write {path}", found="No space left on device")


def test_a_kill_while_an_engine_is_built_again_loses_nothing(world: World) -> None:
    """The engine of the record stands until the new one has its record, so that the next start finds it whole."""
    world.policy = LIGHTER
    sha256 = world.source.add("1.0.0", precisions=("fp32", "int8"))
    world.updater().handle(world.desired("1.0.0", sha256))
    for version in ("9.9.8", "9.9.9"):
        world.device.machine = replace_facts(version)
        world.device.dies_after_builds = world.device.builds + 1
        with pytest.raises(Killed):
            world.updater().recover()
        world.device.dies_after_builds = None
        world.updater().recover()
        assert (world.device.running, world.reporter.events) == ("1.0.0", [])
        active = world.slots.active()
        assert active is not None
        assert {path.parent for path in active.folder.rglob("*.bin")} == {active.engine_path.parent}


def test_both_slots_damaged_leave_none_and_are_told(world: World) -> None:
    """Changed bytes on both sides: each is told, nothing is active, and the engine does not count as lost."""
    world.deploy("1.0.0")
    desired = world.deploy("1.1.0")
    for slot in (world.slots.active(), world.slots.fallback()):
        assert slot is not None
        slot.engine_path.write_text("bit rot")
    updater = world.updater()
    updater.recover()
    assert (world.active(), updater.engine_is_lost) == (None, False)
    assert world.reporter.events == ["engine_unusable"] * 2
    updater.handle(desired)
    assert (world.last(), world.device.running) == (("committed", None), "1.1.0")


def test_a_lost_engine_is_not_reported_as_committed(world: World) -> None:
    """A new deployment of the release whose engine cannot be opened fails, and the release is kept."""
    first = world.deploy("1.0.0")
    world.device.broken.add("1.0.0")
    updater = world.updater()
    updater.recover()
    updater.handle(world.desired("1.0.0", first.manifest_sha256))
    assert world.last() == ("failed", "build_failed")
    assert (world.active(), world.journal.known_bad().releases) == ("1.0.0", {})


def test_a_new_release_that_cannot_be_opened_may_come_again(world: World) -> None:
    """It is taken back, but nothing was measured: the next deployment of it is tried, and commits."""
    world.deploy("1.0.0")
    world.device.broken.add("1.1.0")
    failed = world.deploy("1.1.0")
    assert world.last() == ("rolled_back", "build_failed")
    world.device.broken.clear()
    world.updater().handle(world.desired("1.1.0", failed.manifest_sha256))
    assert world.last() == ("committed", None)


def test_a_bad_release_does_not_run_on_when_the_old_one_cannot_be_opened(world: World) -> None:
    """The rollback finds no memory for the old engine: nothing runs, and the old one comes up at a later try."""
    world.deploy("1.0.0")
    world.device.live["1.1.0"] = replace(GOOD_LIVE, fps=1.0)
    world.device.broken.add("1.0.0")
    updater = world.updater()
    updater.handle(world.desired("1.1.0", world.source.add("1.1.0")))
    assert world.last() == ("failed", "rollback_failed")
    assert (world.device.running, updater.engine_is_lost, world.active()) == (None, True, "1.0.0")
    world.device.broken.clear()
    assert updater.take_up_again()
    assert world.device.running == "1.0.0"


def test_an_update_while_the_only_camera_is_away_waits_for_it(world: World) -> None:
    """The probe begins when the camera is back, and the release commits with live figures."""
    world.deploy("1.0.0")
    world.device.away = [("porch",), ("porch",), ()]
    updater, waited = world.updater(), []
    world.device.asked = lambda: waited.append(updater.is_waiting)
    updater.handle(world.desired("1.1.0", world.source.add("1.1.0")))
    assert world.last() == ("committed", None)
    assert (waited, updater.is_waiting) == ([False, True, True], False)
    probe = world.reporter.reports[-1].probe
    assert probe is not None
    assert (probe.fps, probe.reasons) == (GOOD_LIVE.fps, ())


def test_a_camera_that_stays_away_condemns_nothing(world: World) -> None:
    """At the end of its time the reference frames decide alone, and the result says so."""
    world.deploy("1.0.0")
    world.device.away = [("porch",)]
    world.deploy("1.1.0", timeout_s=0.05)
    assert world.last() == ("committed", None)
    probe = world.reporter.reports[-1].probe
    assert probe is not None
    assert (probe.fps, probe.reasons) == (None, ("no verdict on live frames: porch was away",))


def test_a_camera_that_falls_silent_during_the_look_is_waited_for(world: World) -> None:
    """A look without one of the cameras is no look; the next one decides."""
    world.deploy("1.0.0")
    world.device.looks = [replace(GOOD_LIVE, frames=0, fps=0.0, cameras_away=("porch",))]
    world.deploy("1.1.0")
    assert (world.last(), world.device.looks) == (("committed", None), [])


def test_one_bad_look_is_no_verdict(world: World) -> None:
    """A camera that dies within a look lowers its rate; the second look shows that the release is well."""
    world.deploy("1.0.0")
    world.device.looks = [replace(GOOD_LIVE, fps=4.0)]
    world.deploy("1.1.0")
    assert world.last() == ("committed", None)


def test_without_camera_and_reference_nothing_is_committed_or_condemned(world: World) -> None:
    """What was not measured never passes as good, and is no proof against it either."""
    world.deploy("1.0.0")
    world.device.away, world.device.agreement["1.1.0"] = [("porch",)], None
    world.deploy("1.1.0", timeout_s=0.05)
    assert world.last() == ("rolled_back", "timed_out")
    assert (world.active(), world.journal.known_bad().releases) == ("1.0.0", {})


def test_power_cuts_while_the_probe_waits_for_a_camera_do_not_count(world: World) -> None:
    """However often the device dies meanwhile, the release is not taken back for it."""
    world.deploy("1.0.0")
    desired = world.desired("1.1.0", world.source.add("1.1.0"))
    for _ in range(3):
        world.device.away = [("porch",), None]
        updater = world.updater()
        with pytest.raises(Killed):
            updater.recover() if world.active() == "1.1.0" else updater.handle(desired)
    world.device.away = [()]
    world.updater().recover()
    assert (world.last(), world.journal.known_bad().releases) == (("committed", None), {})


def test_orderly_stops_in_a_build_are_no_attempts(world: World) -> None:
    """However often the agent is stopped while it builds, the deployment is begun again and commits."""
    desired = world.desired("1.0.0", world.source.add("1.0.0"))
    world.device.stops_in = "build"
    with pytest.raises(UpdateCancelled):
        world.updater().handle(desired)
    for _ in range(6):
        with pytest.raises(UpdateCancelled):
            world.updater().recover()
    world.device.stops_in = None
    world.updater().recover()
    assert world.last() == ("committed", None)
