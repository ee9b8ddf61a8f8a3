"""Lines of tegrastats as different boards and releases spell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.power.replay import ReplayedPower, read_recording
from edge.power.tegrastats import parse
from mien.errors import ConfigError
from tests.fakes.update_world import FakeClock

ORIN_NANO = (
    "04-14-2026 22:31:59 RAM 2464/7620MB (lfb 4x4MB) SWAP 0/3810MB (cached 0MB) CPU [29%@1728,18%@1728,off,off,28%@1728,"
    "25%@1728] EMC_FREQ 18%@3199 GR3D_FREQ 85%@[1020] NVDEC off cpu@49.531C soc2@47.931C tj@50.731C cv0@-256C "
    "VDD_IN 12436mW/12489mW VDD_CPU_GPU_CV 5955mW/5955mW VDD_SOC 2620mW/2620mW"
)
ORIN_AGX = (
    "RAM 3040/30536MB (lfb 5x4MB) CPU [1%@729,0%@729] GR3D_FREQ 0% cpu@47.062C tj@48.5C VDD_GPU_SOC 3205mW/3205mW "
    "VDD_CPU_CV 801mW/801mW VIN_SYS_5V0 4525mW/4525mW NC 0mW/0mW VDDQ_VDD2_1V8AO 604mW/604mW"
)
XAVIER_AGX = (
    "RAM 2722/31927MB (lfb 6877x4MB) SWAP 0/15963MB (cached 0MB) CPU [2%@1190,0%@1190] EMC_FREQ 0% GR3D_FREQ 12% "
    "AO@35.5C GPU@35.5C Tdiode@38.75C PMIC@100C AUX@35.5C CPU@37C thermal@35.8C GPU 0/0 CPU 311/311 SOC 778/778 CV 0/0 "
    "VDDRQ 155/155 SYS5V 1461/1461"
)
NANO = (
    "RAM 1384/3956MB (lfb 3x2MB) IRAM 0/252kB(lfb 252kB) CPU [10%@1479,8%@1479] GR3D_FREQ 99%@921 PLL@39C CPU@42.5C "
    "POM_5V_IN 5424/5424 POM_5V_GPU 1890/1890 POM_5V_CPU 890/890"
)
THOR = (
    "RAM 6010/125771MB (lfb 26x4MB) CPU [0%@972,1%@972] GR3D_FREQ @[1575,1575,1575] cpu@41.2C tj@42C "
    "VDD_GPU 4400mW/4400mW VDD_CPU_SOC_MSS 7600mW/7600mW VIN_SYS_5V0 5100mW/5100mW VIN 23500mW/23500mW"
)


@pytest.mark.parametrize(
    ("line", "total_w", "gpu_percent", "ram_mib"),
    [
        pytest.param(ORIN_NANO, 12.436, 85.0, 2464, id="orin-nano"),
        pytest.param(ORIN_AGX, 9.135, 0.0, 3040, id="orin-agx-sums-its-rails"),
        pytest.param(XAVIER_AGX, 2.705, 12.0, 2722, id="xavier-agx-sums-its-rails"),
        pytest.param(NANO, 5.424, 99.0, 1384, id="nano-jetpack-4"),
        pytest.param(THOR, 23.5, None, 6010, id="thor-has-no-gpu-load"),
    ],
)
def test_each_board_is_read(line: str, total_w: float, gpu_percent: float | None, ram_mib: int) -> None:
    """Input power, GPU load and memory come out of every spelling."""
    parsed = parse(line)
    assert parsed is not None
    assert parsed.total_w == pytest.approx(total_w)
    assert (parsed.gpu_percent, parsed.ram_bytes) == (gpu_percent, ram_mib << 20)


def test_an_offline_sensor_is_left_out() -> None:
    """-256 °C is the kernel's word for "off", not a temperature."""
    parsed = parse(ORIN_NANO)
    assert parsed is not None
    assert parsed.temperature_c == {"cpu": 49.531, "soc2": 47.931, "tj": 50.731}


def test_cores_that_are_off_do_not_count() -> None:
    """The CPU load is the mean of the cores that are on."""
    parsed = parse(ORIN_NANO)
    assert parsed is not None
    assert parsed.cpu_percent == pytest.approx(25.0)


@pytest.mark.parametrize("line", ["", "tegrastats: command not found", "# RAM of the world"])
def test_other_text_is_no_line(line: str) -> None:
    """What is no tegrastats line gives nothing."""
    assert parse(line) is None


def test_the_recording_in_configs_has_the_published_mean() -> None:
    """The recording's mean input power is the published 12.49 W that its header names."""
    path = Path(__file__).parents[3] / "configs" / "power" / "orin-nano-replay.log"
    totals = [line.total_w or 0.0 for line in read_recording(path)]
    assert sum(totals) / len(totals) == pytest.approx(12.49, abs=0.01)


def test_a_replay_follows_the_recording_by_time(tmp_path: Path) -> None:
    """Each interval shows the next line, and after the last comes the first."""
    path = tmp_path / "two.log"
    path.write_text(f"# two lines\n{ORIN_NANO}\n{NANO}\n")
    clock = FakeClock()
    source = ReplayedPower(path, interval_s=1.0, clock=clock)
    seen = []
    for _ in range(4):
        seen.append(source.read().total_w)
        clock.now += 1.0
    assert seen == [12.436, 5.424, 12.436, 5.424]


def test_a_file_without_lines_is_refused(tmp_path: Path) -> None:
    """A recording of something else is a fault of configuration."""
    path = tmp_path / "other.log"
    path.write_text("hello\n")
    with pytest.raises(ConfigError, match="no tegrastats line"):
        read_recording(path)
