"""The recorder's windows when the system clock is set under it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.camera.interface import Frame
from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import Result
from edge.power.none import NoPower
from edge.power.sampler import PowerSampler
from edge.telemetry.clock import WallClock
from edge.telemetry.recorder import Recorder
from edge.telemetry.spool import Spool
from edge.vision.detections import Detections
from mien import topics
from mien.messages import Event, Window, decode
from tests.fakes.fake_device import wait_until
from tests.fakes.fake_engine import FakeEngine, fake_model

DAY_S = 86_400.0


class World:
    """A system clock and a monotonic one, which a test moves."""

    def __init__(self) -> None:
        self.monotonic_s = 100.0
        self.wall_s = 1_790_000_000.0

    def passes(self, seconds: float) -> None:
        """Time goes by."""
        self.monotonic_s += seconds
        self.wall_s += seconds


@pytest.fixture
def world() -> World:
    """The clocks."""
    return World()


@pytest.fixture
def spool(memory_path: Path) -> Iterator[Spool]:
    """An empty spool."""
    opened = Spool(memory_path / "spool.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def recorder(world: World, spool: Spool) -> Recorder:
    """A recorder without its thread."""
    return Recorder(
        meter=FrameMeter(clock=lambda: world.monotonic_s),
        power=PowerSampler(NoPower(), interval_s=1.0),
        spool=spool,
        window_s=10.0,
        boot_id="b",
        model=lambda: None,
        dropped=lambda: 0,
        stored=lambda _: None,
        clock=WallClock(lambda: world.wall_s, lambda: world.monotonic_s),
    )


def _windows(spool: Spool) -> list[Window]:
    return [decode(Window, item.payload, source="spool") for item in spool.waiting(topics.WINDOW, most=100)]


def _events(spool: Spool) -> list[Event]:
    return [decode(Event, item.payload, source="spool") for item in spool.waiting(topics.EVENT, most=100)]


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S, 5.0, -1_789_999_000.0])
def test_a_stepped_clock_bends_no_window(world: World, spool: Spool, recorder: Recorder, step_s: float) -> None:
    """The window in which it happens keeps its ten seconds, the next begins on the new clock, and one event tells."""
    world.passes(10.0)
    recorder.close_window(None)
    world.passes(4.0)
    world.wall_s += step_s
    world.passes(6.0)
    recorder.close_window(None)
    world.passes(10.0)
    recorder.close_window(None)

    first, second, third = _windows(spool)
    assert [w.ended_at - w.started_at for w in (first, second, third)] == pytest.approx([10.0] * 3, abs=0.01)
    assert second.started_at == pytest.approx(first.ended_at, abs=0.01)
    assert third.started_at == pytest.approx(second.ended_at + step_s, abs=0.01)
    assert third.ended_at == pytest.approx(world.wall_s, abs=0.01)
    assert [w.sequence for w in (first, second, third)] == [1, 2, 3]
    (event,) = _events(spool)
    assert (event.kind, event.severity) == ("clock_stepped", "warning")
    assert event.details["step_s"] == pytest.approx(step_s, abs=0.01)


def test_the_last_window_is_kept_once_however_short(spool: Spool) -> None:
    """A frame in the moment before the end is told; a second end adds nothing."""
    meter = FrameMeter()
    recorder = Recorder(
        meter=meter,
        power=PowerSampler(NoPower(), interval_s=1.0),
        spool=spool,
        window_s=10.0,
        boot_id="b",
        model=lambda: None,
        dropped=lambda: 0,
        stored=lambda _: None,
    )
    meter.take()
    meter.accept(
        Result(
            source="door",
            frame=Frame(image=np.zeros((8, 8, 3), np.uint8), sequence=1, captured_at_s=0.0),
            model=fake_model(FakeEngine()),
            detections=Detections.empty(),
            faces=None,
            stages_ms=(0, 0, 0, 0, 0),
            luma=0,
        )
    )
    recorder.close()
    recorder.close()
    assert [window.frames for window in _windows(spool)] == [1]


def test_slewing_is_no_step(world: World, spool: Spool, recorder: Recorder) -> None:
    """A clock that is drawn to the right time by half a second a window is followed without a word."""
    for _ in range(5):
        world.passes(10.0)
        world.wall_s += 0.5
        recorder.close_window(None)
    assert _events(spool) == []
    assert _windows(spool)[-1].ended_at == pytest.approx(world.wall_s, abs=0.6)


def test_the_numbers_of_a_device_with_its_thread_are_complete(spool: Spool) -> None:
    """Windows of a running recorder follow each other in number and time, and its thread ends."""
    told: list[Window] = []
    running = Recorder(
        meter=FrameMeter(),
        power=PowerSampler(NoPower(), interval_s=1.0),
        spool=spool,
        window_s=0.25,
        boot_id="b",
        model=lambda: None,
        dropped=lambda: 0,
        stored=told.append,
    )
    running.start()
    end_s = time.monotonic() + 30
    while len(told) < 4 and time.monotonic() < end_s:
        time.sleep(0.05)
    running.close()
    found = _windows(spool)
    assert found == told
    assert [w.sequence for w in found] == list(range(1, len(found) + 1))
    assert len(found) >= 4


def test_a_fault_costs_a_window_and_not_the_thread(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """Two rounds fail in the same place: told once with its traceback, and the rounds after them store windows."""
    events: list[tuple[str, str, str]] = []
    told: list[Window] = []
    faults = [ValueError("no figure"), ValueError("no figure")]

    def dropped() -> int:
        if faults:
            raise faults.pop()
        return 0

    running = Recorder(
        meter=FrameMeter(),
        power=PowerSampler(NoPower(), interval_s=1.0),
        spool=spool,
        window_s=0.25,
        boot_id="b",
        model=lambda: None,
        dropped=dropped,
        stored=told.append,
        tell=lambda *event: events.append(event),
    )
    running.start()
    wait_until(lambda: len(told) >= 2, what="windows after the faults")
    running.close()
    ((kind, severity, message),) = events
    assert (kind, severity) == ("thread_failed", "error")
    assert "telemetry" in message
    assert "no figure" in message
    assert caplog.text.count("Traceback") == 1


def test_a_fault_in_the_last_window_leaves_the_end_in_order(spool: Spool) -> None:
    """What closes after the recorder is still closed."""
    recorder = Recorder(
        meter=FrameMeter(clock=iter(range(0, 1000, 10)).__next__),
        power=PowerSampler(NoPower(), interval_s=1.0),
        spool=spool,
        window_s=10.0,
        boot_id="b",
        model=lambda: None,
        dropped=lambda: -1,
        stored=lambda _: None,
    )
    recorder.close()
    assert _windows(spool) == []
