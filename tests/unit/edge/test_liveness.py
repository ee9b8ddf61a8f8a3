"""When the watchdog is fed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edge.liveness import Liveness


@dataclass
class Device:
    """A device whose time and frames are set by hand."""

    now_s: float = 0.0
    frames: int = 0
    excused: bool = False

    def watched(self) -> Liveness:
        return Liveness(lambda: self.frames, lambda: self.excused, clock=lambda: self.now_s, patience_s=30)


def test_frames_that_stand_still_for_long_starve_the_watchdog() -> None:
    """Not at once, but once patience is over; a frame later all is well again."""
    device = Device()
    liveness = device.watched()
    device.now_s = 30
    assert liveness.is_alive()
    device.now_s = 31
    assert not liveness.is_alive()
    device.frames += 1
    assert liveness.is_alive()


@pytest.mark.parametrize("excused", [True, False])
def test_an_update_may_take_its_time(excused: bool) -> None:
    """While one runs, and for the usual patience after it, frames may stand still."""
    device = Device(excused=excused)
    liveness = device.watched()
    for now_s in range(0, 600, 10):
        device.now_s = now_s
        alive = liveness.is_alive()
    assert alive is excused
    device.excused = False
    device.now_s += 20
    assert liveness.is_alive() is excused
