"""Lines of tegrastats as different boards and releases spell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.power.replay import ReplayedPower, read_recording
from edge.power.tegraline import TegraLine, parse
from mien.errors import ConfigError
from tests.fakes.power_recordings import RECORDED, recorded_lines
from tests.fakes.update_world import FakeClock

MHZ = 1e6


def _parsed(name: str, number: int) -> TegraLine:
    parsed = parse(recorded_lines(name)[number])
    assert parsed is not None
    return parsed


@pytest.mark.parametrize(
    ("board", "number", "total_w", "gpu_percent", "ram_mib", "rails"),
    [
        pytest.param("orin-nano", 0, 12.479, 63, (6185, 7620), 3, id="orin-nano"),
        pytest.param("orin-nano", 1, 4.824, 0, (3452, 7620), 3, id="orin-nano-not-root"),
        pytest.param("orin-nano", 2, 4.548, 12, (974, 7546), 3, id="orin-nano-jetpack-7.2"),
        pytest.param("orin-nx", 0, 5.299, 0, (6334, 15388), 3, id="orin-nx-jetpack-5"),
        pytest.param("orin-nx", 1, 12.673, 7, (6567, 15656), 3, id="orin-nx"),
        pytest.param("orin-nx", 2, 7.280, 0, (2432, 15598), 1, id="orin-nx-jetpack-7.2"),
        pytest.param("agx-orin", 0, 4.788 + 0.798 + 3.842, 0, (1205, 30623), 4, id="agx-orin-memory-rail-is-a-part"),
        pytest.param("agx-orin", 1, 1.592 + 2.624, 0, (10239, 62841), 4, id="agx-orin-offset-counts-as-nothing"),
        pytest.param("agx-orin", 2, 2.412 + 1.607 + 4.607, 0, (18202, 62841), 3, id="agx-orin"),
        pytest.param("agx-orin", 3, 3.205 + 4.405 + 4.767, 0, (29114, 30697), 3, id="agx-orin-wide-gaps"),
        pytest.param("agx-orin", 4, 3.034 + 1.137 + 4.939, 0, (8207, 62878), 3, id="agx-orin-jetpack-7.2"),
        pytest.param("xavier-nx", 0, 4.067, 62, (4412, 7772), 3, id="xavier-nx"),
        pytest.param("xavier-nx", 1, 3.757, 0, (1728, 7763), 3, id="xavier-nx-cores-off"),
        pytest.param("thor", 0, 0 + 4.165 + 4.126, None, (4208, 125773), 3, id="thor-without-input-rail"),
        pytest.param("thor", 1, 19.780, None, (105265, 125772), 4, id="thor-input-rail-is-all"),
        pytest.param("thor", 2, 4.925 + 7.953 + 6.667, None, (9091, 125811), 3, id="thor-jetpack-7.2"),
        pytest.param("thor", 3, 87.426, None, (36529, 125749), 4, id="thor-jetpack-7.2-loaded"),
        pytest.param("older", 0, 0.311 + 0.932 + 0.621 + 1.482, 0, (721, 31927), 6, id="agx-xavier"),
        pytest.param("older", 1, 1.022, 0, (534, 3964), 3, id="nano"),
        pytest.param("older", 2, 3.056, 0, (2344, 7852), 6, id="tx2"),
    ],
)
def test_each_board_is_read(
    board: str, number: int, total_w: float, gpu_percent: float | None, ram_mib: tuple[int, int], rails: int
) -> None:
    """Input power, GPU load, memory and every connected rail come out of every spelling."""
    parsed = _parsed(board, number)
    assert parsed.total_w == pytest.approx(total_w)
    assert parsed.gpu_percent == gpu_percent
    assert (parsed.ram_bytes, parsed.ram_total_bytes) == tuple(mib << 20 for mib in ram_mib)
    assert len(parsed.rails_w) == rails


@pytest.mark.parametrize(
    ("board", "number", "clocks_mhz"),
    [
        ("orin-nano", 0, {"gpu": 621, "cpu": 729, "emc": 2133}),
        ("orin-nano", 1, {"cpu": 1420}),
        ("orin-nx", 0, {"gpu": 611, "cpu": 729, "emc": 2133}),
        ("agx-orin", 0, {"gpu": 114, "cpu": 730, "emc": 204}),
        ("agx-orin", 2, {"gpu": 0, "cpu": 2201, "emc": 2133}),
        ("agx-orin", 3, {"gpu": 305, "cpu": 2201, "emc": 2133}),
        ("xavier-nx", 0, {"gpu": 306, "cpu": 1267, "emc": 1600}),
        ("thor", 1, {"gpu": 314, "cpu": 972, "emc": 2750}),
        ("thor", 3, {"cpu": 972}),
    ],
)
def test_clocks_are_read_where_they_are(board: str, number: int, clocks_mhz: dict[str, float]) -> None:
    """GPU, fastest core and memory in hertz; what a line does not say is absent."""
    assert _parsed(board, number).clocks_hz == {name: mhz * MHZ for name, mhz in clocks_mhz.items()}


def test_one_clock_for_all_cores_is_read() -> None:
    """The older spelling has the clock behind the bracket."""
    parsed = parse("RAM 1/2MB CPU [10%,30%,off]@1510 cpu@40C")
    assert parsed is not None
    assert (parsed.cpu_percent, parsed.clocks_hz) == (20.0, {"cpu": 1510 * MHZ})


def test_sensors_that_measure_nothing_are_left_out() -> None:
    """-256 °C is the kernel's word for "off", and PMIC@100C is a constant."""
    assert set(_parsed("agx-orin", 0).temperature_c) == {"cpu", "tdiode", "soc2", "soc0", "gpu", "soc1"}
    assert "pmic" not in _parsed("xavier-nx", 0).temperature_c


def test_the_first_of_two_temperatures_is_now() -> None:
    """JetPack 7.2 adds the highest so far."""
    assert _parsed("agx-orin", 4).temperature_c["cpu"] == 47.906


def test_cores_that_are_off_do_not_count() -> None:
    """The CPU load is the mean of the cores that are on."""
    assert _parsed("orin-nx", 2).cpu_percent == pytest.approx((55 + 9 + 24 + 64) / 6)


def test_parts_do_not_pass_for_the_whole() -> None:
    """Two rails of a board whose input rail is missing have no total."""
    parsed = parse("RAM 1/2MB cpu@40C VDD_CPU_GPU_CV 518mW/518mW VDD_SOC 1475mW/1475mW")
    assert parsed is not None
    assert (len(parsed.rails_w), parsed.total_w) == (2, None)


@pytest.mark.parametrize("line", ["", "tegrastats: command not found", "# RAM of the world"])
def test_other_text_is_no_line(line: str) -> None:
    """What is no tegrastats line gives nothing."""
    assert parse(line) is None


def test_the_recording_in_configs_has_the_published_mean() -> None:
    """The recording's mean input power is the published 12.49 W that its header names."""
    path = Path(__file__).parents[3] / "configs" / "power" / "orin-nano-replay.log"
    totals = [line.total_w or 0.0 for line in read_recording(path)]
    assert sum(totals) / len(totals) == pytest.approx(12.49, abs=0.01)


def test_a_replay_follows_the_recording_by_time() -> None:
    """Each interval shows the next line, and after the last comes the first."""
    clock = FakeClock()
    source = ReplayedPower(RECORDED / "xavier-nx.txt", interval_s=1.0, clock=clock)
    seen = []
    for _ in range(4):
        seen.append(source.read().total_w)
        clock.now += 1.0
    assert seen == [4.067, 3.757, 4.067, 3.757]


def test_a_file_without_lines_is_refused(tmp_path: Path) -> None:
    """A recording of something else is a fault of configuration."""
    path = tmp_path / "other.log"
    path.write_text("hello\n")
    with pytest.raises(ConfigError, match="no tegrastats line"):
        read_recording(path)
