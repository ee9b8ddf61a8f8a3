"""Covers faces in pictures: a box, widened to take in hair, chin and ears, becomes a few tiles of one rounded colour.

What made the face is then not in what is encoded. A detector misses a face now and then, so boxes of the last seconds
stay covered where they were; a picture is given only once boxes were kept for that long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge.camera.interface import Image

COVERED_S = 2.0
"""How long a place stays covered after a face was found there."""
_MARGIN = 0.35
"""Of the box, to each side: a head is larger than the face that is detected."""
_TILES = 4
_COLOUR_STEP = 32
_GRID_PX = 8.0

Box = tuple[float, float, float, float]
Boxes = npt.NDArray[np.float32]
"""``float32[n, 4]``: left, top, right, bottom."""


class RecentBoxes:
    """The boxes of one camera's last frames; keeping a frame's costs an entry in a list. Not for several threads."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, Boxes]] = deque()

    def note(self, at_s: float, boxes: Boxes) -> None:
        """Keep the boxes of one frame; they are not copied.

        Args:
            at_s: of the frame, rising.
            boxes: in the frame's pixels.
        """
        if len(boxes):
            self._frames.append((at_s, boxes))

    def forget_before(self, at_s: float) -> None:
        """Let go of frames that are older."""
        while self._frames and self._frames[0][0] < at_s:
            self._frames.popleft()

    def forget(self) -> None:
        """Let go of all."""
        self._frames.clear()

    def places(self) -> list[Box]:
        """What is to be covered: all boxes, rounded outwards to a grid, so that a face that keeps still counts once."""
        if not self._frames:
            return []
        boxes = np.concatenate([boxes for _, boxes in self._frames])
        corners = np.concatenate([np.floor(boxes[:, :2] / _GRID_PX), np.ceil(boxes[:, 2:] / _GRID_PX)], axis=1)
        return [
            (left, top, right, bottom) for left, top, right, bottom in np.unique(corners * _GRID_PX, axis=0).tolist()
        ]


def cover(image: Image, boxes: Sequence[Box]) -> None:
    """Replace each box and its surroundings in the picture by a few tiles of rounded colour, for good."""
    height, width = image.shape[:2]
    for left, top, right, bottom in boxes:
        wide, high = (right - left) * _MARGIN, (bottom - top) * _MARGIN
        x0, y0 = max(int(left - wide), 0), max(int(top - high), 0)
        x1, y1 = min(int(right + wide) + 1, width), min(int(bottom + high) + 1, height)
        if x1 <= x0 or y1 <= y0:
            continue
        region = image[y0:y1, x0:x1]
        tiles = cv2.resize(region, (_TILES, _TILES), interpolation=cv2.INTER_AREA)
        rounded = (tiles // _COLOUR_STEP * _COLOUR_STEP + _COLOUR_STEP // 2).astype(np.uint8)
        region[:] = cv2.resize(rounded, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST)
