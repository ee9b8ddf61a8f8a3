"""What single faces do that is worth telling."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.config import FacesSettings
from edge.faces.events import ExpressionEvents, FaceEvent
from edge.faces.interface import UNNUMBERED, EndedFace, Faces
from mien.expressions import EXPRESSIONS
from mien.messages import Event

NEUTRAL, HAPPY, SAD = 5, 4, 6


def _faces(at_s: float, *shown: tuple[int, int], left: tuple[int, ...] = ()) -> Faces:
    numbers, classes = [number for number, _ in shown], [label for _, label in shown]
    return Faces(
        at_s=at_s,
        numbers=np.array(numbers, np.int64),
        classes=np.array(classes, np.int32),
        scores=np.full(len(shown), 0.8, np.float32),
        doubles=np.zeros(len(shown), np.bool_),
        ended=tuple(EndedFace(number=n, label=HAPPY, first_seen_s=0.0, last_seen_s=at_s - 1) for n in left),
    )


def _events(**chosen: object) -> ExpressionEvents:
    return ExpressionEvents(FacesSettings.model_validate(chosen))


def _watch(events: ExpressionEvents, labels: list[int], *, number: int = 1, from_s: float = 0.0) -> list[FaceEvent]:
    """One face at 10 frames a second, a label for each frame."""
    return [e for k, label in enumerate(labels) for e in events.update(_faces(from_s + k / 10, (number, label)))]


def test_an_expression_is_told_once_when_it_was_held() -> None:
    """A second after it changed, and not again while it stands."""
    told = _watch(_events(), [NEUTRAL] * 20 + [HAPPY] * 40)
    assert [(e.kind, e.label, e.previous) for e in told] == [
        ("face_appeared", NEUTRAL, None),
        ("expression_changed", HAPPY, NEUTRAL),
    ]
    assert told[1].at_s == 3.0
    assert told[1].lasted_s == 1.0


def test_a_short_expression_is_not_told() -> None:
    """Half a second of happiness, and back: nothing changed."""
    told = _watch(_events(), [NEUTRAL] * 20 + [HAPPY] * 5 + [NEUTRAL] * 40)
    assert [e.kind for e in told] == ["face_appeared"]


def test_a_passer_by_is_not_told() -> None:
    """Below the dwell neither the coming nor the going."""
    events = _events()
    assert _watch(events, [NEUTRAL] * 8) == []
    assert events.update(_faces(2.0, left=(1,))) == []


def test_a_face_that_was_told_is_told_when_it_leaves() -> None:
    """Once, with the time it was there."""
    events = _events()
    _watch(events, [NEUTRAL] * 20)
    [left] = events.update(_faces(5.0, left=(1,)))
    assert (left.kind, left.face, left.label, left.lasted_s) == ("face_left", 1, HAPPY, 4.0)
    assert events.update(_faces(5.1, left=(1,))) == []


def test_a_face_without_a_number_is_not_told() -> None:
    """It may be nothing."""
    assert _watch(_events(), [HAPPY] * 50, number=UNNUMBERED) == []


@given(
    walks=st.lists(
        st.lists(st.tuples(st.sampled_from([NEUTRAL, HAPPY, SAD]), st.integers(1, 25)), min_size=1, max_size=6),
        min_size=1,
        max_size=5,
    )
)
def test_each_thing_is_told_once(walks: list[list[tuple[int, int]]]) -> None:
    """One appearance and one leaving a face; changes hang together and are a hold apart."""
    events, told = _events(most_events_per_minute=6000), []
    ways = [[label for label, frames in walk for _ in range(frames)] for walk in walks]
    length = max(map(len, ways))
    for frame in range(length):
        there = [(number, way[frame]) for number, way in enumerate(ways, 1) if frame < len(way)]
        left = tuple(number for number, way in enumerate(ways, 1) if frame == len(way))
        told += events.update(_faces(frame / 10, *there, left=left))
    counts = Counter((e.kind, e.face) for e in told if e.kind != "expression_changed")
    assert set(counts.values()) <= {1}
    for number in range(1, len(ways) + 1):
        changes = [e for e in told if e.kind == "expression_changed" and e.face == number]
        assert all(e.label != e.previous and e.lasted_s >= 1 for e in changes)
        assert all(b.at_s - a.at_s >= 1 for a, b in itertools.pairwise(changes))
        chain = [e for e in told if e.kind != "face_left" and e.face == number]
        assert all(b.previous == a.label for a, b in itertools.pairwise(chain))


@given(most=st.integers(1, 20), faces=st.integers(1, 60), rounds=st.integers(1, 4))
def test_a_crowd_does_not_flood(most: int, faces: int, rounds: int) -> None:
    """In no minute are more told than the site chose; told and surplus together are all there was."""
    events = _events(most_events_per_minute=most, dwell_s=0, hold_s=0)
    told = []
    for frame in range(rounds):
        label = HAPPY if frame % 2 else SAD
        told += events.update(_faces(frame * 20.0, *((number, label) for number in range(faces))))
    times = [e.at_s for e in told]
    assert all(sum(start <= at_s < start + 60 for at_s in times) <= most for start in times)
    assert len(told) + events.take_surplus() == faces * rounds
    assert events.take_surplus() == 0


def test_a_leaving_is_told_only_of_whom_the_coming_was() -> None:
    """A face whose appearance was surplus leaves unheard, so what is told hangs together."""
    events = _events(most_events_per_minute=1, dwell_s=0)
    told = events.update(_faces(0.0, (1, HAPPY), (2, HAPPY)))
    assert [(e.kind, e.face) for e in told] == [("face_appeared", 1)]
    told = events.update(_faces(100.0, left=(1, 2)))
    assert [(e.kind, e.face) for e in told] == [("face_left", 1)]


def test_an_event_fits_the_message_that_carries_it() -> None:
    """Kind, sentence and details are those of an event on the wire, with the labels' names."""
    told = _watch(_events(), [NEUTRAL] * 20 + [HAPPY] * 20)
    change = told[1]
    message = Event(
        event_id="e",
        at=1.0,
        kind=change.kind,
        severity="info",
        message=change.message(EXPRESSIONS),
        details=dict(change.details(EXPRESSIONS)),
    )
    assert message.message == "face 1 changed from neutral to happy and held it for 1.0 s"
    assert message.details == {"face": "1", "expression": "happy", "previous": "neutral", "lasted_s": "1.00"}
