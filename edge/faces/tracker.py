"""Follows the faces before one camera and smooths what they show. No clock, no I/O: equal calls give equal answers.

A face is born when ``birth_hits`` frames in a row show it, and leaves when frames of ``death_after_s`` did not show it.
In between it keeps its number, whatever it expresses. How detections find their faces stands in
:mod:`edge.faces.association`, how expressions are smoothed in :mod:`edge.faces.smoothing`, what a number means and what
it does not in :mod:`edge.faces.interface`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.config import FacesSettings
from edge.faces.association import doubles, pair
from edge.faces.interface import UNNUMBERED, EndedFace, Faces
from edge.faces.motion import Box, Motion
from edge.faces.smoothing import Smoother
from edge.vision.detections import Detections, pairwise_iou

_BREAK = 2
"""With no frame in between, a face is continued for so many times ``death_after_s``: a slow camera has faces too."""

Shown = dict[int, float]
"""Class → score, as one frame shows them for one face."""


@dataclass(slots=True, eq=False)
class _Track:
    """A face, or a guess at one."""

    motion: Motion
    smoother: Smoother
    first_seen_s: float
    last_seen_s: float
    number: int = UNNUMBERED
    hits: int = 1
    was_missed: bool = False

    def see(self, at_s: float, box: Box, shown: Shown) -> None:
        self.motion.see(at_s, box)
        self.smoother.see(at_s, shown.items())
        self.last_seen_s = at_s
        self.hits += 1
        self.was_missed = False

    def ended(self) -> EndedFace:
        return EndedFace(
            number=self.number,
            label=self.smoother.label,
            first_seen_s=self.first_seen_s,
            last_seen_s=self.last_seen_s,
        )


class FaceTracker:
    """The faces before one camera.

    Args:
        settings: how they are followed and smoothed.
    """

    def __init__(self, settings: FacesSettings) -> None:
        self._settings = settings
        self._tracks: list[_Track] = []
        self._at_s = -float("inf")
        self._last_number = 0

    @property
    def numbers_given(self) -> int:
        """Faces that got a number since the start; from any thread."""
        return self._last_number

    @property
    def followed(self) -> int:
        """Faces with a number that are followed now; from any thread."""
        return sum(track.number != UNNUMBERED for track in tuple(self._tracks))

    def update(self, detections: Detections, at_s: float) -> Faces:
        """Take one frame's detections; a frame without any counts too.

        Args:
            detections: of the frame, strongest first.
            at_s: when the frame was captured, in the source's own time. A time before the last one counts as that one.
        """
        self._at_s = at_s = max(at_s, self._at_s)
        ended = self._end_those_gone()
        scores: list[float] = detections.scores.tolist()
        face_of = self._pair(detections, scores)
        double_of = self._doubles(detections, face_of)
        shown: dict[int, Shown] = {}
        for row, label in enumerate(detections.classes.tolist()):
            of_face = shown.setdefault(double_of.get(row, row), {})
            of_face[label] = max(of_face.get(label, 0.0), scores[row])
        track_of = self._see(detections, scores, face_of, shown)
        ended += self._miss(track_of)
        return self._faces(detections, track_of, double_of, ended)

    def restart(self) -> tuple[EndedFace, ...]:
        """End all faces, since another model's classes, another scene or another time follows; numbers go on rising."""
        ended = tuple(track.ended() for track in self._tracks if track.number != UNNUMBERED)
        self._tracks, self._at_s = [], -float("inf")
        return ended

    def _end_those_gone(self) -> tuple[EndedFace, ...]:
        gone = [track for track in self._tracks if self._is_gone(track)]
        if not gone:
            return ()
        self._tracks = [track for track in self._tracks if track not in gone]
        return tuple(track.ended() for track in gone if track.number != UNNUMBERED)

    def _is_gone(self, track: _Track) -> bool:
        if track.was_missed and track.number == UNNUMBERED:
            return True
        patience_s = self._settings.death_after_s * (1 if track.was_missed else _BREAK)
        return self._at_s - track.last_seen_s >= patience_s

    def _pair(self, detections: Detections, scores: list[float]) -> dict[int, int]:
        if not scores or not self._tracks:
            return {}
        expected = np.array([track.motion.expected(self._at_s) for track in self._tracks], np.float32)
        return pair(
            pairwise_iou(detections.boxes, expected),
            scores,
            [track.number != UNNUMBERED for track in self._tracks],
            strong_score=self._settings.strong_score,
            least_iou=self._settings.least_iou,
        )

    def _doubles(self, detections: Detections, face_of: dict[int, int]) -> dict[int, int]:
        if len(face_of) == len(detections):
            return {}
        overlap = pairwise_iou(detections.boxes, detections.boxes)
        return doubles(overlap, face_of, double_iou=self._settings.double_iou)

    def _see(
        self, detections: Detections, scores: list[float], face_of: dict[int, int], shown: dict[int, Shown]
    ) -> dict[int, _Track]:
        """Give every detection in ``shown`` to its face, or begin one; returns detection → face."""
        boxes: list[Box] = detections.boxes.tolist()
        track_of: dict[int, _Track] = {}
        for row, classes in shown.items():
            if row in face_of:
                track_of[row] = track = self._tracks[face_of[row]]
                track.see(self._at_s, boxes[row], classes)
                self._number(track)
            elif scores[row] >= self._settings.strong_score:
                track_of[row] = track = self._begin(boxes[row], classes)
                self._number(track)
        return track_of

    def _begin(self, box: Box, shown: Shown) -> _Track:
        settings, at_s = self._settings, self._at_s
        smoother = Smoother(settings.half_life_s, settings.margin, at_s, shown.items())
        track = _Track(motion=Motion(at_s, box), smoother=smoother, first_seen_s=at_s, last_seen_s=at_s)
        self._tracks.append(track)
        return track

    def _number(self, track: _Track) -> None:
        if track.number == UNNUMBERED and track.hits >= self._settings.birth_hits:
            self._last_number += 1
            track.number = self._last_number
            track.smoother.begin()

    def _miss(self, track_of: dict[int, _Track]) -> tuple[EndedFace, ...]:
        seen = {id(track) for track in track_of.values()}
        for track in self._tracks:
            track.was_missed = id(track) not in seen
        return self._end_those_gone()

    def _faces(
        self,
        detections: Detections,
        track_of: dict[int, _Track],
        double_of: dict[int, int],
        ended: tuple[EndedFace, ...],
    ) -> Faces:
        count = len(detections)
        faces = Faces(
            at_s=self._at_s,
            numbers=np.full(count, UNNUMBERED, np.int64),
            classes=detections.classes.copy(),
            scores=detections.scores.copy(),
            doubles=np.zeros(count, np.bool_),
            ended=ended,
        )
        for row in range(count):
            track = track_of.get(double_of.get(row, row))
            faces.doubles[row] = row in double_of
            if track is not None:
                faces.numbers[row] = track.number
                faces.classes[row] = track.smoother.label
                faces.scores[row] = track.smoother.score
        return faces
