"""Reads a live OpenCV capture, and opens it again with growing pauses when it goes away."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

import cv2
import numpy as np

from edge.camera.interface import CameraError, Frame, Image

_log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 15.0
_REMEDY = "check that it is connected, that this user may read it, and that no other program holds it"


class LiveCapture:
    """A live source read through OpenCV.

    Args:
        name: what to call it, without a password.
        opener: opens the source; called again after a loss.
        give_up_after_s: how long a lost source is waited for before ``read`` raises.
        first_pause_s: before a lost source is opened again; doubled each time.
        remedy: what to do when the first opening fails.

    Raises:
        CameraError: the first opening failed.
    """

    live = True

    def __init__(
        self,
        name: str,
        opener: Callable[[], cv2.VideoCapture],
        *,
        give_up_after_s: float,
        first_pause_s: float = 0.5,
        remedy: str = _REMEDY,
    ) -> None:
        self.name = name
        self.reconnects = 0
        self.is_away = False
        """Whether the source is lost and being opened again."""
        self._opener = opener
        self._give_up_after_s = give_up_after_s
        self._first_pause_s = first_pause_s
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._sequence = 0
        self._capture = opener()
        if not self._capture.isOpened():
            raise CameraError(f"could not open the camera {name}", found="no frames", remedy=remedy)

    def read(self) -> Frame | None:
        """The next frame; ``None`` once closed.

        Raises:
            CameraError: the source stayed away for longer than allowed.
        """
        if self._closed.is_set():
            return None
        with self._lock:
            image = _next_image(self._capture)
        if image is None:
            image = self._image_after_loss()
        if image is None:
            return None
        self._sequence += 1
        return Frame(image=image, sequence=self._sequence, captured_at_s=time.monotonic())

    def close(self) -> None:
        """Release the source and end every wait."""
        self._closed.set()
        if self._lock.acquire(timeout=2.0):
            self._capture.release()
            self._lock.release()

    def _image_after_loss(self) -> Image | None:
        """The first picture after a loss; a source that opens and stays dark is still away. ``None`` once closed."""
        lost_at_s, pause_s = time.monotonic(), self._first_pause_s
        self.is_away = True
        _log.warning("camera %s gives no frames; opening it again", self.name)
        while not self._closed.wait(pause_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, no secret
            with self._lock:
                self._capture.release()
                self._capture = self._opener()
                image = _next_image(self._capture) if self._capture.isOpened() else None
            if image is not None:
                self.reconnects += 1
                self.is_away = False
                _log.info("camera %s is back after %.1f s", self.name, time.monotonic() - lost_at_s)
                return image
            if time.monotonic() - lost_at_s > self._give_up_after_s:
                raise CameraError(f"camera {self.name} went away", found=f"no frames for {self._give_up_after_s:g} s")
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        return None


def _next_image(capture: cv2.VideoCapture) -> Image | None:
    there, image = capture.read()
    return np.asarray(image, np.uint8) if there else None
