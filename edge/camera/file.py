"""Video files, read frame by frame without loss, or played at their own rate as a camera would.

OpenCV answers a frame that cannot be decoded as it answers the end. So the end is believed only when the file has no
more frames by its own count, or when nothing comes any more.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from edge.camera.interface import CameraError, Frame, Image
from edge.camera.pacing import Pace
from edge.camera.pool import FramePool
from edge.camera.readable import check_readable

_log = logging.getLogger(__name__)

_USUAL_FPS = 30.0
_MOST_BAD = 256
"""So many failures in a row end the file, whatever number of frames it states."""


class VideoFile:
    """A video file.

    Args:
        path: the file.
        realtime: give frames at the file's own rate; the source then counts as live.
        loop: start again at the end.
        max_fps: in real time, frames a second at most; the frames between are skipped, the film runs at its own speed.

    Raises:
        CameraError: there is no such file, or it holds no video that this OpenCV can read.
    """

    def __init__(self, path: Path, *, realtime: bool = False, loop: bool = False, max_fps: float | None = None) -> None:
        self._path = path
        self._loop = loop
        self._capture = _opened(path)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else _USUAL_FPS  # noqa: PLR2004 - a container may state nonsense
        self._step = max(1, round(self.fps / max_fps)) if realtime and max_fps else 1
        self._pace = Pace(self.fps / self._step) if realtime else None
        self._sequence = 0
        self._lock = threading.Lock()
        self._pool = FramePool()
        self._size: tuple[int, int] | None = None
        self.is_away = False
        self.away_because = ""
        self.reconnects = 0
        self.bad_frames = 0
        width, height = (self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.description = f"{width:.0f}×{height:.0f} at {self.fps:.4g} fps"

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    @property
    def live(self) -> bool:
        """Whether the file plays in real time."""
        return self._pace is not None

    def read(self) -> Frame | None:
        """The next frame; ``None`` at the end of a file that does not loop, or once closed."""
        if self._pace is not None:
            self._pace.wait()
        with self._lock:
            image = self._next_good()
            if image is None and self._loop and self._capture.isOpened():
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                image = self._next_good()
        if image is None:
            return None
        self._sequence += 1
        return Frame(image=image, sequence=self._sequence, captured_at_s=time.monotonic())

    def close(self) -> None:
        """Release the file."""
        if self._pace is not None:
            self._pace.close()
        with self._lock:
            self._capture.release()

    def _next_good(self) -> Image | None:
        """The next frame that can be decoded; ``None`` at the end."""
        for failures in range(_MOST_BAD):
            image = self._next()
            if image is not None:
                self._count_bad(failures)
                return image
            frames = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
            if not self._capture.get(cv2.CAP_PROP_POS_FRAMES) + failures + 1 < frames:
                return None
        return None

    def _next(self) -> Image | None:
        for _ in range(self._step - 1):
            if not self._capture.grab():
                return None
        spare = self._pool.take(*self._size) if self._size else None
        there, image = self._capture.read(spare)
        if not there:
            return None
        self._size = (image.shape[1], image.shape[0])
        return np.asarray(image, dtype=np.uint8)

    def _count_bad(self, failures: int) -> None:
        if failures and not self.bad_frames:
            _log.warning("%s holds a frame that cannot be decoded; such frames are skipped and counted", self.name)
        self.bad_frames += failures
        self._sequence += failures


def _opened(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise CameraError(f"could not open the video {path}", found="no such file", remedy="check the path")
    check_readable(path, "video")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise CameraError(
            f"could not read the video {path}",
            found="no video stream that FFmpeg knows",
            wanted="a video such as MP4 with H.264",
            remedy="convert it: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4",
        )
    return capture
