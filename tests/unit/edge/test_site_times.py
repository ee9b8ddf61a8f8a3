"""What a site's settings for updates mean on its machine."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from edge.config import EdgeSettings
from edge.update.site import own_zone, site_times
from mien.config import settings_from
from mien.errors import ConfigError

NIGHT = {"start": "02:00", "duration_s": 3600}


def settings(**updates: object) -> EdgeSettings:
    return settings_from(EdgeSettings, {"updates": updates}, source="the test")


def test_windows_and_limit_are_taken_over() -> None:
    """In the time zone that the site names."""
    found = site_times(
        settings(time_zone="Asia/Tokyo", install_windows=[NIGHT], max_bytes_per_s=50_000).updates, seed="cam-1"
    )
    assert found.zone.utcoffset(dt.datetime(2026, 1, 1)) == dt.timedelta(hours=9)  # noqa: DTZ001 - asked of a zone
    assert (found.seed, found.max_bytes_per_s, found.download_windows) == ("cam-1", 50_000, ())
    assert found.install_windows[0].start == "02:00"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"time_zone": "Europe/Atlantis"}, "Europe/Atlantis"),
        ({"install_windows": [{**NIGHT, "time_zone": "Moon/Tycho"}]}, "Moon/Tycho"),
        ({"download_windows": [{"start": "26:00", "duration_s": 60}]}, "start"),
        ({"max_bytes_per_s": 10}, "1024"),
        ({"instal_windows": []}, "did you mean install_windows"),
    ],
)
def test_settings_that_cannot_be_kept_do_not_load(wrong: dict[str, object], said: str) -> None:
    """A misspelt zone would open a window at another time than the site means."""
    with pytest.raises(ConfigError, match=said):
        settings(**wrong)


def test_a_machine_without_a_time_zone_is_on_utc(tmp_path: Path) -> None:
    """No file, or one that is no zone."""
    damaged = tmp_path / "localtime"
    damaged.write_bytes(b"no zone")
    assert own_zone(tmp_path / "none") is dt.timezone.utc
    assert own_zone(damaged) is dt.timezone.utc


def test_a_machines_own_zone_knows_its_changes_of_clocks() -> None:
    """Read from the zone file itself, summer and winter."""
    berlin = own_zone(Path("/usr/share/zoneinfo/Europe/Berlin"))
    offsets = {dt.datetime(2026, month, 1, tzinfo=berlin).utcoffset() for month in (1, 7)}
    assert offsets == {dt.timedelta(hours=1), dt.timedelta(hours=2)}
