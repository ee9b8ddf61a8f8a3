"""When the watchdog is fed, and what is said about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from edge.liveness import Liveness, Patience, Pulse, Vitals, judge

PATIENCE = Patience(engine_s=20, frames_s=45, update_s=600)


@dataclass
class Device:
    """A device whose time and vitals are set by hand."""

    now_s: float = 0.0
    vitals: Vitals = field(default_factory=lambda: Vitals(frames=0))

    def watched(self) -> Liveness:
        return Liveness(lambda: self.vitals, clock=lambda: self.now_s, patience=PATIENCE)

    def change(self, **vitals: Any) -> None:
        self.vitals = replace(self.vitals, **vitals)


@pytest.mark.parametrize(
    ("vitals", "still_s", "unexcused_s", "alive", "why"),
    [
        ({}, 0, 0, True, "frames flow"),
        ({}, 45, 45, True, "frames flow"),
        ({}, 46, 46, False, "the camera is there and no frame has come through for 46 s"),
        ({"camera_is_away": True}, 9000, 0, True, "the camera is away and is being opened again"),
        ({"has_model": False}, 9000, 0, True, "waiting for a release"),
        ({"engine_busy_s": 20.0}, 20, 20, True, "frames flow"),
        ({"engine_busy_s": 21.0}, 21, 21, False, "the engine has not answered for 21 s"),
        ({"engine_busy_s": 21.0, "camera_is_away": True}, 21, 0, False, "the engine has not answered for 21 s"),
        ({"engine_busy_s": 21.0, "is_updating": True}, 21, 0, True, "an update is under way"),
        ({"is_updating": True}, 600, 0, True, "an update is under way"),
        ({"is_updating": True}, 601, 0, False, "an update has held up all frames for 601 s"),
    ],
)
def test_what_is_judged(vitals: dict[str, Any], still_s: float, unexcused_s: float, alive: bool, why: str) -> None:
    """A restart is chosen where it can help, and the reason is said."""
    pulse = judge(Vitals(frames=1, **vitals), PATIENCE, still_s=still_s, unexcused_s=unexcused_s)
    assert pulse == Pulse(is_alive=alive, why=why)


def test_frames_that_stand_still_for_long_starve_the_watchdog() -> None:
    """Not at once, but once patience is over; a frame later all is well again."""
    device = Device()
    liveness = device.watched()
    device.now_s = 45
    assert liveness.pulse().is_alive
    device.now_s = 46
    assert not liveness.pulse().is_alive
    device.change(frames=1)
    assert liveness.pulse().is_alive


@pytest.mark.parametrize(
    "excuse", [{"camera_is_away": True}, {"has_model": False}, {"is_updating": True}], ids=lambda e: next(iter(e))
)
def test_after_an_excuse_patience_begins_anew(excuse: dict[str, bool]) -> None:
    """A camera that came back, or a release that was taken up, has as long as ever to show a frame; not longer."""
    device = Device(vitals=Vitals(frames=7, **excuse))
    liveness = device.watched()
    for now_s in range(0, 500, 10):
        device.now_s = now_s
        assert liveness.pulse().is_alive
    device.vitals = Vitals(frames=7)
    device.now_s += 45
    assert liveness.pulse().is_alive
    device.now_s += 1
    assert not liveness.pulse().is_alive


def test_an_update_that_never_ends_is_ended() -> None:
    """Its bound counts from the last frame, so one that lets frames run may take any time."""
    device = Device(vitals=Vitals(frames=0, is_updating=True))
    liveness = device.watched()
    for _ in range(100):
        device.now_s += 60
        device.change(frames=device.vitals.frames + 1)
        assert liveness.pulse().is_alive
    device.now_s += 601
    assert not liveness.pulse().is_alive


def test_a_site_that_wants_few_frames_is_waited_for() -> None:
    """One frame in five minutes is no standstill; thirty a second leave the usual patience."""
    assert Patience.at(1 / 300).frames_s == pytest.approx(1500)
    assert Patience.at(30.0) == Patience.at(None) == Patience()
