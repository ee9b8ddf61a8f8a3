"""Pictures for the live page: taken only while somebody looks, faces covered, then drawn on and encoded.

Covering (:mod:`edge.api.covering`) comes first and on the raw picture. From the moment somebody looks, the boxes of
every frame are kept; the first picture comes when they were kept for as long as a place stays covered. What the
detector never finds, it cannot cover; the page says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from edge.api.covering import COVERED_S, Box, Boxes, RecentBoxes, cover
from edge.api.interface import Face
from edge.camera.interface import Image
from edge.pipeline.model import Result

_WATCHED_S = 4.0
"""A camera counts as watched for so long after a picture of it was asked for."""
_FIRST_WITHIN_S = COVERED_S + 1.0
"""Long enough for the first picture, and shorter than a camera counts as watched."""
_MOST_CAMERAS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewLimits:
    """How much of the machine pictures may take."""

    fps: float = 5.0
    width: int = 640
    quality: int = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded picture."""

    number: int
    """Rises with every new one of this camera."""
    jpeg: bytes


@dataclass(slots=True, eq=False)
class _Shown:
    """The newest frame of one camera and what became of it."""

    image: Image | None = None
    faces: tuple[Face, ...] = ()
    number: int = 0
    watched_until_s: float = 0.0
    due_s: float = 0.0
    recent: RecentBoxes = field(default_factory=RecentBoxes)
    picture: Picture | None = None
    encoding: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self, now_s: float) -> bool:
        """Whether the next picture may be taken, and somebody waits for it."""
        return self.due_s <= now_s < self.watched_until_s


class Preview:
    """A sink of the pipeline that keeps the newest frame of a watched camera, and a :class:`LiveView`.

    Args:
        limits: rate, width and quality of pictures.
        show_faces: leave faces as they are.
        clock: monotonic seconds.
    """

    def __init__(
        self, limits: PreviewLimits, *, show_faces: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._show_faces = show_faces
        self._clock = clock
        self._changed = threading.Condition()
        self._cameras: dict[str, _Shown] = {}
        self._watched_until_s = 0.0
        self._closed = False

    def accept(self, result: Result) -> None:
        """Take a result; without an onlooker this only reads the clock."""
        if self._clock() >= self._watched_until_s:
            return
        self.note(result.source, result.detections.boxes)
        if self.wants(result.source):
            self.show(result.source, result.frame.image, faces_of(result))

    def close(self) -> None:
        """No more results will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wants(self, camera: str) -> bool:
        """Whether a picture of this camera would be looked at now."""
        now_s = self._clock()
        shown = self._cameras.get(camera)
        return shown is not None and shown.is_due(now_s)

    def note(self, camera: str, boxes: Boxes) -> None:
        """Take the boxes of one frame, whether its picture is wanted or not: their places stay covered for a while.

        Args:
            camera: its name.
            boxes: ``float32[n, 4]`` in the frame's pixels; kept, so not to be changed afterwards.
        """
        now_s = self._clock()
        with self._changed:
            shown = self._cameras.get(camera)
            if shown is not None and now_s < shown.watched_until_s:
                shown.recent.note(now_s, boxes)

    def show(self, camera: str, image: Image, faces: Sequence[Face]) -> None:
        """Take a picture.

        Args:
            camera: its name.
            image: copied before this returns.
            faces: to be drawn, and covered besides what :meth:`note` was told.
        """
        kept = image.copy()
        with self._changed:
            now_s, shown = self._clock(), self._cameras.get(camera)
            if shown is None or not shown.is_due(now_s):
                return
            shown.recent.note(now_s, np.array([face.box for face in faces], np.float32).reshape(-1, 4))
            shown.recent.forget_before(now_s - COVERED_S)
            shown.image, shown.faces = kept, tuple(faces)
            shown.number += 1
            shown.due_s = now_s + 1 / self._limits.fps
            self._changed.notify_all()

    def picture(self, camera: str, *, after: int = 0, timeout_s: float = _FIRST_WITHIN_S) -> Picture | None:
        """A picture newer than number ``after``; waits for one. ``None`` when none came.

        Asking is what makes a camera watched.
        """
        with self._changed:
            shown = self._watched(camera)
            if shown is None:
                return None
            self._changed.wait_for(
                lambda: self._closed or (shown.image is not None and shown.number > after), timeout_s
            )
            if shown.number <= after or shown.image is None:
                return None
            image, faces, number = shown.image, shown.faces, shown.number
            boxes = shown.recent.places()
        with shown.encoding:
            if shown.picture is None or shown.picture.number < number:
                shown.picture = Picture(number=number, jpeg=self._encoded(image, faces, boxes))
            return shown.picture

    def _watched(self, camera: str) -> _Shown | None:
        until_s = self._clock() + _WATCHED_S
        shown = self._cameras.get(camera)
        if shown is None:
            if len(self._cameras) >= _MOST_CAMERAS:
                return None
            shown = self._cameras[camera] = _Shown()
        if self._clock() >= shown.watched_until_s:
            self._begin(shown)
        shown.watched_until_s = self._watched_until_s = until_s
        return shown

    def _begin(self, shown: _Shown) -> None:
        """Somebody looks again after a while: nothing old is shown, and nothing new before there are boxes enough."""
        shown.image, shown.picture = None, None
        shown.recent.forget()
        shown.due_s = self._clock() if self._show_faces else self._clock() + COVERED_S

    def _encoded(self, image: Image, faces: Sequence[Face], boxes: Sequence[Box]) -> bytes:
        if not self._show_faces:
            cover(image, boxes)
        scale = min(self._limits.width / image.shape[1], 1.0)
        if scale < 1:
            size = (self._limits.width, max(round(image.shape[0] * scale), 1))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        draw(image, faces, scale)
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._limits.quality])
        return jpeg.tobytes()


def faces_of(result: Result) -> tuple[Face, ...]:
    """What is drawn: smoothed and numbered where somebody keeps track, as detected otherwise."""
    found, numbers = result.detections, None
    if result.faces is not None:
        found = result.faces.smoothed(result.detections)
        numbers = result.faces.numbers[~result.faces.doubles]
    labels = result.model.labels
    return tuple(
        Face(
            box=_box(found.boxes[index]),
            label=labels[int(found.classes[index])],
            score=float(found.scores[index]),
            track=int(numbers[index]) if numbers is not None and numbers[index] > 0 else None,
        )
        for index in range(len(found))
    )


def draw(image: Image, faces: Sequence[Face], scale: float) -> None:
    """Draw boxes, labels and scores into the picture; boxes are in pixels of the unscaled one."""
    for face in faces:
        colour = _colour(face.label)
        left, top, right, bottom = (round(edge * scale) for edge in face.box)
        cv2.rectangle(image, (left, top), (right, bottom), colour, 2)
        number = f" #{face.track}" if face.track is not None else ""
        text = f"{face.label} {face.score:.2f}{number}"
        (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
        base = top - 4 if top > high + 8 else min(bottom + high + 6, image.shape[0] - 4)
        cv2.rectangle(image, (left - 1, base - high - 4), (left + wide + 5, base + 4), colour, cv2.FILLED)
        cv2.putText(image, text, (left + 2, base), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)


def _colour(label: str) -> tuple[int, int, int]:
    hue = sum(label.encode()) * 47 % 180
    pixel: npt.NDArray[np.uint8] = np.asarray(
        cv2.cvtColor(np.array([[[hue, 120, 255]]], np.uint8), cv2.COLOR_HSV2BGR), np.uint8
    )
    blue, green, red = (int(value) for value in pixel[0, 0])
    return blue, green, red


def _box(box: npt.NDArray[np.float32]) -> Box:
    left, top, right, bottom = (float(edge) for edge in box)
    return left, top, right, bottom
