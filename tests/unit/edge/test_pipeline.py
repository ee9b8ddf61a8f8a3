"""The pipeline's threads, with a camera and an engine in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.interface import CameraError, Frame
from edge.faces.interface import EndedFace, Faces
from edge.pipeline.batching import Batching
from edge.pipeline.intake import Intake
from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import Result, Sink, Source
from edge.pipeline.pacing import FrameRate
from edge.pipeline.pipeline import Pipeline, mean_luma
from edge.pipeline.slots import BoundedQueue, EndOfStream, LatestSlot
from edge.vision.detections import Detections
from mien.errors import UnavailableError
from tests.fakes.fake_camera import FakeCamera
from tests.fakes.fake_engine import FakeEngine, OverlappingFake, fake_model


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


class FullDisk:
    """A sink that can write nothing."""

    def accept(self, _result: Result) -> None:
        raise UnavailableError("no room for the line")

    def close(self) -> None:
        raise UnavailableError("no room for the end")


Make = Callable[..., tuple[FakeCamera, Pipeline, Collector]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes pipelines that are stopped after the test."""
    made: list[Pipeline] = []

    def build(
        *, live: bool = False, before: tuple[Sink, ...] = (), **more: object
    ) -> tuple[FakeCamera, Pipeline, Collector]:
        camera, sink = FakeCamera(live=live), Collector()
        pipeline = Pipeline([Source(name="door", camera=camera)], sinks=(*before, sink), **more)  # type: ignore[arg-type]
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
        if thread.name == "capture door":
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


def test_a_sink_that_fails_is_told_by_the_owner_and_ends_no_other(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Its error is kept and not logged too, and the sinks behind it are closed as ever."""
    camera, pipeline, sink = make(before=(FullDisk(),))
    pipeline.replace_model(fake_model(FakeEngine()))
    camera.give(1)
    pipeline.start()
    assert pipeline.wait(10)
    pipeline.stop()
    assert str(pipeline.error) == "no room for the line"
    assert sink.closed
    assert not caplog.records


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


def cameras_of(make_pipeline: list[Pipeline], *cameras: FakeCamera, **more: object) -> tuple[Pipeline, Collector]:
    sink = Collector()
    sources = [Source(name=f"camera-{index}", camera=camera) for index, camera in enumerate(cameras)]
    pipeline = Pipeline(sources, sinks=(sink,), **more)  # type: ignore[arg-type]
    make_pipeline.append(pipeline)
    return pipeline, sink


@pytest.fixture
def pipelines() -> Iterator[list[Pipeline]]:
    """Pipelines that are stopped after the test."""
    made: list[Pipeline] = []
    yield made
    for pipeline in made:
        pipeline.stop()


def test_two_cameras_share_one_engine(pipelines: list[Pipeline]) -> None:
    """Every result says whose it is, each camera's frames come in order, and none of a file's is lost."""
    first, second = FakeCamera(live=False), FakeCamera(live=False)
    pipeline, sink = cameras_of(pipelines, first, second)
    engine = FakeEngine()
    pipeline.replace_model(fake_model(engine))
    for camera in (first, second):
        camera.give(10)
        camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    for name in ("camera-0", "camera-1"):
        assert [r.frame.sequence for r in sink.results if r.source == name] == list(range(1, 11))
    assert engine.calls == 20


def test_each_camera_has_its_own_counts(pipelines: list[Pipeline]) -> None:
    """Frames, drops and size are kept apart; drops stay counted when the window's share was taken."""
    busy, calm = FakeCamera(live=True), FakeCamera(live=False, size=(96, 32))
    gate = threading.Event()
    pipeline, _sink = cameras_of(pipelines, busy, calm)
    pipeline.replace_model(fake_model(FakeEngine(gate=gate)))
    pipeline.start()
    busy.give(30)
    busy.end()
    for thread in threading.enumerate():
        if thread.name == "capture camera-0":
            thread.join(10)
    taken = pipeline.take_dropped()
    gate.set()
    calm.give(3)
    calm.end()
    assert pipeline.wait(10)
    first, second = pipeline.counts()
    assert (first.finished + first.dropped, second.finished, second.dropped) == (30, 3, 0)
    assert first.dropped == taken + pipeline.take_dropped()
    assert (first.size, second.size) == ((64, 48), (32, 96))
    assert pipeline.stage_seconds()["infer"] > 0


def test_a_tally_tells_cameras_apart(pipelines: list[Pipeline]) -> None:
    """Frames by camera add up to all frames, and a camera that gave none is told with none."""
    cameras = FakeCamera(live=False), FakeCamera(live=False)
    meter = FrameMeter(sources=["door", "yard"])
    sources = [Source(name=name, camera=camera) for name, camera in zip(("door", "yard"), cameras, strict=True)]
    pipeline = Pipeline(sources, sinks=(meter,))
    pipelines.append(pipeline)
    pipeline.replace_model(fake_model(FakeEngine()))
    for count, camera in enumerate(cameras, start=2):
        camera.give(count)
        camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    tally = meter.take()
    assert (tally.sources, tally.frames) == ({"door": 2, "yard": 3}, 5)
    assert meter.take().sources == {"door": 0, "yard": 0}


def test_throughput_first_puts_frames_of_all_cameras_into_one_call(pipelines: list[Pipeline]) -> None:
    """With room for four, twenty frames of four files take five calls, and each gets its own answer."""
    cameras = [FakeCamera(live=False) for _ in range(4)]
    pipeline, sink = cameras_of(pipelines, *cameras, batching=Batching(mode="throughput", wait_s=30))
    engine = FakeEngine(batch=4)
    pipeline.replace_model(fake_model(engine))
    for level, camera in enumerate(cameras):
        camera.give(5, level=100 + level)
        camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    assert (len(sink.results), engine.calls) == (20, 5)
    for result in sink.results:
        answered = result.detections.scores[0]
        assert answered == pytest.approx(result.frame.image[0, 0, 0] / 255), "the answer belongs to another frame"


def test_a_silent_camera_does_not_hold_up_the_batch() -> None:
    """A live camera faster than the wait still gets its frames through: displacing one does not begin the wait anew."""
    now = [0.0]
    intake = Intake([True, True], batching=Batching(mode="throughput", wait_s=0.05), clock=lambda: now[0])
    frame = Frame(image=np.zeros((2, 2, 3), np.uint8), sequence=1, captured_at_s=0.0)
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.extend(lane for lane, _ in intake.take(4)))
    taker.start()
    for _ in range(4):
        intake.put(0, frame)
        now[0] += 0.033
    intake.put(0, frame)
    taker.join(10)
    assert taken == [0]


def test_cameras_that_go_together_end_the_pipeline(pipelines: list[Pipeline]) -> None:
    """When the last one is gone too, the pipeline ends with an error, however close together they went."""
    cameras = [FakeCamera(live=True) for _ in range(6)]
    pipeline, _sink = cameras_of(pipelines, *cameras)
    pipeline.replace_model(fake_model(FakeEngine()))
    for camera in cameras:
        camera.fail()
    pipeline.start()
    assert pipeline.wait(10)
    assert isinstance(pipeline.error, CameraError)
    assert len(pipeline.cameras_away) == 6


def test_a_lost_camera_leaves_the_others_running(pipelines: list[Pipeline]) -> None:
    """One camera gone for good is named; the other's frames still come out, and its end ends the pipeline."""
    lost, kept = FakeCamera(live=True), FakeCamera(live=False)
    pipeline, sink = cameras_of(pipelines, lost, kept)
    pipeline.replace_model(fake_model(FakeEngine()))
    lost.fail()
    pipeline.start()
    while not pipeline.cameras_away:
        threading.Event().wait(0.005)
    kept.give(5)
    kept.end()
    assert pipeline.wait(10)
    assert pipeline.cameras_away == ("camera-0",)
    assert pipeline.error is None
    assert len(sink.results) == 5


def test_a_frame_of_nothing_is_let_go(make: Make) -> None:
    """A frame of 0 bytes costs itself only."""
    camera, pipeline, sink = make()
    pipeline.replace_model(fake_model(FakeEngine()))
    camera.give(1)
    camera.give_image(np.zeros((0, 0, 3), np.uint8))
    camera.give(1)
    camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    assert ([result.frame.sequence for result in sink.results], pipeline.bad_frames) == ([1, 3], 1)


def test_a_camera_that_changes_its_size_is_followed(make: Make) -> None:
    """Boxes come back in the pixels of the frame that they were found in."""
    camera, pipeline, sink = make()
    pipeline.replace_model(fake_model(FakeEngine()))
    camera.give(1)
    camera.give_image(np.zeros((96, 128, 3), np.uint8))
    camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    assert np.allclose(sink.results[1].detections.boxes, sink.results[0].detections.boxes * 2)


def test_an_answer_of_nans_is_a_fault_of_the_engine(make: Make) -> None:
    """Not one result is made of it, and it is counted in a row until a good answer comes."""
    camera, pipeline, sink = make(live=True)
    engine = FakeEngine()
    engine.score = float("nan")
    pipeline.replace_model(fake_model(engine))
    pipeline.start()
    for wanted in (1, 2):
        camera.give(1)
        while pipeline.model_errors < wanted:
            threading.Event().wait(0.005)
    assert (pipeline.model_errors_in_a_row, len(sink.results)) == (2, 0)
    engine.score = None
    camera.give(1)
    sink.wait(1)
    assert pipeline.model_errors_in_a_row == 0


def test_a_hanging_engine_shows_how_long_it_hangs(make: Make) -> None:
    """While a call is under way its age can be read; afterwards frames go on and nothing is under way."""
    camera, pipeline, sink = make(live=True)
    gate = threading.Event()
    pipeline.replace_model(fake_model(FakeEngine(gate=gate)))
    pipeline.start()
    camera.give(1)
    while pipeline.engine_busy_s <= 0:
        threading.Event().wait(0.005)
    camera.give(20)
    gate.set()
    sink.wait(2)
    while pipeline.engine_busy_s > 0:
        threading.Event().wait(0.005)
    assert pipeline.error is None


def test_others_may_use_the_engine_between_two_frames(make: Make) -> None:
    """A guest's batch is answered while frames run, and an exchange waits for the guest."""
    _, pipeline, _ = make(live=True)
    gate = threading.Event()
    old = FakeEngine(answer=1, gate=gate)
    pipeline.replace_model(fake_model(old))
    pipeline.start()
    answers: list[int] = []

    def ask() -> None:
        answers.append(int(pipeline.infer_aside(np.zeros((1, 32, 32, 3), np.uint8)).classes[0, 0]))

    guest = threading.Thread(target=ask)
    guest.start()
    while pipeline.engine_busy_s <= 0:
        threading.Event().wait(0.005)
    exchanged = threading.Event()

    def exchange() -> None:
        replaced = pipeline.replace_model(None)
        assert replaced is not None
        replaced.engine.close()
        exchanged.set()

    threading.Thread(target=exchange).start()
    assert not exchanged.wait(0.1)
    gate.set()
    assert exchanged.wait(10)
    guest.join(10)
    assert answers == [1]
    with pytest.raises(UnavailableError, match="no model runs"):
        pipeline.infer_aside(np.zeros((1, 32, 32, 3), np.uint8))


class CountingTracker:
    """A tracker that notes the times it was given, and forgets when it is told to."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.restarts = 0

    def update(self, detections: Detections, at_s: float) -> Faces:
        self.times.append(at_s)
        count = len(detections)
        return Faces(
            at_s=at_s,
            numbers=np.ones(count, np.int64),
            classes=detections.classes,
            scores=detections.scores,
            doubles=np.zeros(count, np.bool_),
        )

    def restart(self) -> tuple[EndedFace, ...]:
        self.restarts += 1
        return (EndedFace(number=1, label=0, first_seen_s=0, last_seen_s=1),)


def test_a_film_that_is_read_fast_has_its_own_time(pipelines: list[Pipeline]) -> None:
    """The tracker gets the film's seconds, however fast its frames are read."""
    camera, tracker = FakeCamera(live=False), CountingTracker()
    source = Source(name="film", camera=camera, tracker=tracker, frame_s=0.04)
    pipeline = Pipeline([source], sinks=())
    pipelines.append(pipeline)
    pipeline.replace_model(fake_model(FakeEngine()))
    camera.give(3)
    camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    assert tracker.times == pytest.approx([0.04, 0.08, 0.12])


def test_other_labels_begin_other_faces(pipelines: list[Pipeline]) -> None:
    """With a model of other classes the tracker starts afresh, and whoever was followed has left."""
    camera, tracker, sink = FakeCamera(live=True), CountingTracker(), Collector()
    pipeline = Pipeline([Source(name="door", camera=camera, tracker=tracker)], sinks=(sink,))
    pipelines.append(pipeline)
    pipeline.replace_model(fake_model(FakeEngine()))
    pipeline.start()
    camera.give(1)
    sink.wait(1)
    pipeline.replace_model(fake_model(FakeEngine(), "1.1.0"))
    camera.give(1)
    sink.wait(2)
    assert tracker.restarts == 0
    pipeline.replace_model(replace(fake_model(FakeEngine(), "2.0.0"), labels=("yes", "no")))
    camera.give(1)
    sink.wait(3)
    ended = [len(result.faces.ended) for result in sink.results if result.faces is not None]
    assert (tracker.restarts, ended) == (1, [0, 0, 1])


def test_an_overlapping_engine_gets_the_next_batch_before_it_answers(make: Make) -> None:
    """Two batches are under way at once, none is lost, and answers stay with their frames."""
    camera, pipeline, sink = make()
    engine = OverlappingFake(depth=2)
    pipeline.replace_model(fake_model(engine))
    for level in range(101, 121):
        camera.give(1, level=level)
    camera.end()
    pipeline.start()
    assert pipeline.wait(10)
    assert [round(float(r.detections.scores[0]) * 255) for r in sink.results] == list(range(101, 121))
    assert engine.most_under_way == 2


@given(factor=st.floats(0.05, 1.0), frames=st.integers(1, 400))
def test_a_reduced_rate_takes_that_share_of_frames(factor: float, frames: int) -> None:
    """Of n frames within the camera's rate, n × factor are taken, give or take one."""
    rate = FrameRate()
    rate.factor = factor
    taken = sum(rate.takes(index * 0.033) for index in range(frames))
    assert abs(taken - frames * factor) <= 1


def test_a_rate_of_thirty_takes_what_a_jittering_camera_gives() -> None:
    """Frames that come a little early still count; a camera of twice the rate loses every other frame."""
    on_time, twice = FrameRate(30), FrameRate(30)
    assert sum(on_time.takes(t / 30 + (0.002 if t % 2 else 0)) for t in range(30)) == 30
    assert sum(twice.takes(t / 60) for t in range(60)) == 30


@pytest.mark.parametrize("link", [LatestSlot(), BoundedQueue(3)])
def test_what_is_left_is_taken_before_the_end(link: LatestSlot[int] | BoundedQueue[int]) -> None:
    """Finishing loses nothing that was put before."""
    link.put(7)
    link.finish()
    assert link.get() == 7
    with pytest.raises(EndOfStream):
        link.get()
