"""What an update waits for, what ends its waiting, and whose time that is."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from edge.update.interface import UpdateCancelled, UpdateFault
from edge.update.timetable import SiteTimes
from mien.messages import Desired, UpdateReport
from mien.windows import MaintenanceWindow
from tests.fakes.update_world import Killed, World

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.timezone.utc).timestamp()
HOUR = 3600.0
EVENING = {"start": "20:00", "duration_s": 2 * HOUR}
NIGHT = {"start": "02:00", "duration_s": HOUR}


@pytest.fixture
def world(memory_path: Path) -> World:
    """A device at noon, running 1.0.0."""
    made = World(memory_path)
    made.clock.now = NOON
    made.deploy("1.0.0")
    made.reporter.reports.clear()
    return made


def waits(world: World) -> list[tuple[str, str | None, float | None]]:
    """State, what it waits for, and until which hour of the first day, as reported."""
    return [
        (report.state.value, report.waits_for, (report.waits_until - NOON) / HOUR + 12)
        for report in world.reporter.reports
        if report.waits_for is not None and report.waits_until is not None
    ]


def order(world: World, version: str, **more: object) -> Desired:
    return world.desired(version, world.source.add(version), **more)


def busy(wait_s: float) -> UpdateFault:
    fault = UpdateFault("server_busy", "busy")
    fault.wait_s = wait_s
    return fault


def test_it_downloads_in_one_window_and_switches_in_another(world: World) -> None:
    """It says what it waits for and until when, and hours of waiting do not use up its ten minutes."""
    world.deploy("1.1.0", download_windows=[EVENING], install_windows=[NIGHT])
    assert waits(world) == [("idle", "download_window", 20.0), ("building", "install_window", 26.0)]
    assert world.last() == ("committed", None)
    assert world.reporter.reports[-1].waited_s == pytest.approx(14 * HOUR, abs=1)


def test_nothing_is_fetched_before_and_nothing_switched_until_its_window(world: World) -> None:
    """While it waits for either, the old release runs, and then the new one stands whole in the other slot."""
    seen: dict[str, tuple[bool, str | None]] = {}

    def look() -> None:
        report: UpdateReport = world.reporter.reports[-1]
        seen[str(report.waits_for)] = ("model.onnx" in world.source.fetched, world.device.running)

    world.source.fetched.clear()
    world.cancel.waited = look
    world.deploy("1.1.0", download_windows=[EVENING], install_windows=[NIGHT])
    assert seen == {"download_window": (False, "1.0.0"), "install_window": (True, "1.0.0")}


def test_the_sites_windows_hold_in_its_own_time_zone(world: World) -> None:
    """A site in Tokyo allows updates at two in the morning by its clock: 17:00 UTC."""
    site_window = MaintenanceWindow.model_validate(NIGHT)
    world.site = SiteTimes(zone=dt.timezone(dt.timedelta(hours=9)), install_windows=(site_window,))
    world.deploy("1.1.0")
    assert waits(world) == [("building", "install_window", 17.0)]


def test_windows_that_never_meet_are_refused_before_a_download(world: World) -> None:
    """A policy by night and a site by day can wait for ever: the order is rejected, with the reason."""
    world.site = SiteTimes(install_windows=(MaintenanceWindow(start="10:00", duration_s=HOUR),))
    world.source.fetched.clear()
    world.deploy("1.1.0", install_windows=[NIGHT])
    assert world.last() == ("rejected", "no_window")
    assert world.source.fetched == []


def test_a_time_zone_that_is_not_known_here_is_refused(world: World) -> None:
    """It is not guessed when the window might be."""
    world.deploy("1.1.0", download_windows=[{**NIGHT, "time_zone": "Europe/Atlantis"}])
    assert world.last() == ("rejected", "no_window")
    assert "Atlantis" in str(world.reporter.reports[-1].message)


def test_jitter_is_waited_for_and_told(world: World) -> None:
    """A part of the hour, the same at each try, and no part for a return."""
    world.site = SiteTimes(seed="cam-1")
    world.deploy("1.1.0", jitter_s=HOUR)
    [(state, waits_for, until)] = waits(world)
    assert (state, waits_for) == ("idle", "jitter")
    assert until is not None
    assert 12.0 < until < 13.0


@pytest.mark.parametrize("more", [{"jitter_s": HOUR}, {"install_windows": [NIGHT]}, {"download_windows": [NIGHT]}])
def test_a_clock_that_comes_back_from_2100_is_not_waited_for(world: World, more: dict[str, object]) -> None:
    """It is set right within the wait; what is waited for then is the next window, and no year."""
    world.site = SiteTimes(seed="cam-1")
    world.clock.now += 74 * 365 * 24 * HOUR
    right = iter([NOON])

    def set_right() -> None:
        world.clock.now = next(right, world.clock.now)

    world.cancel.waited = set_right
    world.deploy("1.1.0", **more)
    assert world.last() == ("committed", None)
    assert NOON < world.clock.now < NOON + 16 * HOUR


def test_a_clock_that_comes_from_1970_does_not_use_up_the_patience_with_a_server(world: World) -> None:
    """Decades passed within five seconds."""
    world.clock.now = 1000.0
    world.source.faults["fetch"] = [busy(10.0), busy(10.0)]
    right = iter([NOON])

    def set_right() -> None:
        world.clock.now = next(right, world.clock.now)

    world.cancel.waited = set_right
    world.deploy("1.1.0")
    assert world.last() == ("committed", None)


def test_a_return_waits_for_nothing(world: World) -> None:
    """Windows and jitter of an order to go back are passed over."""
    first = world.slots.active()
    world.deploy("1.1.0")
    assert first is not None
    back = world.desired(
        "1.0.0",
        first.record.manifest_sha256,
        rollback=True,
        jitter_s=HOUR,
        download_windows=[NIGHT],
        install_windows=[NIGHT],
    )
    world.updater().handle(back)
    assert (world.last(), world.active(), waits(world)) == (("committed", None), "1.0.0", [])


def test_a_window_that_closes_within_a_download_is_waited_for_again(world: World) -> None:
    """What came is kept; the rest comes in the next window, and the deployment is not at fault."""
    fetch = world.source.fetch

    def slow(release: object, path: str, to: Path, on_bytes: object) -> None:
        if path == "model.onnx" and not world.source.fetched:
            world.source.fetched.append("closed")
            world.clock.now += 3 * HOUR
            on_bytes(1)  # type: ignore[operator]
        fetch(release, path, to, on_bytes)  # type: ignore[arg-type]

    world.source.fetched.clear()
    world.source.fetch = slow  # type: ignore[assignment]
    world.deploy("1.1.0", download_windows=[EVENING], timeout_s=6 * HOUR)
    assert waits(world) == [("idle", "download_window", 20.0), ("downloading", "download_window", 44.0)]
    assert world.last() == ("committed", None)
    assert world.source.fetched == ["closed", "model.onnx", "reference.npz"]


def test_a_server_that_sheds_takes_none_of_the_deployments_time(world: World) -> None:
    """Half an hour of refusals within a deployment of ten minutes: it commits, and says what it waited for."""
    world.source.faults["fetch"] = [busy(600.0), busy(600.0), busy(600.0)]
    world.deploy("1.1.0", timeout_s=600)
    assert world.last() == ("committed", None)
    assert [waits_for for _, waits_for, _ in waits(world)] == ["server"] * 3
    assert world.reporter.reports[-1].waited_s == pytest.approx(1800, abs=1)
    assert world.journal.known_bad().releases == {}


def test_a_server_that_sheds_for_ever_is_given_up(world: World) -> None:
    """Six hours are waited for; the release is not held bad for it."""
    world.source.faults["fetch"] = [busy(3600.0) for _ in range(20)]
    world.deploy("1.1.0", timeout_s=600)
    assert world.last() == ("failed", "server_busy")
    assert len(world.source.faults["fetch"]) == 13
    assert world.journal.known_bad().releases == {}


def test_what_a_server_refuses_is_tried_three_times(world: World) -> None:
    """A mirror may be behind for a moment; more is of no use."""
    world.source.faults["fetch"] = [UpdateFault("server_refused", "404") for _ in range(9)]
    world.deploy("1.1.0")
    assert world.last() == ("failed", "server_refused")
    assert len(world.source.faults["fetch"]) == 6


@pytest.mark.parametrize(("newer", "code"), [("d9", "superseded"), (None, "withdrawn")])
def test_an_order_that_is_overtaken_while_it_waits_ends(world: World, newer: str | None, code: str) -> None:
    """Neither a newer order nor a withdrawal has to wait for the night."""
    updater = world.updater()
    world.cancel.waited = lambda: updater.overtake(newer)
    updater.handle(order(world, "1.1.0", install_windows=[NIGHT]))
    assert world.last() == ("failed", code)
    assert (world.active(), world.device.running) == ("1.0.0", "1.0.0")
    assert world.clock.now < NOON + 60
    assert world.journal.known_bad().releases == {}


def test_the_same_order_again_overtakes_nothing(world: World) -> None:
    """The broker hands over the retained order at each connection."""
    updater = world.updater()
    desired = order(world, "1.1.0", install_windows=[NIGHT])
    world.cancel.waited = lambda: updater.overtake(desired.deployment_id)
    updater.handle(desired)
    assert world.last() == ("committed", None)


def test_restarts_while_it_waits_are_no_attempts_and_their_time_is_not_its_own(world: World) -> None:
    """Ten power cuts in the wait for a window, and an orderly stop: it commits in the window, in its ten minutes."""

    def die() -> None:
        raise Killed("waiting")

    desired = order(world, "1.1.0", install_windows=[NIGHT])
    for start in range(10):
        world.cancel.waited = die
        with pytest.raises(Killed):
            world.updater().recover() if start else world.updater().handle(desired)
        world.clock.now += HOUR / 2
    world.cancel.waited = world.cancel.set
    with pytest.raises(UpdateCancelled):
        world.updater().recover()
    world.cancel.clear()
    world.cancel.waited = lambda: None
    world.updater().recover()
    assert world.last() == ("committed", None)
    assert world.device.builds == 2
    numbers = [report.sequence for report in world.reporter.reports if report.deployment_id == desired.deployment_id]
    assert numbers == sorted(set(numbers))


def test_a_limit_on_bytes_is_kept_while_they_arrive(world: World) -> None:
    """The stricter of fleet and site: a model of 17 bytes at 4 a second takes its seconds."""
    world.site = SiteTimes(max_bytes_per_s=1024)
    fetch = world.source.fetch

    def large(release: object, path: str, to: Path, on_bytes: object) -> None:
        fetch(release, path, to, on_bytes)  # type: ignore[arg-type]
        on_bytes(10 * 1024)  # type: ignore[operator]

    world.source.fetch = large  # type: ignore[assignment]
    before = world.clock.now
    world.deploy("1.1.0", max_bytes_per_s=9000)
    assert world.last() == ("committed", None)
    assert 18 <= world.clock.now - before <= 60
