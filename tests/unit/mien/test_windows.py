"""Maintenance windows: when they open, on the days when clocks are moved as on all others."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mien.errors import ConfigError
from mien.messages import Desired
from mien.windows import (
    DAYS,
    MaintenanceWindow,
    closes_at,
    common_closing,
    is_open,
    next_common_opening,
    next_opening,
    zone_named,
)

BERLIN = zone_named("Europe/Berlin")
NIGHT = MaintenanceWindow(start="02:30", duration_s=3600)


def at(text, zone=BERLIN, fold=0):
    """Unix seconds of a local time."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def local(moment, zone=BERLIN):
    """A moment as the clock on the wall shows it."""
    return dt.datetime.fromtimestamp(moment, zone).strftime("%a %d %H:%M")


@pytest.mark.parametrize(
    ("clock", "expected"),
    [("02:29:59", False), ("02:30:00", True), ("03:29:59", True), ("03:30:00", False), ("14:00:00", False)],
)
def test_a_window_is_open_from_its_start_to_its_end(clock, expected):
    """The first second belongs to it, the last one does not."""
    assert is_open([NIGHT], at(f"2026-11-25T{clock}"), BERLIN) is expected


def test_no_window_means_always():
    """Nobody set one: open, and it never closes."""
    assert is_open([], 0.0, BERLIN)
    assert next_opening([], 5.0, BERLIN) == 5.0
    assert common_closing([[], []], 5.0, BERLIN) is None


def test_the_next_opening_is_on_one_of_its_days():
    """On a Wednesday, a window for Saturdays opens in three days."""
    saturday = MaintenanceWindow(days=("sat",), start="22:00", duration_s=60)
    assert local(next_opening([saturday], at("2026-11-25T12:00"), BERLIN)) == "Sat 28 22:00"


def test_a_window_over_midnight_and_days_belongs_to_the_day_it_began_on():
    """Friday evening for 60 hours is open on Monday morning, and closes then."""
    weekend = MaintenanceWindow(days=("fri",), start="20:00", duration_s=60 * 3600)
    monday = at("2026-11-30T07:59")
    assert is_open([weekend], monday, BERLIN)
    assert local(closes_at([weekend], monday, BERLIN)) == "Mon 30 08:00"


def test_a_time_that_is_skipped_in_spring_comes_as_before_the_change():
    """02:30 does not exist on 29 March 2026: the window opens when 02:30 would have been, and lasts its hour."""
    opening = next_opening([NIGHT], at("2026-03-29T00:00"), BERLIN)
    assert local(opening) == "Sun 29 03:30"
    assert closes_at([NIGHT], opening, BERLIN) - opening == 3600


def test_a_time_that_comes_twice_in_autumn_opens_once():
    """02:30 comes twice on 25 October 2026: the first one opens the window, the second is after its end."""
    first, second = at("2026-10-25T02:30"), at("2026-10-25T02:30", fold=1)
    assert second - first == 3600
    assert next_opening([NIGHT], at("2026-10-25T00:00"), BERLIN) == first
    assert is_open([NIGHT], first, BERLIN)
    assert not is_open([NIGHT], second, BERLIN)


def test_a_window_is_kept_at_its_local_time_over_the_change():
    """The day after the clocks were moved it opens at the same time on the wall, 23 hours later."""
    noon = MaintenanceWindow(start="12:00", duration_s=60)
    before = next_opening([noon], at("2026-03-28T00:00"), BERLIN)
    assert next_opening([noon], before + 120, BERLIN) - before == 23 * 3600


def test_each_window_has_its_own_time_zone():
    """Without one it is the device's; 09:00 in Tokyo is one in the morning in Berlin's winter."""
    tokyo = MaintenanceWindow(start="09:00", duration_s=60, time_zone="Asia/Tokyo")
    here = MaintenanceWindow(start="09:00", duration_s=60)
    noon = at("2026-11-24T12:00")
    assert local(next_opening([tokyo], noon, BERLIN)) == "Wed 25 01:00"
    assert local(next_opening([here], noon, BERLIN)) == "Wed 25 09:00"


def test_a_fleets_and_a_sites_windows_hold_both():
    """The stricter wins: what counts is when both are open, and the first that closes."""
    fleet = [MaintenanceWindow(start="01:00", duration_s=4 * 3600)]
    site = [MaintenanceWindow(days=("thu",), start="03:00", duration_s=6 * 3600)]
    opening = next_common_opening([fleet, site], at("2026-11-25T12:00"), BERLIN)
    assert local(opening) == "Thu 26 03:00"
    assert local(common_closing([fleet, site], opening, BERLIN)) == "Thu 26 05:00"


def test_windows_that_never_meet_are_known():
    """Mornings and evenings have nothing in common."""
    sets = [[MaintenanceWindow(start="06:00", duration_s=3600)], [MaintenanceWindow(start="18:00", duration_s=3600)]]
    assert next_common_opening(sets, at("2026-11-25T12:00"), BERLIN) is None


@given(
    st.integers(0, 2_000_000_000),
    st.lists(
        st.builds(
            MaintenanceWindow,
            days=st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True).map(tuple),
            start=st.times().map(lambda clock: clock.strftime("%H:%M")),
            duration_s=st.integers(60, 7 * 86_400),
            time_zone=st.sampled_from([None, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_the_next_opening_is_open_and_the_moment_before_is_not(now, windows):
    """Whatever the windows, zones and seasons: it is the first moment from now on that is open."""
    opening = next_opening(windows, now, BERLIN)
    assert opening >= now
    assert is_open(windows, opening, BERLIN)
    if opening > now:
        assert not is_open(windows, opening - 1, BERLIN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "24:00", "duration_s": 60},
        {"start": "2:00", "duration_s": 60},
        {"start": "02:00", "duration_s": 0},
        {"start": "02:00", "duration_s": 8 * 86_400},
        {"start": "02:00", "duration_s": 60, "days": []},
        {"start": "02:00", "duration_s": 60, "days": ["mon", "mon"]},
        {"start": "02:00", "duration_s": 60, "time_zone": "../etc/passwd"},
    ],
)
def test_what_is_no_window_is_refused(wrong):
    """Times, lengths, days and names that cannot be meant."""
    with pytest.raises(ValidationError):
        MaintenanceWindow.model_validate(wrong)


def test_an_unknown_time_zone_is_named():
    """The name has the right form and no zone has it."""
    window = MaintenanceWindow(start="02:00", duration_s=60, time_zone="Europe/Atlantis")
    with pytest.raises(ConfigError, match="Atlantis"):
        is_open([window], 0.0, BERLIN)


def test_an_order_without_windows_is_read_as_before():
    """The fields are new: what an older fleet sends means no windows, no limit and no jitter."""
    old = {
        "deployment_id": "d",
        "release": {"name": "faces", "version": "1.0.0"},
        "manifest_sha256": "a" * 64,
        "issued_at": 0,
    }
    desired = Desired.model_validate(old)
    assert (desired.download_windows, desired.install_windows) == ((), ())
    assert (desired.max_bytes_per_s, desired.jitter_s) == (None, 0.0)
    more = Desired.model_validate({**old, "install_windows": [{"start": "02:00", "duration_s": 60}]})
    assert more.install_windows[0].days == DAYS
