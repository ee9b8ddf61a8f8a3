"""Mean average precision as COCO defines it. Pure numpy.

Ten overlap thresholds 0.50 … 0.95, 101 recall points, at most 100 detections an image and class, each object found
once, a detection takes the free object that it overlaps most (https://cocodataset.org/#detection-eval). A class without
labelled objects has no precision and is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.vision.detections import Detections, pairwise_iou

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST = 100

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """The labelled objects of one image."""

    boxes: npt.NDArray[np.float32]
    """``float32[n, 4]`` xyxy in the image's own pixels."""
    classes: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What was measured; fractions, not percent."""

    map50: float
    map50_95: float
    per_class: dict[int, float]
    """mAP50-95 of every class that has objects."""
    objects: dict[int, int]
    """Labelled objects of every class that has some."""


def mean_average_precision(found: Sequence[Detections], truths: Sequence[Truth], class_count: int) -> Precision:
    """Judge detections (best first, in the images' own pixels) against the truth, image by image."""
    per_class: dict[int, Floats] = {}
    objects: dict[int, int] = {}
    for name in range(class_count):
        count = sum(int((truth.classes == name).sum()) for truth in truths)
        if count:
            objects[name] = count
            per_class[name] = _class_precision(found, truths, name, count)
    if not per_class:
        return Precision(map50=0.0, map50_95=0.0, per_class={}, objects={})
    table = np.stack(list(per_class.values()))
    return Precision(
        map50=float(table[:, 0].mean()),
        map50_95=float(table.mean()),
        per_class={name: float(values.mean()) for name, values in per_class.items()},
        objects=objects,
    )


def _class_precision(found: Sequence[Detections], truths: Sequence[Truth], name: int, count: int) -> Floats:
    scores: list[npt.NDArray[np.float32]] = []
    hits: list[Flags] = []
    for one, truth in zip(found, truths, strict=True):
        of_class = one.take(np.flatnonzero(one.classes == name)[:MOST])
        scores.append(of_class.scores)
        hits.append(match(of_class.boxes, truth.boxes[truth.classes == name]))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return average_precision(np.concatenate(hits, axis=1)[:, order], count)


def match(boxes: npt.NDArray[np.float32], objects: npt.NDArray[np.float32]) -> Flags:
    """Which boxes of one image and class (best first) find an object: ``bool[10, n]``, a row for each overlap."""
    hits = np.zeros((len(OVERLAPS), len(boxes)), np.bool_)
    if not len(boxes) or not len(objects):
        return hits
    overlap = pairwise_iou(boxes, objects).astype(np.float64)
    for row, wanted in enumerate(OVERLAPS):
        free = np.ones(len(objects), np.bool_)
        for column in np.flatnonzero(overlap.max(axis=1) >= wanted):
            candidates = np.where(free, overlap[column], -1.0)
            best = int(candidates.argmax())
            if candidates[best] >= wanted:
                free[best] = False
                hits[row, column] = True
    return hits


def average_precision(hits: Flags, objects: int) -> Floats:
    """Area under the interpolated precision curve for each row of ``hits`` (detections by falling score)."""
    if not hits.shape[1]:
        return np.zeros(len(hits))
    true = hits.cumsum(axis=1, dtype=np.float64)
    recall = true / objects
    precision = true / np.arange(1, hits.shape[1] + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    areas = np.zeros(len(hits))
    for row in range(len(hits)):
        place = np.searchsorted(recall[row], RECALLS, side="left")
        reached = place < hits.shape[1]
        areas[row] = envelope[row, place[reached]].sum() / len(RECALLS)
    return areas
