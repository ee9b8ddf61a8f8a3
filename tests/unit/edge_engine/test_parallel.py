"""Frames computed side by side: each answer is for its own frame, in order, and threads really work at once."""

import threading

import numpy as np
import pytest

from edge.bundle_run import BundleRun, calls_of
from edge.engine.interface import EngineError, OverlappingEngine
from edge.engine.parallel import ParallelEngine
from tests.fakes.fake_engine import FakeEngine


class MeetingEngine(FakeEngine):
    """Answers a call only once another one is under way as well."""

    def __init__(self):
        super().__init__()
        self.score = None
        self._both = threading.Barrier(2)

    def infer(self, frames):
        self._both.wait(timeout=10)
        return super().infer(frames)


def frame(level):
    """A frame of one brightness."""
    return np.full((1, 32, 32, 3), level, np.uint8)


def test_two_frames_are_computed_at_once():
    """An engine that ends no call before the next has begun answers both, each for its own frame."""
    alone = FakeEngine()
    alone.score = None
    with ParallelEngine(MeetingEngine(), calls_at_once=2) as engine:
        assert isinstance(engine, OverlappingEngine)
        tickets = [engine.submit(frame(level)) for level in (10, 200)]
        answers = [engine.collect(ticket) for ticket in tickets]
    for level, answer in zip((10, 200), answers, strict=True):
        assert np.array_equal(answer.scores, alone.infer(frame(level)).scores)


def test_one_frame_may_wait_and_no_more():
    """Beyond the threads' calls one waits, so that no thread does; another is refused."""
    with ParallelEngine(FakeEngine(), calls_at_once=2) as engine:
        tickets = [engine.submit(frame(0)) for _ in range(engine.depth)]
        assert engine.depth == 3
        with pytest.raises(EngineError, match="too many"):
            engine.submit(frame(0))
        for ticket in tickets:
            engine.collect(ticket)


def test_an_unknown_ticket_is_refused():
    """An answer is fetched once, and none that was never asked for."""
    with ParallelEngine(FakeEngine(), calls_at_once=2) as engine:
        ticket = engine.submit(frame(0))
        engine.collect(ticket)
        with pytest.raises(EngineError, match="no such batch"):
            engine.collect(ticket)


def test_an_error_reaches_whoever_collects():
    """What an engine raised in its thread is raised where the answer is fetched, and the next frame goes on."""
    inner = FakeEngine()
    inner.fails = True
    with ParallelEngine(inner, calls_at_once=2) as engine:
        ticket = engine.submit(frame(0))
        with pytest.raises(EngineError, match="the engine failed"):
            engine.collect(ticket)


def test_closing_waits_for_what_is_under_way():
    """No thread works on an engine that is closed."""
    inner = FakeEngine()
    engine = ParallelEngine(inner, calls_at_once=2)
    engine.submit(frame(0))
    engine.close()
    assert inner.closed
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine")]


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({}, 4),
        ({"threads": 2}, 2),
        ({"threads": 9}, 1),
        ({"realtime": True}, 1),
        ({"max_fps": 5.0}, 1),
        ({"calls_at_once": 3, "realtime": True}, 3),
        ({"camera": "rtsp://camera/stream"}, 1),
        ({"camera": "synthetic://640x480@10"}, 1),
    ],
)
def test_stored_pictures_take_all_cores(tmp_path, monkeypatch, options, calls):
    """A run over files computes as many frames at once as cores allow; a live camera's frames go one by one."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    film = tmp_path / "film.mp4"
    film.touch()
    run = BundleRun(**{"bundle": tmp_path, "camera": str(film), **options})
    assert calls_of(run) == calls
