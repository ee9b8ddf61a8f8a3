"""The pipeline's threads, with a camera and an engine in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge.camera.interface import CameraError
from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import Result
from edge.pipeline.pipeline import Pipeline, mean_luma
from edge.pipeline.slots import BoundedQueue, EndOfStream, LatestSlot
from tests.fakes.fake_camera import FakeCamera
from tests.fakes.fake_engine import FakeEngine, fake_model


class Collector:
    """A sink that keeps what came, and lets a test wait for it."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.closed = False
        self._changed = threading.Condition()

    def accept(self, result: Result) -> None:
        with self._changed:
            self.results.append(result)
            self._changed.notify_all()

    def close(self) -> None:
        self.closed = True

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.results) >= count, 10), f"{len(self.results)} results"


Make = Callable[..., tuple[FakeCamera, Pipeline, Collector]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes pipelines that are stopped after the test."""
    made: list[Pipeline] = []

    def build(*, live: bool = False, **more: object) -> tuple[FakeCamera, Pipeline, Collector]:
        camera, sink = FakeCamera(live=live), Collector()
        pipeline = Pipeline(camera, sinks=(sink,), **more)  # type: ignore[arg-type]
        made.append(pipeline)
        return camera, pipeline, sink

    yield build
    for pipeline in made:
        pipeline.stop()


def test_a_file_loses_no_frame(make: Make) -> None:
    """Every frame of a stored source comes out, in order, and then the end."""
    camera, pipeline, sink = make()
    pipeline.replace_model(fake_model(FakeEngine()))
    camera.give(40)
    camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    assert [result.frame.sequence for result in sink.results] == list(range(1, 41))


def test_a_busy_engine_lets_old_live_frames_go(make: Make) -> None:
    """While the engine is held up, all but the newest frames are dropped and counted."""
    camera, pipeline, sink = make(live=True)
    gate = threading.Event()
    pipeline.replace_model(fake_model(FakeEngine(gate=gate)))
    pipeline.start()
    camera.give(50)
    camera.end()
    for thread in threading.enumerate():
        if thread.name == "capture":
            thread.join(10)
    gate.set()
    assert pipeline.wait(10)
    shown = [result.frame.sequence for result in sink.results]
    assert shown == sorted(shown)
    assert shown[-1] == 50
    assert len(shown) + pipeline.take_dropped() == 50
    assert len(shown) <= 5


def test_boxes_are_in_the_frames_own_pixels(make: Make) -> None:
    """The letterbox is undone: a 64×48 frame in a 32×32 input doubles lengths and shifts by the border."""
    camera, pipeline, sink = make()
    pipeline.replace_model(fake_model(FakeEngine()))
    camera.give(1)
    camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    assert np.allclose(sink.results[0].detections.boxes, [[8, 0, 24, 16]])


def test_the_model_is_exchanged_between_frames(make: Make) -> None:
    """After the exchange the new engine answers, and the old one is idle and may be closed."""
    camera, pipeline, sink = make(live=True)
    old, new = FakeEngine(answer=0), FakeEngine(answer=1)
    pipeline.replace_model(fake_model(old))
    pipeline.start()
    camera.give(1)
    sink.wait(1)
    replaced = pipeline.replace_model(fake_model(new, "1.1.0", size=64))
    assert replaced is not None
    replaced.engine.close()
    camera.give(1)
    sink.wait(2)
    assert [str(result.model.release) for result in sink.results] == ["faces@1.0.0", "faces@1.1.0"]
    assert [int(result.detections.classes[0]) for result in sink.results] == [0, 1]


def test_an_exchange_waits_for_the_frame_on_its_way(make: Make) -> None:
    """The old model is handed back only when its last frame is through."""
    camera, pipeline, sink = make(live=True)
    gate = threading.Event()
    old = FakeEngine(gate=gate)
    pipeline.replace_model(fake_model(old))
    pipeline.start()
    camera.give(1)
    done = threading.Event()

    def exchange() -> None:
        replaced = pipeline.replace_model(None)
        if replaced is not None:
            replaced.engine.close()
        done.set()

    thread = threading.Thread(target=exchange)
    thread.start()
    gate.set()
    thread.join(10)
    assert done.is_set()
    assert len(sink.results) == old.calls


def test_a_camera_that_goes_away_ends_the_pipeline_with_its_error(make: Make) -> None:
    """Frames before the loss are finished; the error is kept for the owner."""
    camera, pipeline, sink = make()
    pipeline.replace_model(fake_model(FakeEngine()))
    camera.give(3)
    camera.fail()
    pipeline.start()
    assert pipeline.wait(10)
    assert isinstance(pipeline.error, CameraError)
    assert len(sink.results) <= 3


def test_an_engine_error_costs_its_frame_only(make: Make) -> None:
    """A failing engine is counted, and the pipeline goes on."""
    camera, pipeline, sink = make(live=True)
    engine = FakeEngine()
    pipeline.replace_model(fake_model(engine))
    pipeline.start()
    camera.give(1)
    sink.wait(1)
    engine.fails = True
    camera.give(1)
    while pipeline.model_errors == 0:
        threading.Event().wait(0.005)
    engine.fails = False
    camera.give(1)
    sink.wait(2)
    assert pipeline.model_errors == 1


def test_stopping_ends_every_thread(make: Make) -> None:
    """No thread is left, with a model or without."""
    before = threading.active_count()
    for model in (fake_model(FakeEngine()), None):
        camera, pipeline, sink = make(live=True)
        pipeline.replace_model(model)
        pipeline.start()
        camera.give(3)
        pipeline.stop()
        assert camera.closed
        assert sink.closed
    assert threading.active_count() == before


def test_only_the_wanted_frames_are_read(make: Make) -> None:
    """A limit on frames ends the run."""
    camera, pipeline, sink = make(wanted_frames=5)
    pipeline.replace_model(fake_model(FakeEngine()))
    camera.give(20)
    pipeline.start()
    assert pipeline.wait(10)
    assert len(sink.results) == 5


def test_the_meter_counts_frames_classes_and_scores(make: Make) -> None:
    """Counts of a tally are those of the results, and taking it starts afresh."""
    camera, pipeline, sink = make()
    meter = FrameMeter()
    pipeline.replace_model(fake_model(FakeEngine(answer=1)))
    camera.give(4, level=255)
    camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    for result in sink.results:
        meter.accept(result)
    tally = meter.take()
    assert (tally.frames, tally.detections, int(tally.class_counts[1])) == (4, 4, 4)
    assert tally.confidence_mean == pytest.approx(0.9)
    assert tally.confidence_histogram[18] + tally.confidence_histogram[17] == 4
    assert tally.brightness_histogram[-1] == 4
    assert meter.take().frames == 0


def test_luma_weighs_the_channels() -> None:
    """Pure green is brighter than pure blue (BT.601)."""
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 1] = 255
    assert mean_luma(image) == pytest.approx(0.587 * 255, rel=1e-4)


def test_a_slot_keeps_the_latest_only() -> None:
    """An item nobody took gives way and is counted."""
    slot: LatestSlot[int] = LatestSlot()
    for item in range(3):
        slot.put(item)
    assert (slot.get(), slot.take_dropped()) == (2, 2)


@pytest.mark.parametrize("link", [LatestSlot(), BoundedQueue(3)])
def test_what_is_left_is_taken_before_the_end(link: LatestSlot[int] | BoundedQueue[int]) -> None:
    """Finishing loses nothing that was put before."""
    link.put(7)
    link.finish()
    assert link.get() == 7
    with pytest.raises(EndOfStream):
        link.get()
