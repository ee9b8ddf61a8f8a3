"""Decides which of several overlapping boxes of one class stay. Pure.

Greedy non-maximum suppression by falling score. Classes are kept apart by shifting each class's boxes by
:data:`CLASS_OFFSET_PX`, as ultralytics does (``max_wh``), so the result is the same to the box.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.vision.detections import Detections, pairwise_iou

CLASS_OFFSET_PX = 7680


def non_max_suppression(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int32],
    *,
    score_threshold: float,
    iou_threshold: float,
    most: int = 300,
) -> Detections:
    """Drop weak boxes, and boxes that overlap a stronger one of their class by more than ``iou_threshold``.

    Args:
        boxes: ``[K, 4]`` xyxy; meant for some hundred candidates (memory grows with their square).
        scores: ``[K]``; a box stays only above ``score_threshold``.
        classes: ``[K]``.
        score_threshold: 0..1.
        iou_threshold: 0..1.
        most: so many boxes are returned at most, the strongest.

    Returns:
        The boxes that stay, strongest first.
    """
    strong = np.flatnonzero(scores > score_threshold)
    if not strong.size:
        return Detections.empty()
    order = strong[np.argsort(-scores[strong], kind="stable")]
    candidates = Detections(boxes=boxes[order], scores=scores[order], classes=classes[order])
    if strong.size == 1:
        return candidates
    shift = (candidates.classes * np.float32(CLASS_OFFSET_PX)).astype(np.float32)
    shifted = candidates.boxes + shift[:, None]
    return candidates.take(_survivors(pairwise_iou(shifted, shifted) > iou_threshold, most))


def _survivors(too_near: npt.NDArray[np.bool_], most: int) -> npt.NDArray[np.intp]:
    gone = np.zeros(len(too_near), np.bool_)
    kept: list[int] = []
    for place in range(len(too_near)):
        if gone[place]:
            continue
        kept.append(place)
        if len(kept) == most:
            break
        gone |= too_near[place]
    return np.array(kept, np.intp)
