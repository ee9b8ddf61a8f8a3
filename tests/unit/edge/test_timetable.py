"""When a deployment may do what."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from edge.transport.pace import Throttle
from edge.update.timetable import SiteTimes, Timetable, share_of
from mien.messages import Desired
from mien.windows import MaintenanceWindow, zone_named

DAY = 86_400.0
MIDNIGHT = dt.datetime(2026, 11, 25, tzinfo=dt.timezone.utc).timestamp()
NIGHT = MaintenanceWindow(start="02:00", duration_s=2 * 3600)


def desired(**more: Any) -> Desired:
    return Desired.model_validate(
        {
            "deployment_id": "d1",
            "release": {"name": "faces", "version": "1.0.0"},
            "manifest_sha256": "a" * 64,
            "issued_at": 0,
            **more,
        }
    )


def test_without_windows_and_jitter_everything_is_at_once() -> None:
    """The moment it is asked for."""
    times = Timetable(desired(), SiteTimes())
    assert times.begins_at(5.0, 9.0) == 5.0
    assert times.switches_at(9.0) == 9.0
    assert times.may_download(9.0)
    assert times.max_bytes_per_s is None


def test_jitter_is_the_same_at_each_start_and_differs_between_devices() -> None:
    """It counts from when the device first heard of the deployment, so restarts do not prolong it."""
    order = desired(jitter_s=1000.0)
    begins = {seed: Timetable(order, SiteTimes(seed=seed)).begins_at(100.0, 100.0) for seed in ("d-1", "d-2", "d-3")}
    assert len(set(begins.values())) == 3
    assert all(begin is not None and 100.0 <= begin < 1100.0 for begin in begins.values())
    assert Timetable(order, SiteTimes(seed="d-1")).begins_at(100.0, 900.0) == begins["d-1"]


def test_shares_fill_the_whole_jitter_evenly() -> None:
    """A tenth of many devices begins in each tenth of the time."""
    counts = [0] * 10
    for number in range(2000):
        counts[int(share_of(f"d-{number}/r1") * 10)] += 1
    assert all(140 < count < 260 for count in counts)


def test_devices_that_wait_for_a_window_do_not_begin_together() -> None:
    """The jitter counts from the opening, and ends in the middle of the window."""
    order = desired(jitter_s=DAY, download_windows=[NIGHT])
    begins = [Timetable(order, SiteTimes(seed=f"d-{n}")).begins_at(MIDNIGHT, MIDNIGHT) for n in range(50)]
    hours = [(begin - MIDNIGHT) / 3600 for begin in begins if begin is not None]
    assert len(hours) == 50
    assert 2.0 <= min(hours) < 2.2
    assert 2.8 < max(hours) <= 3.0


def test_a_window_that_passed_while_the_device_was_off_is_followed_by_the_next() -> None:
    """It begins in the next one, and at once when it is open now."""
    times = Timetable(desired(download_windows=[NIGHT]), SiteTimes())
    assert times.begins_at(MIDNIGHT, MIDNIGHT + 12 * 3600) == MIDNIGHT + 26 * 3600
    late = times.begins_at(MIDNIGHT, MIDNIGHT + 3 * 3600)
    assert late is not None
    assert late <= MIDNIGHT + 3 * 3600


def test_the_sites_windows_and_limit_hold_beside_the_fleets() -> None:
    """Both must be open, in the device's own time zone, and the lower limit counts."""
    site = SiteTimes(
        zone=zone_named("Asia/Tokyo"),
        download_windows=(MaintenanceWindow(start="12:00", duration_s=2 * 3600),),
        max_bytes_per_s=50_000,
    )
    fleet = MaintenanceWindow(start="04:00", duration_s=3600, time_zone="UTC")
    times = Timetable(desired(download_windows=[fleet], max_bytes_per_s=80_000), site)
    assert times.begins_at(MIDNIGHT, MIDNIGHT) == MIDNIGHT + 4 * 3600
    assert not times.may_download(MIDNIGHT + 3.5 * 3600)
    assert times.max_bytes_per_s == 50_000


def test_downloading_and_switching_have_windows_of_their_own() -> None:
    """By night it downloads, at noon it switches."""
    noon = MaintenanceWindow(start="12:00", duration_s=3600)
    times = Timetable(desired(download_windows=[NIGHT], install_windows=[noon]), SiteTimes())
    assert times.may_download(MIDNIGHT + 2 * 3600)
    assert times.switches_at(MIDNIGHT + 2 * 3600) == MIDNIGHT + 12 * 3600


def test_a_return_waits_for_nothing() -> None:
    """No window, no jitter; the limit on bytes stays, since others share the line."""
    site = SiteTimes(download_windows=(NIGHT,), install_windows=(NIGHT,), max_bytes_per_s=9000)
    back = desired(rollback=True, jitter_s=DAY, download_windows=[NIGHT], install_windows=[NIGHT])
    times = Timetable(back, site)
    assert times.begins_at(MIDNIGHT, MIDNIGHT) == MIDNIGHT
    assert times.switches_at(MIDNIGHT) == MIDNIGHT
    assert times.max_bytes_per_s == 9000


def test_windows_that_never_meet_are_told() -> None:
    """Neither a beginning nor a switch is ever possible."""
    noon = MaintenanceWindow(start="12:00", duration_s=3600)
    times = Timetable(
        desired(download_windows=[NIGHT], install_windows=[noon]),
        SiteTimes(download_windows=(noon,), install_windows=(NIGHT,)),
    )
    assert times.begins_at(MIDNIGHT, MIDNIGHT) is None
    assert times.switches_at(MIDNIGHT) is None


@pytest.mark.parametrize("piece", [100, 1000, 64_000])
def test_a_throttle_keeps_to_its_rate_whatever_the_pieces(piece: int) -> None:
    """Whoever waits as told reads the rate and one second's worth at most."""
    now = 0.0
    throttle = Throttle(1000.0, lambda: now)
    total = 0
    while now < 1000.0:
        total += piece
        now += throttle.took(piece)
    assert 1000.0 * now <= total <= 1000.0 * (now + 1.0) + piece


def test_a_pause_saves_up_one_second_at_most() -> None:
    """After an hour without a byte, the rate is as it was."""
    now = 0.0
    throttle = Throttle(1000.0, lambda: now)
    throttle.took(1000)
    now = 3600.0
    assert throttle.took(1000) == 0.0
    assert throttle.took(1000) == 1.0
