"""What was found in one frame, and how alike two findings are. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """Objects in one frame, best first."""

    boxes: npt.NDArray[np.float32]
    """``float32[n, 4]``: x and y of the upper left and lower right corner, in pixels."""
    scores: npt.NDArray[np.float32]
    """``float32[n]``, 0..1."""
    classes: npt.NDArray[np.int32]
    """``int32[n]``, an index into the release's labels."""

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> Detections:
        """Nothing found."""
        return cls(boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), classes=np.zeros(0, np.int32))

    def take(self, which: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Detections:
        """The detections at these indices, or where the mask is true."""
        return Detections(boxes=self.boxes[which], scores=self.scores[which], classes=self.classes[which])


def pairwise_iou(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Intersection over union of every box of ``[n, 4]`` with every box of ``[m, 4]``: ``float32[n, m]``."""
    upper_left = np.maximum(first[:, None, :2], second[None, :, :2])
    lower_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(lower_right - upper_left, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = _areas(first)[:, None] + _areas(second)[None, :] - shared
    overlap: npt.NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def matches(reference: Detections, found: Detections, *, iou: float = 0.5) -> list[tuple[int, int]]:
    """Index pairs (reference, found) of one class that overlap enough; each is used once, best overlap first."""
    if not len(reference) or not len(found):
        return []
    overlap = pairwise_iou(reference.boxes, found.boxes)
    overlap[reference.classes[:, None] != found.classes[None, :]] = 0
    pairs: list[tuple[int, int]] = []
    taken_reference: set[int] = set()
    taken_found: set[int] = set()
    rows, columns = np.nonzero(overlap >= iou)
    for place in np.argsort(-overlap[rows, columns], kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if row not in taken_reference and column not in taken_found:
            pairs.append((row, column))
            taken_reference.add(row)
            taken_found.add(column)
    return pairs


def agreement(reference: Detections, found: Detections, *, iou: float = 0.5) -> tuple[int, int]:
    """How many of the reference's detections ``found`` shows again, and how many there are."""
    return len(matches(reference, found, iou=iou)), len(reference)


def _areas(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    area: npt.NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return area
