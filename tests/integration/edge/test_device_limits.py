"""A whole device on a board that gets hot: it does less, says so, and does more again; a recording's heat is not its own."""

from __future__ import annotations

import re

import pytest

from tests.fakes.jetson_sysfs import JetsonSysfs, orin_nano
from tests.fakes.tuf_repository import TufRepository
from tests.integration.edge.conftest import REPLAY, Listener
from tests.integration.edge.faulty import FaultyDevice, event, events, last_window, run_release, window_after

pytestmark = pytest.mark.slow

LIMITS = {
    "down_after_s": 0,
    "up_after_s": 1,
    "most_up_after_s": 2,
    "rates": [1.0, 0.5],
    "lighter_rates": [0.25],
    "memory_low": 0,
    "memory_enough": 0,
}
BOARD = {"source": "ina3221", "interval_s": 0.2}
TOLD = ("limits_stepped_down", "limits_stepped_up", "limits_exhausted")


@pytest.fixture
def board(faulty: FaultyDevice) -> JetsonSysfs:
    """The device's board, an Orin Nano at 51 °C."""
    return orin_nano(faulty.sys)


def _rates(listener: Listener, kind: str) -> list[tuple[object, object]]:
    return [(told.details["rate"], told.details["lighter"]) for told in events(listener, kind)]


def test_a_hot_board_steps_down_to_the_lighter_variant_and_up_again(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, board: JetsonSysfs
) -> None:
    """Half the frames, then INT8 at a quarter, then no step is left; cool again, FP32 and all frames come back."""
    faulty.change(engine={"precisions": ["fp32", "int8"]}, limits=LIMITS, power=BOARD)
    run_release(faulty, listener, repository, int8=True)
    cool = window_after(listener, 0, lambda window: window.precision == "fp32" and window.fps > 12)
    assert cool.power.source == "ina3221"
    assert events(listener, *TOLD) == []

    board.zone(8, "tj-thermal", 95_000)
    event(listener, "limits_exhausted")
    light = window_after(listener, last_window(listener), lambda window: window.precision == "int8")
    few = window_after(listener, light.sequence, lambda window: 0 < window.fps < 8)
    assert few.temperature_c["tj"] == 95.0
    assert _rates(listener, "limits_stepped_down") == [("0.5", "false"), ("0.25", "true")]
    assert all("too hot" in told.message for told in events(listener, *TOLD))
    assert listener.reports("d-1.0.0")[-1].state.value == "committed"

    board.zone(8, "tj-thermal", 51_000)
    event(listener, "limits_stepped_up", 2)
    window_after(listener, few.sequence, lambda window: window.precision == "fp32" and window.fps > 12)
    assert _rates(listener, "limits_stepped_up") == [("0.5", "false"), ("1", "false")]
    assert [told.kind for told in events(listener, *TOLD)] == [
        "limits_stepped_down",
        "limits_stepped_down",
        "limits_exhausted",
        "limits_stepped_up",
        "limits_stepped_up",
    ]
    assert faulty.end() == 0


def test_without_a_lighter_variant_only_the_rate_falls(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, board: JetsonSysfs
) -> None:
    """A throttled board whose release has one precision: half the frames and no further; the throttling is told too."""
    faulty.change(engine={"precisions": ["fp32", "int8"]}, limits=LIMITS, power=BOARD)
    board.cooling(0, "cpufreq-cpu0", 0)
    run_release(faulty, listener, repository)

    board.cooling(0, "cpufreq-cpu0", 2)
    told = event(listener, "limits_exhausted")
    event(listener, "throttled")

    assert "clocks throttled" in told.message
    assert _rates(listener, "limits_stepped_down") == [("0.5", "false")]
    assert {window.precision for window in listener.windows() if window.release} == {"fp32"}
    assert faulty.end() == 0


def test_a_recording_that_is_too_hot_slows_no_device_down(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository
) -> None:
    """Ten windows at a replayed 99 °C: shown as such, and no step is taken."""
    hot = faulty.state.with_suffix(".hot")
    hot.write_text(re.sub(r"@\d+(\.\d+)?C", "@99C", REPLAY.read_text()))
    faulty.change(limits=LIMITS, power={"source": "replay", "replay": str(hot), "interval_s": 0.2})
    run_release(faulty, listener, repository)
    seen = last_window(listener)

    last = window_after(listener, seen + 10, lambda window: window.fps > 12)
    after = [window for window in listener.windows() if seen < window.sequence <= last.sequence]
    assert all(set(window.temperature_c.values()) == {99.0} for window in after)
    assert all(name.endswith("(replay)") for window in after for name in window.temperature_c)
    assert events(listener, *TOLD, "throttled", "over_current") == []
    assert faulty.end() == 0
