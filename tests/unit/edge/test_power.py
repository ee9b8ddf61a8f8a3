"""Power sources on files that look like the kernel's, and energy from readings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.power.chooser import open_power
from edge.power.energy import energy_j, energy_over, mean_power_w
from edge.power.host import HostLoad
from edge.power.ina3221 import Ina3221
from edge.power.interface import PowerError, PowerSample
from edge.power.jtop import sample_from
from edge.power.rapl import Rapl, counted_uj
from mien.errors import ConfigError

_WATTS = st.floats(min_value=0, max_value=200, allow_nan=False)
_GAPS = st.floats(min_value=0.01, max_value=20)


def _samples(gaps: list[float], watts: list[float]) -> list[PowerSample]:
    at_s, samples = 0.0, []
    for gap, total_w in zip(gaps, watts, strict=False):
        at_s += gap
        samples.append(PowerSample(at_s=at_s, total_w=total_w))
    return samples


@given(st.lists(_GAPS, min_size=2, max_size=30), st.floats(min_value=0.1, max_value=100))
def test_constant_power_gives_power_times_time(gaps: list[float], watts: float) -> None:
    """Whatever the spacing of the readings, constant power integrates exactly."""
    samples = _samples(gaps, [watts] * len(gaps))
    seconds = samples[-1].at_s - samples[0].at_s
    assert energy_j(samples) == pytest.approx(watts * seconds)
    assert mean_power_w(samples) == pytest.approx(watts)


@given(st.lists(st.tuples(_GAPS, _WATTS), min_size=2, max_size=30))
def test_energy_lies_between_least_and_most_power(readings: list[tuple[float, float]]) -> None:
    """The trapezoid never leaves the range of what was read."""
    samples = _samples([gap for gap, _ in readings], [watts for _, watts in readings])
    seconds = samples[-1].at_s - samples[0].at_s
    watts = [sample.total_w or 0.0 for sample in samples]
    energy = energy_j(samples)
    assert energy is not None
    assert min(watts) * seconds - 1e-6 <= energy <= max(watts) * seconds + 1e-6


@given(st.lists(st.tuples(_GAPS, _WATTS), min_size=3, max_size=20), st.integers(min_value=1, max_value=18))
def test_windows_that_share_a_reading_add_up(readings: list[tuple[float, float]], cut: int) -> None:
    """Cutting at a reading loses and doubles nothing."""
    samples = _samples([gap for gap, _ in readings], [watts for _, watts in readings])
    cut = min(cut, len(samples) - 2)
    parts = (energy_j(samples[: cut + 1]) or 0.0) + (energy_j(samples[cut:]) or 0.0)
    assert parts == pytest.approx(energy_j(samples))


def test_no_reading_is_no_energy_rather_than_zero() -> None:
    """What was not measured is absent."""
    assert energy_over([], 10.0) is None
    assert energy_over([PowerSample(at_s=1.0)], 10.0) is None


def test_a_long_gap_is_not_bridged() -> None:
    """An hour without readings adds nothing."""
    samples = [PowerSample(at_s=at_s, total_w=10.0) for at_s in (0.0, 1.0, 3600.0, 3601.0)]
    assert energy_j(samples) == pytest.approx(20.0)


def test_a_single_reading_stands_for_its_window() -> None:
    """One reading in a short window is its mean power."""
    assert energy_over([PowerSample(at_s=1.0, total_w=12.0)], 0.5) == pytest.approx(6.0)


def test_an_unknown_source_is_refused_with_the_valid_names() -> None:
    """The error lists what there is."""
    with pytest.raises(ConfigError, match="tegrastats"):
        open_power("watts")


def test_a_replay_needs_a_recording() -> None:
    """Asked for by name without a file, replay is a fault of configuration."""
    with pytest.raises(ConfigError, match="needs a recording"):
        open_power("replay")


def test_a_source_asked_for_by_name_is_not_swapped() -> None:
    """A machine without tegrastats says so instead of taking another source."""
    with pytest.raises(PowerError, match="no tegrastats"):
        open_power("tegrastats")


def test_rapl_is_read_from_its_counters(tmp_path: Path) -> None:
    """Power is the counter's difference over time; sub-zones are not counted twice."""
    for zone in ("intel-rapl:0", "intel-rapl:0:0"):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text("1000000")
        (tmp_path / zone / "max_energy_range_uj").write_text("262143328850")
    source = Rapl(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("2000000")
    sample = source.read()
    assert sample is not None
    assert sample.total_w is not None
    assert sample.total_w > 0
    assert list(sample.rails_w) == ["package-0"]


def test_a_counter_that_wrapped_goes_on() -> None:
    """The counter's range is added once."""
    assert counted_uj(95, 5, 100) == 10


def test_ina3221_multiplies_volts_and_amperes(tmp_path: Path) -> None:
    """Millivolts times milliamperes; the channel that is not connected is left out; VDD_IN is the total."""
    folder = tmp_path / "1-0040" / "hwmon" / "hwmon3"
    folder.mkdir(parents=True)
    for channel, label, millivolt, milliampere in (
        (1, "VDD_IN", 5000, 2000),
        (2, "NC", 1, 1),
        (3, "VDD_SOC", 5000, 500),
    ):
        (folder / f"in{channel}_label").write_text(f"{label}\n")
        (folder / f"in{channel}_input").write_text(str(millivolt))
        (folder / f"curr{channel}_input").write_text(str(milliampere))
    (folder / "curr1_crit_alarm").write_text("1")
    sample = Ina3221(tmp_path, tmp_path).read()
    assert sample.rails_w == {"VDD_IN": 10.0, "VDD_SOC": 2.5}
    assert (sample.total_w, sample.over_current) == (10.0, True)


def test_jtop_figures_are_converted() -> None:
    """Milliwatts and kilobytes become watts and bytes; an offline sensor is left out."""
    sample = sample_from(
        {"rail": {"VDD_SOC": {"power": 1592, "curr": 300, "crit": 0, "online": True}}, "tot": {"power": 7735}},
        {"cpu": {"temp": 48.5, "online": True}, "cv0": {"temp": -256, "online": False}},
        {"gpu": {"status": {"load": 43.7}}},
        {"RAM": {"used": 1024}},
        at_s=1.0,
    )
    assert (sample.total_w, sample.rails_w, sample.gpu_percent) == (7.735, {"VDD_SOC": 1.592}, 43.7)
    assert (sample.temperature_c, sample.ram_bytes) == ({"cpu": 48.5}, 1 << 20)


def test_host_load_is_the_share_of_busy_ticks(tmp_path: Path) -> None:
    """25 of 100 new ticks were busy."""
    stat, meminfo = tmp_path / "stat", tmp_path / "meminfo"
    stat.write_text("cpu  100 0 0 100 0 0 0 0 0 0\n")
    meminfo.write_text("MemTotal: 1000 kB\nMemAvailable: 400 kB\n")
    load = HostLoad(stat, meminfo)
    stat.write_text("cpu  120 0 5 170 5 0 0 0 0 0\n")
    assert load.cpu_percent() == pytest.approx(25.0)
    assert load.ram_bytes() == 600 * 1024
