"""What the local API reads from a pipeline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from edge.api.port import PipelinePort, cameras_of, pulse_of
from edge.config import FacesSettings
from edge.engine.interface import EngineInfo, RawOutput
from edge.faces.tracker import FaceTracker
from edge.pipeline.model import Source
from edge.pipeline.pipeline import Pipeline
from edge.power.none import NoPower
from edge.power.sampler import PowerSampler
from mien.errors import UnavailableError
from tests.fakes.fake_camera import FakeCamera
from tests.fakes.fake_device import wait_until
from tests.fakes.fake_engine import FakeEngine, fake_model


class FixedBatch(FakeEngine):
    """An engine that takes exactly four frames, and says in its scores how bright each was."""

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, input_shape=(4, 32, 32, 3), fixed_batch=True)

    def infer(self, frames: np.ndarray) -> RawOutput:
        assert frames.shape == (4, 32, 32, 3)
        return RawOutput(
            boxes=np.zeros((4, 1, 4), np.float32),
            scores=frames.mean(axis=(1, 2, 3)).astype(np.float32)[:, None],
            classes=np.zeros((4, 1), np.int32),
        )


@pytest.fixture
def cameras() -> tuple[Source, ...]:
    """Two cameras whose faces are followed."""
    return tuple(
        Source(name=name, camera=FakeCamera(live=True), tracker=FaceTracker(FacesSettings(birth_hits=1)))
        for name in ("door", "yard")
    )


@pytest.fixture
def pipeline(cameras: tuple[Source, ...]) -> Iterator[Pipeline]:
    """A running pipeline without a model."""
    running = Pipeline(cameras, sinks=())
    running.start()
    yield running
    running.stop()


def test_without_a_model_there_is_no_card(pipeline: Pipeline) -> None:
    """And frames of others are refused."""
    port = PipelinePort(pipeline)
    assert port.card() is None
    with pytest.raises(UnavailableError):
        port.infer(np.zeros((1, 32, 32, 3), np.uint8))


def test_the_card_follows_the_release(pipeline: Pipeline) -> None:
    """After an exchange it names the new one."""
    port = PipelinePort(pipeline)
    pipeline.replace_model(fake_model(FakeEngine(), "1.0.0"))
    pipeline.replace_model(fake_model(FakeEngine(), "2.0.0"))
    card = port.card()
    assert card is not None
    assert (card.name, card.version, card.input, card.max_batch) == ("faces", "2.0.0", (32, 32), 1)


def test_a_fixed_batch_is_filled_up_and_cut_again(pipeline: Pipeline) -> None:
    """A caller with two frames gets two answers, its own, in order."""
    pipeline.replace_model(fake_model(FixedBatch()))
    frames = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (50, 200)])
    raw = PipelinePort(pipeline).infer(frames)
    assert raw.scores.tolist() == [[50], [200]]
    assert (raw.boxes.shape, raw.classes.shape) == ((2, 1, 4), (2, 1))


def test_each_camera_is_told_as_it_is(pipeline: Pipeline, cameras: tuple[Source, ...]) -> None:
    """Live, away with what it is, and gone with why; then ended altogether."""
    pipeline.replace_model(fake_model(FakeEngine()))
    door, yard = (source.camera for source in cameras)
    assert isinstance(door, FakeCamera)
    assert isinstance(yard, FakeCamera)
    door.is_away, door.away_because = True, "nothing listens there"
    yard.description = "MJPG 1280×720"
    yard.reconnects, yard.bad_frames = 2, 3
    first, second = cameras_of(pipeline, cameras)
    assert (first.name, first.state, first.detail) == ("door", "away", "fake · nothing listens there")
    assert second.detail == "fake · MJPG 1280×720"
    assert (second.state, second.reconnects, second.bad_frames) == ("live", 2, 3)
    yard.fail()
    wait_until(lambda: cameras_of(pipeline, cameras)[1].state == "ended", what="the end of one camera")
    assert "went away" in cameras_of(pipeline, cameras)[1].detail
    door.end()
    wait_until(lambda: cameras_of(pipeline, cameras)[0].state == "ended", what="the end of all")


def test_the_pulse_counts_frames_and_faces(pipeline: Pipeline, cameras: tuple[Source, ...]) -> None:
    """Of all cameras together; a figure that nobody has is absent."""
    power = PowerSampler(NoPower(), interval_s=1)
    pipeline.replace_model(fake_model(FakeEngine()))
    for source in cameras:
        assert isinstance(source.camera, FakeCamera)
        source.camera.give()
    wait_until(lambda: pipeline.finished_frames == 2, what="two frames")
    pulse = pulse_of(pipeline, power, cameras)
    assert (pulse.frames, pulse.tracks, pulse.faces, pulse.power_w) == (2, 2, 2, None)
    assert pulse_of(pipeline, power, [replace(cameras[0], tracker=None), cameras[1]]).faces is None


def test_an_engine_that_fails_or_hangs_is_told(pipeline: Pipeline, cameras: tuple[Source, ...]) -> None:
    """A single lost frame is none; three in a row are, until one gets through; and so is a call without an end."""
    port, engine = PipelinePort(pipeline), FakeEngine()
    door = cameras[0].camera
    assert isinstance(door, FakeCamera)
    pipeline.replace_model(fake_model(engine))
    engine.fails = True
    for errors in (1, 2, 3):
        assert port.trouble() == ""
        door.give()
        wait_until(lambda wanted=errors: pipeline.model_errors == wanted, what="an error")  # type: ignore[misc]
    assert "failed 3 times in a row" in port.trouble()
    engine.fails = False
    door.give()
    wait_until(lambda: port.trouble() == "", what="an answer")
    gate = threading.Event()
    engine.gate = gate
    door.give()
    wait_until(lambda: "not answered for 5 s" in port.trouble(), what="the end of patience")
    gate.set()
    wait_until(lambda: port.trouble() == "", what="the answer")
