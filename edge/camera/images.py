"""A folder of images as a source: sorted by name, each given once, or in a loop at a rate.

An image that cannot be read is skipped and counted, also without ``realtime``: one broken file of ten thousand ends no
run, and the count tells. A source of which nothing can be read at all is an error; played live, it is away until
something can, as a camera would be.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import cv2
import numpy as np

from edge.camera.interface import CameraError, Frame, Image
from edge.camera.pacing import Pace
from edge.camera.readable import check_readable

_log = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_LOOP_FPS = 10.0


class ImageFolder:
    """The images of a folder, or one image.

    Args:
        path: the folder, or an image file.
        realtime: give an image every tenth of a second (or as ``max_fps`` says), as a camera would.
        loop: start again at the end.
        max_fps: images a second in real time.

    Raises:
        CameraError: there is no image.
    """

    def __init__(self, path: Path, *, realtime: bool = False, loop: bool = False, max_fps: float | None = None) -> None:
        self._path = path
        self.paths = [path] if path.is_file() else _images_in(path)
        self._loop = loop
        self._pace = Pace(max_fps or _LOOP_FPS) if realtime else None
        self._sequence = 0
        self._bad_in_a_row = 0
        self._closed = False
        self.is_away = False
        self.reconnects = 0
        self.bad_frames = 0
        self.description = f"{len(self.paths)} image{'s' if len(self.paths) > 1 else ''}"

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self._path)

    @property
    def away_because(self) -> str:
        """Why a folder that is played can be away."""
        return "no file in it can be read as an image" if self.is_away else ""

    @property
    def live(self) -> bool:
        """Whether images come at a rate."""
        return self._pace is not None

    def read(self) -> Frame | None:
        """The next image that can be read; ``None`` after the last, or once closed.

        Raises:
            CameraError: not one image can be read; names the last.
        """
        while True:
            if self._pace is not None:
                self._pace.wait()
            if self._closed or (self._sequence >= len(self.paths) and not self._loop):
                return None
            path = self.paths[self._sequence % len(self.paths)]
            self._sequence += 1
            image = _read_image(path)
            if image is not None:
                self._readable()
                return Frame(image=image, sequence=self._sequence, captured_at_s=time.monotonic())
            self._count_bad(path)

    def close(self) -> None:
        """Give no more images."""
        self._closed = True
        if self._pace is not None:
            self._pace.close()

    def _count_bad(self, path: Path) -> None:
        if not self.bad_frames and len(self.paths) > 1:
            _log.warning("%s cannot be read as an image; such files are skipped and counted", path)
        self.bad_frames += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row < len(self.paths):
            return
        if not self.live:
            check_readable(path, "image")
            raise CameraError(
                f"could not read the image {path}",
                found="no image data, as in every other file" if len(self.paths) > 1 else "no image data",
                remedy="remove or mend it",
            )
        self.is_away = True

    def _readable(self) -> None:
        self._bad_in_a_row = 0
        if self.is_away:
            self.is_away = False
            self.reconnects += 1


def _read_image(path: Path) -> Image | None:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None or image.size == 0 else np.asarray(image, np.uint8)


def _images_in(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise CameraError(
            f"no images in {folder}",
            found=f"{sum(1 for _ in folder.iterdir())} other entries",
            wanted=", ".join(sorted(SUFFIXES)),
            remedy="name a folder that holds images itself, not in folders below",
        )
    return paths
