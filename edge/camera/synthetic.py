"""A camera without a camera: a moving gradient with discs, for trying a device where there is nothing to look at."""

from __future__ import annotations

import time

import cv2
import numpy as np

from edge.camera.interface import Frame
from edge.camera.pacing import Pace


class SyntheticCamera:
    """Frames drawn from their own number: the same number always shows the same picture.

    Args:
        width: pixels.
        height: pixels.
        fps: frames a second; the source is live.
        frames: how many to give before the end; ``None`` never ends.
    """

    live = True
    is_away = False
    away_because = ""
    reconnects = 0
    bad_frames = 0

    def __init__(self, width: int, height: int, fps: float, *, frames: int | None = None) -> None:
        self._size = (width, height)
        self._frames = frames
        self._pace = Pace(fps)
        self._sequence = 0
        self._closed = False
        ramp = np.linspace(40, 200, width, dtype=np.uint8)
        self._background = np.repeat(np.repeat(ramp[None, :, None], height, 0), 3, 2)
        self.name = f"synthetic://{width}x{height}@{fps:g}"
        self.description = f"{width}×{height} at {fps:g} fps, drawn"

    def read(self) -> Frame | None:
        """The next picture; ``None`` after the last, or once closed."""
        self._pace.wait()
        if self._closed or (self._frames is not None and self._sequence >= self._frames):
            return None
        self._sequence += 1
        return Frame(image=self.draw(self._sequence), sequence=self._sequence, captured_at_s=time.monotonic())

    def draw(self, number: int) -> np.ndarray:
        """Picture ``number``: ``uint8[height, width, 3]``."""
        width, height = self._size
        image = np.roll(self._background, number * 3, axis=1)
        for disc in range(3):
            centre = ((number * (5 + 2 * disc) + disc * width // 3) % width, height * (disc + 1) // 4)
            cv2.circle(image, centre, min(width, height) // 8, (60 * disc + 60, 220 - 60 * disc, 128), -1)
        return image

    def close(self) -> None:
        """Give no more pictures."""
        self._closed = True
        self._pace.close()
