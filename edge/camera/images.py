"""A folder of images as a source: sorted by name, each given once, or in a loop at a rate."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from edge.camera.interface import CameraError, Frame
from edge.camera.pacing import Pace

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
        self._closed = False

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self._path)

    @property
    def live(self) -> bool:
        """Whether images come at a rate."""
        return self._pace is not None

    def read(self) -> Frame | None:
        """The next image; ``None`` after the last, or once closed.

        Raises:
            CameraError: an image cannot be read; names it.
        """
        if self._pace is not None:
            self._pace.wait()
        if self._closed or (self._sequence >= len(self.paths) and not self._loop):
            return None
        path = self.paths[self._sequence % len(self.paths)]
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise CameraError(f"could not read the image {path}", found="no image data", remedy="remove or mend it")
        self._sequence += 1
        return Frame(image=np.asarray(image, np.uint8), sequence=self._sequence, captured_at_s=time.monotonic())

    def close(self) -> None:
        """Give no more images."""
        self._closed = True
        if self._pace is not None:
            self._pace.close()


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
