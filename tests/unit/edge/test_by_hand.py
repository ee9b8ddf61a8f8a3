"""A person at the device takes a release back, and what the fleet may do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.update.by_hand import Request, Requests
from mien.messages import Desired
from tests.fakes.update_world import Killed, World


@pytest.fixture
def world(memory_path: Path) -> World:
    """A device that runs 1.1.0, with 1.0.0 in the other slot."""
    made = World(memory_path)
    made.deploy("1.0.0")
    return made


@pytest.fixture
def current(world: World) -> Desired:
    """The order that brought what runs; the broker goes on holding it."""
    return world.deploy("1.1.0")


def requests(world: World) -> Requests:
    return Requests(world.folder / "update")


def ask(world: World, sha256: str) -> None:
    requests(world).ask(Request(manifest_sha256=sha256, reason="faces upside down", asked_at=5.0))


def test_the_release_before_runs_and_the_fleet_hears_why(world: World, current: Desired) -> None:
    """No download, no build; the report of the deployment and an event say that it was a person."""
    world.source.fetched.clear()
    builds = world.device.builds
    ask(world, current.manifest_sha256)
    world.updater().take_back_if_asked()
    assert (world.active(), world.device.running) == ("1.0.0", "1.0.0")
    assert (world.source.fetched, world.device.builds) == ([], builds)
    assert world.last() == ("rolled_back", "by_hand")
    report = world.reporter.reports[-1]
    assert report.deployment_id == current.deployment_id
    assert "faces upside down" in str(report.message)
    assert world.reporter.events == ["rolled_back"]
    assert not requests(world).waits()


def test_the_order_that_the_broker_holds_does_not_undo_it(world: World, current: Desired) -> None:
    """It comes again at each connection and start; only a new deployment brings the release, which is not held bad."""
    ask(world, current.manifest_sha256)
    world.updater().take_back_if_asked()
    for _ in range(2):
        updater = world.updater()
        updater.recover()
        updater.handle(current)
    assert world.active() == "1.0.0"
    assert world.journal.known_bad().releases == {}
    world.updater().handle(world.desired("1.1.0", current.manifest_sha256))
    assert (world.last(), world.active()) == (("committed", None), "1.1.0")


def test_an_order_that_failed_since_is_not_begun_again(world: World, current: Desired) -> None:
    """What is taken back came before it; the broker holds the failed one, and the device stays as the person left it."""
    failed = world.desired("1.2.0", "f" * 64)
    world.updater().handle(failed)
    assert world.last()[0] == "rejected"
    ask(world, current.manifest_sha256)
    world.updater().take_back_if_asked()
    assert (world.last(), world.active()) == (("rolled_back", "by_hand"), "1.0.0")
    count = len(world.reporter.reports)
    world.updater().handle(failed)
    assert (len(world.reporter.reports), world.active()) == (count, "1.0.0")


def test_a_request_for_what_does_not_run_any_more_is_dropped(world: World, current: Desired) -> None:
    """It was left over from before: nothing else is taken back for it."""
    first = world.slots.fallback()
    assert first is not None
    ask(world, first.record.manifest_sha256)
    world.updater().take_back_if_asked()
    assert (world.active(), requests(world).waits()) == ("1.1.0", False)


def test_a_damaged_release_is_not_returned_to(world: World, current: Desired) -> None:
    """What runs goes on, and an event says why."""
    fallback = world.slots.fallback()
    assert fallback is not None
    fallback.engine_path.write_text("bit rot")
    ask(world, current.manifest_sha256)
    world.updater().take_back_if_asked()
    assert (world.active(), world.device.running) == ("1.1.0", "1.1.0")
    assert (world.reporter.events, requests(world).waits()) == (["rollback_refused"], False)


def test_a_request_ends_a_wait_for_a_window(world: World, current: Desired) -> None:
    """A person does not wait for the night: the order under way ends before its download, then the release goes back."""
    world.cancel.waited = lambda: ask(world, current.manifest_sha256)
    night = {"start": "02:00", "duration_s": 3600}
    world.updater().handle(world.desired("1.2.0", world.source.add("1.2.0"), download_windows=[night]))
    assert (world.active(), world.device.running) == ("1.0.0", "1.0.0")
    ends = [(report.release.version, report.state.value, report.error_code) for report in world.reporter.reports[-3:]]
    assert ends[0] == ("1.2.0", "failed", "by_hand")
    assert ends[-1] == ("1.1.0", "rolled_back", "by_hand")


def test_what_waits_to_be_switched_to_is_no_way_back(world: World, current: Desired) -> None:
    """It stands whole in the slot of the release before, which is gone; nobody has tried it, so it does not run."""
    world.cancel.waited = lambda: ask(world, current.manifest_sha256)
    night = {"start": "02:00", "duration_s": 3600}
    world.updater().handle(world.desired("1.2.0", world.source.add("1.2.0"), install_windows=[night]))
    assert (world.active(), world.device.running) == ("1.1.0", "1.1.0")
    assert world.last() == ("failed", "by_hand")
    assert (world.reporter.events, requests(world).waits()) == (["rollback_refused"], False)
    assert world.slots.fallback() is None


def test_a_kill_on_the_way_back_is_survived(world: World, current: Desired) -> None:
    """The next start finishes it, once."""
    ask(world, current.manifest_sha256)
    world.device.dies_in = "take_up"
    with pytest.raises(Killed):
        world.updater().take_back_if_asked()
    world.device.dies_in = None
    updater = world.updater()
    updater.recover()
    updater.take_back_if_asked()
    updater.handle(current)
    assert (world.last(), world.active(), world.device.running) == (("rolled_back", "by_hand"), "1.0.0", "1.0.0")
