"""Why the gate refused: the classic causes, each with the evidence that speaks for it. Pure.

The causes are those that the field meets again and again: scales found on images unlike those that are judged, channels
that differ between training and use, and a head that was quantised with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimize.gate import REFERENCE

_FAR = 0.35
"""So far apart are brightness distributions that a person would call the pictures different (0 … 1)."""
_BETTER = 0.05
"""A gain in mAP50 that no chance explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was looked at after a refusal; ``None`` where it was not."""

    refused: Mapping[str, str]
    """Reasons by file."""
    quantised_head: tuple[str, ...] = ()
    """Nodes that choose or decode boxes and pass through INT8."""
    brightness_distance: float | None = None
    """Between calibration and validation frames; see :func:`distance`."""
    missing_classes: tuple[str, ...] = ()
    """Labelled in the validation split, shown by no calibration frame."""
    swapped_gain: float | None = None
    """How much higher FP32's mAP50 is when red and blue change places."""


def likely_causes(evidence: Evidence) -> tuple[str, ...]:
    """What a person should try, the most telling evidence first; never empty for a refusal."""
    causes = [*_of_preprocessing(evidence), *_of_head(evidence), *_of_calibration(evidence)]
    return tuple(causes) or (_of_last_resort(evidence),)


def distance(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Largest gap between two samples' cumulative distributions (Kolmogorov-Smirnov), 0 … 1; 0 for an empty one."""
    if not one.size or not other.size:
        return 0.0
    places = np.concatenate([one, other])
    below = [np.searchsorted(np.sort(sample), places, side="right") / sample.size for sample in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def _of_preprocessing(evidence: Evidence) -> Sequence[str]:
    if evidence.swapped_gain is None or evidence.swapped_gain < _BETTER:
        return ()
    said = (
        f"preprocessing mismatch: with red and blue exchanged FP32's mAP50 is {evidence.swapped_gain:.2f} higher, so "
        "the weights were trained with the channels the other way round: train with 'mien train run'"
    )
    return (said,)


def _of_head(evidence: Evidence) -> Sequence[str]:
    if not evidence.quantised_head:
        return ()
    said = (
        f"quantised head: {len(evidence.quantised_head)} nodes that choose or decode boxes pass through INT8, "
        f"first {evidence.quantised_head[0]}; one scale for pixels and probabilities destroys both: "
        "quantise with 'mien optimize quantize', which leaves them out"
    )
    return (said,)


def _of_calibration(evidence: Evidence) -> Sequence[str]:
    if all(REFERENCE in path for path in evidence.refused):
        return ()
    said: list[str] = []
    if evidence.missing_classes:
        said.append(f"no calibration image shows {', '.join(evidence.missing_classes)}")
    if evidence.brightness_distance is not None and evidence.brightness_distance > _FAR:
        said.append(
            f"calibration and validation images differ in brightness (distance {evidence.brightness_distance:.2f}, "
            f"alike up to {_FAR})"
        )
    if not said:
        return ()
    return (f"unrepresentative calibration: {'; '.join(said)}: add such images to the training split",)


def _of_last_resort(evidence: Evidence) -> str:
    if any(REFERENCE in path for path in evidence.refused):
        return "the weights themselves are weak: train longer, or look at the data: mien train data check"
    return (
        "none of the classic causes shows: try more --calibration-images that look like the field, "
        "or leave the precision out"
    )
