"""When a clock is not believed, and when a transfer is too slow."""

from __future__ import annotations

import datetime as dt

import pytest
from tuf.api.exceptions import SlowRetrievalError

from edge.transport.pace import Pace
from edge.update.clock import MADE_AT_S, SLACK_S, clock_fault

NOW_S = MADE_AT_S + 100 * 86400


@pytest.mark.parametrize("now_s", [0.0, -1.0, MADE_AT_S - 1])
def test_a_clock_from_before_this_version_is_not_believed(now_s: float) -> None:
    """1970 and last year alike, with the date that it shows."""
    fault = clock_fault(now_s, None)
    assert fault is not None
    assert "before this version" in fault


def test_a_clock_may_be_corrected_but_not_set_back() -> None:
    """A day of slack is for clocks that went ahead; more is a clock that lost its time."""
    assert clock_fault(NOW_S - SLACK_S + 1, NOW_S) is None
    fault = clock_fault(NOW_S - SLACK_S - 1, NOW_S)
    assert fault is not None
    assert "last taken" in fault


def test_a_clock_that_went_on_is_believed() -> None:
    """With and without a memory of earlier metadata."""
    assert clock_fault(NOW_S, None) is None
    assert clock_fault(NOW_S, NOW_S - 1) is None


def test_a_clock_may_say_anything() -> None:
    """No value of a broken clock stops the sentence from being written."""
    assert clock_fault(NOW_S, 4_102_444_800.0) is not None
    assert clock_fault(-6e10, None) is not None


def test_this_version_was_not_made_in_the_future() -> None:
    """A date ahead of time would stop every device; see it when a release moves it on."""
    assert dt.datetime.now(dt.timezone.utc).timestamp() > MADE_AT_S


class Ticks:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_transfer_that_drips_is_ended() -> None:
    """A byte a second is too little once a whole stretch has shown it, and not before."""
    clock = Ticks()
    pace = Pace(least_bytes_per_s=100, over_s=10, clock=clock)
    for clock.now in range(1, 10):
        pace.saw(1)
    clock.now = 10
    with pytest.raises(SlowRetrievalError, match="10 bytes came in 10 s"):
        pace.saw(1)


def test_each_stretch_counts_for_itself() -> None:
    """A quick beginning is no credit for a slow end."""
    clock = Ticks()
    pace = Pace(least_bytes_per_s=100, over_s=10, clock=clock)
    clock.now = 10
    pace.saw(1_000_000)
    clock.now = 20
    with pytest.raises(SlowRetrievalError):
        pace.saw(999)


def test_a_pace_that_is_kept_goes_on() -> None:
    """Just enough in every stretch is enough."""
    clock = Ticks()
    pace = Pace(least_bytes_per_s=100, over_s=10, clock=clock)
    for clock.now in range(10, 200, 10):
        pace.saw(1000)
    assert clock.now == 190
