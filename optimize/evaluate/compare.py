"""How a variant differs from FP32 in what a user sees: confidence, and images whose findings changed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.vision.detections import Detections, matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A variant held against FP32, over detections above the threshold of use."""

    mean_confidence: float | None
    """Of the variant's own detections; ``None`` when it finds nothing."""
    confidence_shift: float | None
    """Mean of (variant − FP32) over detections that both show; ``None`` when they share none."""
    changed_images: int
    """Images where one shows a detection that the other does not."""


def compare(reference: Sequence[Detections], found: Sequence[Detections], *, iou: float = 0.5) -> Difference:
    """Compare image by image.

    Args:
        reference: FP32's detections above the threshold of use.
        found: the variant's, likewise.
        iou: so much overlap makes two detections of a class the same.
    """
    shifts: list[float] = []
    changed = 0
    for wanted, given in zip(reference, found, strict=True):
        pairs = matches(wanted, given, iou=iou)
        shifts += [float(given.scores[there] - wanted.scores[here]) for here, there in pairs]
        changed += not len(pairs) == len(wanted) == len(given)
    scores = np.concatenate([one.scores for one in found]) if found else np.zeros(0)
    return Difference(
        mean_confidence=float(scores.mean()) if scores.size else None,
        confidence_shift=float(np.mean(shifts)) if shifts else None,
        changed_images=changed,
    )


def above(found: Detections, threshold: float) -> Detections:
    """The detections above a score."""
    return found.take(found.scores > threshold)
