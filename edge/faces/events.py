"""What single faces do that is worth telling, each once. Pure.

A face is told of when it was there for ``dwell_s``, so a passer-by or a picture on a bus makes no noise, and its
expression when that stood for ``hold_s`` and is another than the one told before. However crowded the place is, no more
than ``most_events_per_minute`` are told in any minute; the surplus is counted. A face whose appearance was told is also
told when it leaves, or counted; another leaves unheard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge.config import FacesSettings
from edge.faces.interface import UNNUMBERED, EndedFace, Faces

_MINUTE_S = 60.0

Kind = Literal["face_appeared", "expression_changed", "face_left"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceEvent:
    """Something that one face did."""

    kind: Kind
    face: int
    """Its number: see :mod:`edge.faces.interface` for what that does not say."""
    at_s: float
    label: int
    """The class that stands; of a face that left, at its end."""
    previous: int | None = None
    """Of a changed expression: the class before."""
    lasted_s: float
    """How long the face has been there, or how long the expression has stood."""

    def message(self, labels: Sequence[str]) -> str:
        """A sentence.

        Args:
            labels: names of the classes.
        """
        name = _name(self.label, labels)
        if self.kind == "face_appeared":
            return f"face {self.face} appeared: {name}"
        if self.kind == "face_left":
            return f"face {self.face} left after {self.lasted_s:.1f} s: {name}"
        before = _name(self.previous, labels)
        return f"face {self.face} changed from {before} to {name} and held it for {self.lasted_s:.1f} s"

    def details(self, labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """The same as names and values, for the event's message."""
        values = [("face", str(self.face)), ("expression", _name(self.label, labels))]
        if self.previous is not None:
            values.append(("previous", _name(self.previous, labels)))
        return (*values, ("lasted_s", f"{self.lasted_s:.2f}"))


def _name(label: int | None, labels: Sequence[str]) -> str:
    return labels[label] if label is not None and 0 <= label < len(labels) else str(label)


@dataclass(slots=True)
class _Known:
    """A face that is there."""

    first_seen_s: float
    label: int
    since_s: float
    told: bool = False
    """Whether its appearance was told rather than counted as surplus."""
    told_label: int | None = None
    """The expression of the last event, told or surplus; ``None`` before it appeared."""


class ExpressionEvents:
    """Turns the faces of one camera into events.

    Args:
        settings: how long something must last, and how much may be told.
    """

    def __init__(self, settings: FacesSettings) -> None:
        self._settings = settings
        self._known: dict[int, _Known] = {}
        self._told_at_s: deque[float] = deque()
        self._surplus = 0

    def update(self, faces: Faces) -> list[FaceEvent]:
        """What the faces of one frame make worth telling."""
        events = self.leave(faces.ended, faces.at_s)
        for number, label in zip(faces.numbers.tolist(), faces.classes.tolist(), strict=True):
            if number != UNNUMBERED:
                events += self._look(number, label, faces.at_s)
        return events

    def leave(self, ended: Sequence[EndedFace], at_s: float) -> list[FaceEvent]:
        """What is worth telling of faces that have left; for those that :meth:`FaceTracker.restart` ended."""
        events: list[FaceEvent] = []
        for face in ended:
            known = self._known.pop(face.number, None)
            if known is not None and known.told:
                lasted_s = face.last_seen_s - face.first_seen_s
                events += self._tell("face_left", face.number, at_s, face.label, lasted_s=lasted_s)
        return events

    def take_surplus(self) -> int:
        """How many events were let go since the last call because there were too many."""
        surplus, self._surplus = self._surplus, 0
        return surplus

    def _look(self, number: int, label: int, at_s: float) -> list[FaceEvent]:
        known = self._known.get(number)
        if known is None:
            known = self._known[number] = _Known(first_seen_s=at_s, label=label, since_s=at_s)
        if label != known.label:
            known.label, known.since_s = label, at_s
        if known.told_label is None:
            return self._appearance(number, known, at_s)
        held_s = at_s - known.since_s
        if label == known.told_label or held_s < self._settings.hold_s:
            return []
        previous, known.told_label = known.told_label, label
        return self._tell("expression_changed", number, at_s, label, previous=previous, lasted_s=held_s)

    def _appearance(self, number: int, known: _Known, at_s: float) -> list[FaceEvent]:
        there_s = at_s - known.first_seen_s
        if there_s < self._settings.dwell_s:
            return []
        known.told_label = known.label
        events = self._tell("face_appeared", number, at_s, known.label, lasted_s=there_s)
        known.told = bool(events)
        return events

    def _tell(
        self, kind: Kind, face: int, at_s: float, label: int, *, lasted_s: float, previous: int | None = None
    ) -> list[FaceEvent]:
        told = self._told_at_s
        while told and at_s - told[0] >= _MINUTE_S:
            told.popleft()
        if len(told) >= self._settings.most_events_per_minute:
            self._surplus += 1
            return []
        told.append(at_s)
        return [FaceEvent(kind=kind, face=face, at_s=at_s, label=label, previous=previous, lasted_s=lasted_s)]
