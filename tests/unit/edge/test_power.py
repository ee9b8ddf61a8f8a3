"""Power sources on files that look like the kernel's, and energy from readings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.power.board import Board
from edge.power.chooser import open_power
from edge.power.energy import energy_j, energy_over, mean_power_w
from edge.power.host import HostLoad
from edge.power.ina3221 import Ina3221
from edge.power.interface import Health, PowerError, PowerSample, health_of
from edge.power.jtop import sample_from
from edge.power.none import NoPower
from edge.power.nvpmodel import PowerMode, mode_in
from edge.power.rapl import Rapl, counted_uj
from edge.power.sampler import PowerSampler
from mien.errors import ConfigError
from tests.fakes.jetson_sysfs import JetsonSysfs, orin_nano
from tests.fakes.update_world import FakeClock

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


def test_a_replay_says_of_each_reading_that_it_is_one(tmp_path: Path) -> None:
    """Hot as it was, the recording's reading says nothing of this machine."""
    recording = tmp_path / "hot.log"
    recording.write_text("RAM 7600/7620MB cpu@99C tj@99C VDD_IN 25000mW/25000mW\n")
    sample = open_power("replay", replay=recording).read()
    assert sample is not None
    assert sample.temperature_c == {"cpu (replay)": 99.0, "tj (replay)": 99.0}
    assert health_of(sample, at_s=sample.at_s) == Health(at_s=sample.at_s)


def test_a_source_asked_for_by_name_is_not_swapped() -> None:
    """A machine without tegrastats says so instead of taking another source."""
    with pytest.raises(PowerError, match="no tegrastats"):
        open_power("tegrastats")


def _rapl(root: Path, *, energy_uj: int, zones: dict[str, str]) -> None:
    for zone, name in zones.items():
        (root / zone).mkdir(parents=True, exist_ok=True)
        (root / zone / "name").write_text(f"{name}\n")
        (root / zone / "energy_uj").write_text(str(energy_uj))
        (root / zone / "max_energy_range_uj").write_text("262143328850")


def test_rapl_is_read_from_its_counters(tmp_path: Path) -> None:
    """Power is the counter's difference over time; parts and wholes of the packages are not added to them."""
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "psys"}
    _rapl(tmp_path, energy_uj=1_000_000, zones=zones)
    source = Rapl(tmp_path, tmp_path)
    _rapl(tmp_path, energy_uj=2_000_000, zones=zones)
    sample = source.read()
    assert sample is not None
    assert set(sample.rails_w) == {"package-0", "psys"}
    assert sample.total_w == sample.rails_w["package-0"]
    assert (sample.total_w or 0) > 0


def test_rapl_that_may_no_longer_be_read_has_gone(tmp_path: Path) -> None:
    """A vanished counter is an error, not zero watts."""
    _rapl(tmp_path, energy_uj=1, zones={"intel-rapl:0": "package-0"})
    source = Rapl(tmp_path, tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(PowerError, match="could not read"):
        source.read()


def test_a_counter_that_wrapped_goes_on() -> None:
    """The counter's range is added once."""
    assert counted_uj(95, 5, 100) == 10


def test_ina3221_multiplies_volts_and_amperes(tmp_path: Path) -> None:
    """Millivolts times milliamperes; sums and unset limits of the kernel are passed over; VDD_IN is the total."""
    sample = Ina3221(orin_nano(tmp_path).root).read()
    assert sample.rails_w == {"VDD_IN": 10.0, "VDD_CPU_GPU_CV": 4.0, "VDD_SOC": 1.5}
    assert (sample.total_w, sample.limits_a) == (10.0, {"VDD_IN": 5.0})
    assert sample.temperature_c == {"cpu": 48.5, "gpu": 47.25, "tj": 51.0}
    assert sample.clocks_hz == {"gpu": 624_750_000.0, "cpu": 1_190_400_000.0}
    assert (sample.gpu_percent, sample.over_current, sample.throttled) == (43.7, False, False)


def test_ina3221_sums_an_agx_orin_without_its_memory_rail(tmp_path: Path) -> None:
    """Two monitors: three supplies side by side; channels that are not connected and the part behind one are not added."""
    sysfs = JetsonSysfs(tmp_path)
    supplies = {1: ("VDD_GPU_SOC", 19800, 200), 2: ("VDD_CPU_CV", 19800, -20), 3: ("VIN_SYS_5V0", 5000, 900)}
    sysfs.monitor("1-0040", 4, {**supplies, 7: ("sum of shunt voltages", 1, 1)})
    sysfs.monitor("1-0041", 5, {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 5000, 120), 3: ("NC", 0, 0)})
    sample = Ina3221(tmp_path).read()
    assert set(sample.rails_w) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    assert sample.total_w == pytest.approx(3.96 + 0.0 + 4.5)


def test_a_thor_is_measured_at_its_carrier(tmp_path: Path) -> None:
    """The INA238's power, in microwatts, is the whole; the module's rails are parts of it."""
    sysfs = JetsonSysfs(tmp_path)
    rails = {1: ("VDD_GPU", 12040, 640), 2: ("VDD_CPU_SOC_MSS", 12040, 960), 3: ("VIN_SYS_5V0", 5088, 1740)}
    sysfs.monitor("2-0040", 5, rails)
    without = Ina3221(tmp_path).read().total_w
    sysfs.hwmon(6, "ina238", in1_label="VIN", power1_input=150_000_000)
    assert without == pytest.approx(7.7056 + 11.5584 + 8.85312)
    assert Ina3221(tmp_path).read().total_w == pytest.approx(150.0)


@pytest.mark.parametrize("how", ["alarm", "current"])
def test_a_rail_above_its_limit_is_an_alarm(tmp_path: Path, how: str) -> None:
    """By the kernel's alarm, or by the current itself."""
    sysfs = orin_nano(tmp_path)
    folder = "bus/i2c/devices/1-0040/hwmon/hwmon3"
    source = Ina3221(tmp_path)
    if how == "alarm":
        sysfs.write(f"{folder}/curr1_crit_alarm", 1)
    else:
        sysfs.write(f"{folder}/curr1_input", 5001)
    sample = source.read()
    assert (sample.over_current, sample.alarms) == (True, ("VDD_IN",))


def test_the_largest_limit_of_a_small_shunt_is_none(tmp_path: Path) -> None:
    """Behind two milliohms an INA3221 without a limit holds 81.9 A."""
    sysfs = orin_nano(tmp_path)
    folder = "bus/i2c/devices/1-0040/hwmon/hwmon3"
    sysfs.write(f"{folder}/shunt1_resistor", 2000)
    sysfs.write(f"{folder}/curr1_crit", 81900)
    assert Ina3221(tmp_path).read().limits_a == {}


def test_monitors_that_fall_silent_are_gone(tmp_path: Path) -> None:
    """No readable rail is an error, not zero watts."""
    sysfs = orin_nano(tmp_path)
    source = Ina3221(tmp_path)
    for channel in (1, 2, 3):
        (sysfs.root / f"bus/i2c/devices/1-0040/hwmon/hwmon3/curr{channel}_input").unlink()
    with pytest.raises(PowerError, match="no rail"):
        source.read()


def test_heat_that_slows_clocks_is_told_from_a_fan(tmp_path: Path) -> None:
    """Alerts and clock limits count, in their order; a fan at work and a hot surface do not."""
    sysfs = JetsonSysfs(tmp_path)
    states = {7: ("pwm-fan", 3), 8: ("cpu-throttle-alert", 0), 2: ("hot-surface-alert", 1), 10: ("cpufreq-cpu0", 4)}
    for number, (kind, state) in (states | {9: ("devfreq-17000000.gpu", 1)}).items():
        sysfs.cooling(number, kind, state)
    assert Board(tmp_path).look().throttled_by == ("devfreq-17000000.gpu", "cpufreq-cpu0")


def test_over_current_events_count_from_the_last_look(tmp_path: Path) -> None:
    """Counters that stand high since boot are no news; a rise is, once."""
    sysfs = JetsonSysfs(tmp_path)
    folder = sysfs.hwmon(3, "soctherm_oc", oc1_event_cnt=0, oc2_event_cnt=15, oc3_event_cnt=37)
    board = Board(tmp_path)
    seen = [board.look().over_current_by]
    sysfs.write(f"{folder}/oc3_event_cnt", 38)
    seen += [board.look().over_current_by, board.look().over_current_by]
    assert seen == [(), ("oc3",), ()]


def test_the_fan_is_read_from_two_monitors(tmp_path: Path) -> None:
    """One drives it, another counts its turns; their numbers change between boots."""
    sysfs = JetsonSysfs(tmp_path)
    sysfs.hwmon(4, "pwmfan", pwm1=51)
    sysfs.hwmon(2, "pwm_tach", rpm=1786)
    state = Board(tmp_path).look()
    assert (state.fan_percent, state.fan_rpm) == (pytest.approx(20.0), 1786)


def test_the_memory_clock_is_read_where_this_user_may(tmp_path: Path) -> None:
    """In hertz, from the firmware's debug files; a Thor's GPU goes by another name."""
    sysfs = JetsonSysfs(tmp_path)
    sysfs.write("kernel/debug/bpmp/debug/clk/emc/rate", 3_199_000_000)
    sysfs.gpu(load_percent=10, hz=1_575_000_000, name="gpu-gpc-0")
    assert Board(tmp_path).look().clocks_hz == {"gpu": 1_575_000_000.0, "emc": 3_199_000_000.0}


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("NV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_15W_6CORE\n2\n", "MODE_15W_6CORE"),
        ("NV Power Mode: 120W\n1\n", "120W"),
        ("NVPM ERROR: failed to read PARAM\n", None),
    ],
)
def test_a_power_mode_is_a_name(answer: str, name: str | None) -> None:
    """Its number is another mode on another board."""
    assert mode_in(answer) == name


def test_nvpmodel_is_asked_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mode that changed shows after a minute at most."""
    program = tmp_path / "nvpmodel"
    program.write_text(f'#!/bin/sh\nread -r mode < {tmp_path}/mode\necho "NV Power Mode: $mode"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    clock = FakeClock()
    mode = PowerMode(clock)
    seen = []
    for name, seconds in (("25W", 0), ("MAXN_SUPER", 30), ("MAXN_SUPER", 31)):
        (tmp_path / "mode").write_text(f"{name}\n")
        clock.now += seconds
        seen.append(mode.name())
    assert seen == ["25W", "25W", "MAXN_SUPER"]


def test_a_machine_without_power_still_has_its_heat(tmp_path: Path) -> None:
    """The source says none and gives no watts; what the kernel says stays."""
    assert NoPower(tmp_path).read() is None
    JetsonSysfs(tmp_path).zone(0, "x86_pkg_temp", 61000)
    sample = NoPower(tmp_path).read()
    assert sample is not None
    assert (sample.total_w, sample.rails_w, sample.temperature_c) == (None, {}, {"x86_pkg_temp": 61.0})


def _jetson(**more: Any) -> SimpleNamespace:
    """A report with the shapes that jetson-stats 7.2.2 gave in a live run."""
    rail = {"volt": 5000, "curr": 300, "warn": 32760, "crit": 32760, "power": 1592, "avg": 1600, "online": True}
    report = {
        "power": {"rail": {"VDD_SOC": rail}, "tot": {**rail, "name": "VDD_IN", "power": 7735, "crit": 5000}},
        "temperature": {"cpu": {"temp": 48.5, "online": True}, "cv0": {"temp": -256, "online": False}},
        "gpu": {"gpu": {"status": {"load": 43.7}, "freq": {"cur": 624_750}}},
        "memory": {"RAM": {"used": 1024, "tot": 4096}, "EMC": {"cur": 2_133_000}},
        "cpu": {"total": {"idle": 75.0}, "cpu": [{"online": True, "freq": {"cur": 1_190_400}}, {"online": False}]},
        "fan": {"pwmfan": {"speed": [20.0], "rpm": [1786]}},
        "nvpmodel": SimpleNamespace(name="MAXN_SUPER", id=2),
    }
    return SimpleNamespace(**{**report, **more})


def test_jtop_figures_are_converted() -> None:
    """Milli- and kilo-units become plain ones; an offline sensor and a limit that was not set are left out."""
    sample = sample_from(_jetson(), at_s=1.0)
    assert (sample.total_w, sample.rails_w) == (7.735, {"VDD_SOC": 1.592, "VDD_IN": 7.735})
    assert (sample.limits_a, sample.over_current) == ({"VDD_IN": 5.0}, False)
    assert (sample.temperature_c, sample.gpu_percent, sample.cpu_percent) == ({"cpu": 48.5}, 43.7, 25.0)
    assert sample.clocks_hz == {"gpu": 624.75e6, "cpu": 1190.4e6, "emc": 2133e6}
    assert (sample.ram_bytes, sample.ram_total_bytes) == (1 << 20, 4 << 20)
    assert (sample.fan_percent, sample.fan_rpm, sample.nvpmodel) == (20.0, 1786.0, "MAXN_SUPER")


def test_jtop_total_of_an_agx_orin_is_not_the_librarys() -> None:
    """The library adds all rails up, the memory rail behind VIN_SYS_5V0 too."""
    watts = {"VDD_GPU_SOC": 4788, "VDD_CPU_CV": 798, "VIN_SYS_5V0": 3842, "VDDQ_VDD2_1V8AO": 707}
    power = {
        "rail": {name: {"power": watt, "online": True} for name, watt in watts.items()},
        "tot": {"power": sum(watts.values())},
    }
    assert sample_from(_jetson(power=power), at_s=1.0).total_w == pytest.approx(9.428)


def test_jtop_tells_a_rail_above_its_limit() -> None:
    """The current against the limit of the same report."""
    power = {"rail": {}, "tot": {"name": "VDD_IN", "power": 26000, "curr": 5200, "crit": 5000, "online": True}}
    sample = sample_from(_jetson(power=power), at_s=1.0)
    assert (sample.over_current, sample.alarms) == (True, ("VDD_IN",))


def test_a_board_that_jtop_knows_little_of_is_read() -> None:
    """No rails, loads, fans or modes: absent, not zero."""
    bare = _jetson(power={"rail": {}, "tot": {"power": 0}}, gpu={}, memory={}, cpu={}, fan={}, nvpmodel=None)
    sample = sample_from(bare, at_s=1.0)
    assert (sample.total_w, sample.rails_w, sample.gpu_percent, sample.ram_bytes) == (None, {}, None, None)
    assert (sample.clocks_hz, sample.fan_percent, sample.nvpmodel) == ({}, None, None)


def test_health_is_what_a_limits_policy_needs() -> None:
    """The hottest sensor of the board itself; a disk and a constant do not count."""
    temperatures = {"tj": 71.0, "gpu": 69.0, "nvme Composite": 84.0, "PMIC-Die": 100.0}
    sample = PowerSample(
        at_s=1.0, total_w=12.0, temperature_c=temperatures, ram_bytes=3, ram_total_bytes=4, throttled=True
    )
    health = health_of(sample, at_s=2.0)
    assert health == Health(at_s=2.0, hottest_c=71.0, throttled=True, memory_free=0.25, total_w=12.0)
    assert health_of(sample, at_s=2.0, memory_free=0.5).memory_free == 0.5


def test_a_recording_decides_nothing() -> None:
    """Whatever a replayed board was, hot, throttled, over-current or short of memory: only this machine's memory counts."""
    sample = PowerSample(
        at_s=1.0,
        total_w=60.0,
        temperature_c={"tj": 99.0},
        ram_bytes=99,
        ram_total_bytes=100,
        throttled=True,
        over_current=True,
        is_replayed=True,
    )
    assert health_of(sample, at_s=2.0, memory_free=0.5) == Health(at_s=2.0, memory_free=0.5)
    assert health_of(sample, at_s=2.0) == Health(at_s=2.0)


def test_no_reading_is_no_heat() -> None:
    """Without a recent reading only the memory is known."""
    assert health_of(None, at_s=2.0, memory_free=0.5) == Health(at_s=2.0, memory_free=0.5)


class _Scripted:
    """A source that gives one watt more each time, under a name that can change."""

    name = "jtop"

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.reads = 0

    def read(self) -> PowerSample:
        self.reads += 1
        self._clock.now += 1.0
        return PowerSample(
            at_s=self._clock.now,
            total_w=float(self.reads),
            temperature_c={"tj": 60.0},
            over_current=self.reads == 2,
        )

    def close(self) -> None:
        self.reads = 0


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen")


def test_readings_of_two_sources_are_kept_apart() -> None:
    """When the source changes, the old one's readings go: no window adds both up."""
    source = _Scripted(FakeClock())
    sampler = PowerSampler(source, interval_s=0.02)
    sampler.start()
    _until(lambda: source.reads > 5)
    source.name, changed_at = "ina3221", source.reads
    _until(lambda: sampler.name == "ina3221" and source.reads > changed_at + 3)
    watts = [sample.total_w for sample in sampler.since(0.0)]
    sampler.close()
    assert watts[0] is not None
    assert watts[0] >= changed_at


def _sampled(readings: int) -> tuple[PowerSampler, FakeClock]:
    """A sampler that has stopped after some readings, a second apart, and its clock."""
    clock = FakeClock()
    source = _Scripted(clock)
    sampler = PowerSampler(source, interval_s=0.001, clock=clock)
    sampler.start()
    _until(lambda: source.reads >= readings)
    sampler.close()
    newest = sampler.newest()
    assert newest is not None
    clock.now = newest.at_s
    return sampler, clock


def test_an_old_reading_says_nothing_of_now() -> None:
    """Health forgets a temperature that nobody has read for a while."""
    sampler, clock = _sampled(3)
    assert sampler.health().hottest_c == 60.0
    clock.now += 60
    assert sampler.health().hottest_c is None


def test_an_event_of_one_reading_is_not_missed() -> None:
    """A policy that looks less often still sees it, for some seconds."""
    sampler, clock = _sampled(3)
    newest = sampler.newest()
    assert newest is not None
    assert (newest.over_current, sampler.health().over_current) == (False, True)
    clock.now += 60
    assert not sampler.health().over_current


class _Faulty(_Scripted):
    """A source whose first two reads fail as none should, and whose sensor of heat is broken."""

    def read(self) -> PowerSample:
        sample = super().read()
        if self.reads <= 2:
            raise KeyError("tj")
        return replace(sample, temperature_c={"tj": math.nan, "cpu": 55.0}, fan_percent=101.0)


def test_a_fault_of_a_source_does_not_end_the_reading(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, and the next readings come."""
    events: list[tuple[str, str, str]] = []
    source = _Faulty(FakeClock())
    sampler = PowerSampler(source, interval_s=0.001, tell=lambda *event: events.append(event))
    sampler.start()
    _until(lambda: sampler.newest() is not None)
    sampler.close()
    assert [(kind, severity) for kind, severity, _ in events] == [("thread_failed", "error")]
    assert caplog.text.count("Traceback") == 1


def test_a_broken_sensor_hides_no_other() -> None:
    """The hottest that is known is the hottest, and a fan beyond its full rate is at it."""
    clock = FakeClock()
    sampler = PowerSampler(_Faulty(clock), interval_s=0.001, clock=clock)
    sampler.start()
    _until(lambda: sampler.newest() is not None)
    sampler.close()
    newest = sampler.newest()
    assert newest is not None
    clock.now = newest.at_s
    assert (newest.temperature_c, newest.fan_percent) == ({"cpu": 55.0}, 100.0)
    assert sampler.health().hottest_c == 55.0


def test_host_load_is_the_share_of_busy_ticks(tmp_path: Path) -> None:
    """25 of 100 new ticks were busy."""
    stat, meminfo = tmp_path / "stat", tmp_path / "meminfo"
    stat.write_text("cpu  100 0 0 100 0 0 0 0 0 0\n")
    meminfo.write_text("MemTotal: 1000 kB\nMemAvailable: 400 kB\n")
    load = HostLoad(stat, meminfo)
    stat.write_text("cpu  120 0 5 170 5 0 0 0 0 0\n")
    assert load.cpu_percent() == pytest.approx(25.0)
    assert load.ram_bytes() == 600 * 1024
    assert load.memory_free() == pytest.approx(0.4)
