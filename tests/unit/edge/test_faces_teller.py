"""How events of single faces get from the frames to those who tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from edge.camera.interface import Frame
from edge.config import FacesSettings
from edge.faces.interface import Faces
from edge.faces.teller import FaceTeller
from edge.pipeline.model import Result
from edge.vision.detections import Detections
from tests.fakes.fake_engine import FakeEngine, fake_model
from tests.fakes.update_world import FakeClock

MODEL = fake_model(FakeEngine())


@dataclass
class Told:
    """What reached those who tell."""

    events: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)

    def __call__(self, kind: str, severity: str, message: str, details: Sequence[tuple[str, str]]) -> None:
        self.events.append((kind, severity, message, dict(details)))

    @property
    def kinds(self) -> list[str]:
        """In order."""
        return [kind for kind, *_ in self.events]


@pytest.fixture
def told() -> Told:
    """Nothing yet."""
    return Told()


@pytest.fixture
def clock() -> FakeClock:
    """Seconds that a test moves."""
    return FakeClock()


def _watch(teller: FaceTeller, faces: int, *, source: str = "door") -> None:
    """Faces that stay for three seconds, at ten frames a second."""
    for number in range(30):
        tracked = Faces(
            at_s=number / 10,
            numbers=np.arange(1, faces + 1),
            classes=np.zeros(faces, np.int32),
            scores=np.full(faces, 0.8, np.float32),
            doubles=np.zeros(faces, np.bool_),
        )
        result = Result(
            source=source,
            frame=Frame(image=np.zeros((8, 8, 3), np.uint8), sequence=number, captured_at_s=0.0),
            model=MODEL,
            detections=Detections.empty(),
            faces=tracked,
            stages_ms=(0, 0, 0, 0, 0),
            luma=0,
        )
        teller.accept(result)


def test_frames_tell_nothing_themselves(told: Told, clock: FakeClock) -> None:
    """Their events wait until they are fetched, and are told once."""
    teller = FaceTeller(FacesSettings(), tell=told, clock=clock)
    _watch(teller, 1)
    assert told.events == []
    teller.flush()
    teller.flush()
    ((kind, severity, message, details),) = told.events
    assert (kind, severity, details["camera"], details["face"]) == ("face_appeared", "info", "door", "1")
    assert message.startswith("door: face 1 appeared")


def test_what_a_crowd_left_out_is_told_once_a_minute(told: Told, clock: FakeClock) -> None:
    """Of ten faces three are told; the seven are counted over all cameras, and told together with how many they are."""
    teller = FaceTeller(FacesSettings(most_events_per_minute=3), tell=told, clock=clock)
    _watch(teller, 10)
    teller.flush()
    assert told.kinds == ["face_appeared"] * 3 + ["face_events_left_out"]
    assert told.events[-1][3] == {"count": "7"}
    for source in ("yard", "hall"):
        _watch(teller, 5, source=source)
    clock.now += 59
    teller.flush()
    assert told.kinds.count("face_events_left_out") == 1
    clock.now += 1
    teller.flush()
    assert told.kinds.count("face_events_left_out") == 2
    assert told.events[-1][3] == {"count": "4"}


def test_the_end_tells_what_is_left(told: Told, clock: FakeClock) -> None:
    """Events and surplus, whenever they were told last."""
    teller = FaceTeller(FacesSettings(most_events_per_minute=1), tell=told, clock=clock)
    _watch(teller, 2)
    teller.flush()
    _watch(teller, 3, source="yard")
    teller.close()
    assert told.kinds == ["face_appeared", "face_events_left_out"] * 2


def test_a_queue_that_nobody_empties_is_bounded(told: Told, clock: FakeClock) -> None:
    """What finds no room is counted."""
    teller = FaceTeller(FacesSettings(most_events_per_minute=600), tell=told, clock=clock)
    for number in range(3):
        _watch(teller, 600, source=f"camera-{number}")
    teller.flush()
    assert told.kinds.count("face_appeared") == 1024
    assert told.events[-1][3] == {"count": str(3 * 600 - 1024)}
