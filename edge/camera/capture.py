"""Reads a live OpenCV capture, and opens it again with growing pauses when it goes away."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

import cv2
import numpy as np

from edge.camera.interface import CameraError, Frame

_log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 15.0


class LiveCapture:
    """A live source read through OpenCV.

    Args:
        name: what to call it, without a password.
        opener: opens the source; called again after a loss.
        first_pause_s: before a lost source is opened again; doubled each time.
        give_up_after_s: how long a lost source is waited for before ``read`` raises.

    Raises:
        CameraError: the first opening failed.
    """

    live = True

    def __init__(
        self, name: str, opener: Callable[[], cv2.VideoCapture], *, give_up_after_s: float, first_pause_s: float = 0.5
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
            raise CameraError(
                f"could not open the camera {name}",
                found="no frames",
                remedy="check that it is connected, that this user may read it, and that no other program holds it",
            )

    def read(self) -> Frame | None:
        """The next frame; ``None`` once closed.

        Raises:
            CameraError: the source stayed away for longer than allowed.
        """
        while not self._closed.is_set():
            with self._lock:
                there, image = self._capture.read()
            if there:
                self._sequence += 1
                return Frame(image=np.asarray(image, np.uint8), sequence=self._sequence, captured_at_s=time.monotonic())
            self._reopen()
        return None

    def close(self) -> None:
        """Release the source and end every wait."""
        self._closed.set()
        if self._lock.acquire(timeout=2.0):
            self._capture.release()
            self._lock.release()

    def _reopen(self) -> None:
        lost_at_s, pause_s = time.monotonic(), self._first_pause_s
        self.is_away = True
        _log.warning("camera %s gives no frames; opening it again", self.name)
        while not self._closed.wait(pause_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, no secret
            with self._lock:
                self._capture.release()
                self._capture = self._opener()
                if self._capture.isOpened():
                    self.reconnects += 1
                    self.is_away = False
                    return
            if time.monotonic() - lost_at_s > self._give_up_after_s:
                raise CameraError(f"camera {self.name} went away", found=f"no frames for {self._give_up_after_s:g} s")
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
