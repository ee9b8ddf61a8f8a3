"""Writes a video of a run with what was found drawn in: a file on this machine, faces covered unless asked otherwise.

Covering is that of the live page, over the video's own seconds: a place stays covered for two of them. Nobody but its
owner can read the file at any moment, and it has its name only when it is whole.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.api.covering import COVERED_S, RecentBoxes, cover
from edge.camera.environment import quiet
from edge.camera.interface import Image
from edge.pipeline.model import Result
from mien.errors import ConfigError, UnavailableError
from mien.files import disk_error

_LOOK_EVERY = 15
_LEAST_ROOM = 8 << 20
"""More than so many frames take, and what the file's end takes."""


def check_name(path: Path) -> None:
    """Refuse a name that no video could have, before anything runs.

    Raises:
        ConfigError: it does not end in ``.mp4``, or is a folder.
        UnavailableError: nothing can be written there.
    """
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"{path} names no video", wanted="a file that ends in .mp4", remedy="name it so")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", wanted="a file that ends in .mp4", remedy="name a file in it")
    descriptor, part = _part_of(path)
    os.close(descriptor)
    part.unlink()


class PreviewVideo:
    """A sink of the pipeline that writes a video. Stays on this machine, where it was asked for.

    Args:
        path: an ``.mp4`` file; it is replaced.
        fps: of the video.
        show_faces: leave faces as they are.
        least_room: bytes that must be free while it is written.
    """

    def __init__(self, path: Path, *, fps: float, show_faces: bool = False, least_room: int = _LEAST_ROOM) -> None:
        self._path = path
        self._fps = fps
        self._show_faces = show_faces
        self._recent = RecentBoxes()
        self._frames = 0
        self._least_room = least_room
        self._part = path
        self._has_room = True
        self._writer: Any = None
        self._size = (0, 0)

    def accept(self, result: Result) -> None:
        """Cover, draw and write one frame.

        Raises:
            UnavailableError: the file cannot be written.
        """
        image = result.frame.image.copy()
        if not self._show_faces:
            self._cover(image, result)
        draw(image, result)
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            self._open()
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        if self._frames % _LOOK_EVERY == 0:
            self._check_room()
        self._writer.write(image)
        self._frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; a broken one is removed, since the writer tells no failure by itself.

        Raises:
            UnavailableError: it is not whole, or cannot have that name; says where the video is.
        """
        if self._writer is None:
            return
        self._writer.release()
        frames = frames_of(self._part) if self._has_room else 0
        if not self._has_room or frames != self._frames:
            with suppress(OSError):
                self._part.unlink()
            raise UnavailableError(
                f"could not write the video {self._path}",
                found=f"{frames} of {self._frames} frames were kept; the file was removed",
                wanted="a writable disk with room",
                remedy="free some disk space, or name a file on another disk",
            )
        try:
            self._part.replace(self._path)
        except OSError as error:
            raise UnavailableError(
                f"could not write {self._path}", found=error.strerror or str(error), remedy=f"the video is {self._part}"
            ) from error

    def _cover(self, image: Image, result: Result) -> None:
        at_s = self._frames / self._fps
        self._recent.note(at_s, result.detections.boxes)
        self._recent.forget_before(at_s - COVERED_S)
        cover(image, self._recent.places())

    def _check_room(self) -> None:
        try:
            disk = os.statvfs(self._part.parent)
        except OSError as error:
            raise disk_error(self._path, error) from error
        free = disk.f_bavail * disk.f_frsize
        if free < self._least_room:
            self._has_room = False
            raise UnavailableError(
                f"no room for the video {self._path}",
                found=f"{free >> 10} KiB free; the file was removed",
                wanted=f"{self._least_room >> 20} MiB",
                remedy="free some disk space, or name a file on another disk",
            )

    def _open(self) -> None:
        quiet()
        descriptor, self._part = _part_of(self._path)
        os.close(descriptor)
        writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
        if not writer.isOpened():
            with suppress(OSError):
                self._part.unlink()
            raise UnavailableError(
                f"could not write the video {self._path}",
                wanted="a writable .mp4 path",
                remedy="name a file on another disk",
            )
        self._writer = writer


def frames_of(path: Path) -> int:
    """How many frames a video file states; 0 when it cannot be opened."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    finally:
        video.release()


def _part_of(path: Path) -> tuple[int, Path]:
    """A new file beside the one that is to be, for its owner only: open, and its name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        raise disk_error(path, error) from error
    return descriptor, Path(part)


def draw(image: Image, result: Result) -> None:
    """Draw what was found into the picture, expressions smoothed where they are followed."""
    found = result.faces.smoothed(result.detections) if result.faces else result.detections
    for box, score, index in zip(found.boxes, found.scores, found.classes, strict=True):
        hue = int(index) * 180 // max(len(result.model.labels), 1)
        colour = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0].tolist()
        left, top, right, bottom = (round(float(edge)) for edge in box)
        cv2.rectangle(image, (left, top), (right, bottom), colour, 2)
        text = f"{result.model.labels[int(index)]} {score:.2f}"
        cv2.putText(image, text, (left, max(top - 4, 10)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
