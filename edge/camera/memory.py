"""Pictures that lie in memory, over and over, as fast as they are taken: for measuring without a decoder."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edge.camera.interface import Frame, Image


class MemoryCamera:
    """Gives the same pictures in a loop; loses none, and is not live. Frames share their pixels: nobody may write them.

    Args:
        images: the pictures, in order.
        frames: how many to give before the end; ``None`` never ends.
    """

    name = "memory"
    live = False
    is_away = False
    away_because = ""
    reconnects = 0
    bad_frames = 0

    def __init__(self, images: Sequence[Image], *, frames: int | None = None) -> None:
        self._images = images
        self._frames = frames
        self._sequence = 0
        self._closed = False
        height, width = images[0].shape[:2]
        self.description = f"{width}×{height}, {len(images)} pictures in memory"

    def read(self) -> Frame | None:
        """The next picture; ``None`` after the last, or once closed."""
        if self._closed or self._sequence == self._frames:
            return None
        self._sequence += 1
        image = self._images[self._sequence % len(self._images)]
        return Frame(image=image, sequence=self._sequence, captured_at_s=time.monotonic())

    def close(self) -> None:
        """Give no more pictures."""
        self._closed = True
