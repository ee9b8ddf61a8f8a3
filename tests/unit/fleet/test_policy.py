"""Rollout policies: what is refused, and with what words."""

from pathlib import Path

import pytest

from fleet.rollouts.policy import RolloutPolicy, find_policy, policies_folder
from mien.config import settings_from
from mien.errors import ConfigError
from mien.messages import ProbePolicy

SHIPPED = sorted(policies_folder().glob("*.yaml"))


def refused(**values):
    with pytest.raises(ConfigError) as caught:
        settings_from(RolloutPolicy, values, source="policy")
    return "\n".join(caught.value.faults)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_policy_that_comes_with_mien_is_read(path: Path):
    """And is named as its file is, and ends with all devices."""
    policy = find_policy(path.stem, path.parent)
    assert policy.name == path.stem
    assert policy.waves[-1].percent == 100


def test_all_faults_are_told_at_once():
    """Three mistakes, three lines, with the nearest names."""
    told = refused(waves=[{"name": "a", "percnt": 5}], sucess_threshold=1, error_threshold=2)
    assert "did you mean percent" in told
    assert "did you mean success_threshold" in told
    assert "error_threshold" in told


def test_a_wave_chooses_in_one_way():
    """Count and percent together would leave it open which counts."""
    assert "exactly one of count, percent, labels" in refused(waves=[{"name": "a", "count": 1, "percent": 5}])


def test_percentages_are_cumulative():
    """A falling share is a misunderstanding."""
    assert "must rise" in refused(waves=[{"name": "a", "percent": 50}, {"name": "b", "percent": 10}])


def test_waves_have_different_names():
    """Reasons and pages name a wave."""
    assert "share a name" in refused(waves=[{"name": "a", "count": 1}, {"name": "a", "percent": 100}])


def test_an_unknown_name_lists_the_known_ones():
    """A typing error is answered with what was probably meant."""
    with pytest.raises(ConfigError) as caught:
        find_policy("cannary", policies_folder())
    assert "canary" in caught.value.wanted


def test_the_probe_settings_are_the_messages():
    """Both have the same fields and defaults, so nothing is lost on the way to the device."""
    assert RolloutPolicy(waves=[{"name": "a", "count": 1}]).probe.message() == ProbePolicy()


@pytest.mark.parametrize("name", ["windows", "download_windows", "install_windows"])
def test_a_time_zone_that_nobody_knows_is_refused(name):
    """Here and not by each device."""
    window = {"start": "22:00", "duration_s": 3600, "time_zone": "Europe/Berlinn"}
    assert "Berlinn" in refused(waves=[{"name": "all", "percent": 100}], **{name: [window]})
