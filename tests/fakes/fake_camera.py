"""A camera whose frames the test gives one by one."""

from __future__ import annotations

import queue
import time

import numpy as np

from edge.camera.interface import CameraError, Frame


class FakeCamera:
    """Gives what was put into it."""

    name = "fake"

    def __init__(self, *, live: bool, size: tuple[int, int] = (48, 64)) -> None:
        self.live = live
        self.closed = False
        self.is_away = False
        self.away_because = ""
        self.reconnects = 0
        self.bad_frames = 0
        self.description = ""
        self._size = size
        self._sequence = 0
        self._frames: queue.Queue[Frame | Exception | None] = queue.Queue()

    def give(self, count: int = 1, *, level: int = 100) -> None:
        """Let so many frames of one grey come."""
        for _ in range(count):
            self.give_image(np.full((*self._size, 3), level, np.uint8))

    def give_image(self, image: np.ndarray) -> None:
        """Let this picture come."""
        self._sequence += 1
        self._frames.put(Frame(image=image, sequence=self._sequence, captured_at_s=time.monotonic()))

    def end(self) -> None:
        """Let the source end."""
        self._frames.put(None)

    def fail(self) -> None:
        """Let the source go away."""
        self._frames.put(CameraError("the camera went away"))

    def read(self) -> Frame | None:
        frame = self._frames.get(timeout=30)
        if isinstance(frame, Exception):
            raise frame
        return frame

    def close(self) -> None:
        self.closed = True
        self._frames.put(None)
