"""Which validation frames a bundle carries as reference, and how far a variant reproduces them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.engine.interface import Engine
from edge.vision.decode import decode
from edge.vision.detections import Detections, agreement
from edge.vision.letterbox import Geometry
from edge.vision.reference import ReferenceFrame
from mien.release import OutputSpec

FRAMES = 12


def choose_frames(found: Sequence[Detections], threshold: float, count: int = FRAMES) -> list[int]:
    """Indices of images for the reference, rising: such that show something, and nothing close to the threshold.

    Args:
        found: FP32's detections of every image, weak ones included.
        threshold: the threshold of use.
        count: so many, or all when there are fewer.
    """
    shows = [bool((one.scores > threshold).any()) for one in found]
    margin = [float(np.abs(one.scores - threshold).min()) if len(one) else 0.0 for one in found]
    ranked = sorted(range(len(found)), key=lambda index: (not shows[index], -margin[index], index))
    return sorted(ranked[:count])


def reference_frame(
    engine: Engine, frame: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], outputs: OutputSpec
) -> ReferenceFrame:
    """Run one letterboxed frame ``uint8[height, width, 3]``; detections stay in input pixels."""
    geometry = Geometry.identity(frame.shape[1], frame.shape[0])
    return ReferenceFrame(frame=frame, detections=decode(engine.infer(frame[None]), outputs, geometry))


def reproduced(engine: Engine, reference: Sequence[ReferenceFrame], outputs: OutputSpec) -> float:
    """Share of the reference detections which an engine shows; with none at all, whether it shows none either."""
    matched = total = surplus = 0
    for wanted in reference:
        found = reference_frame(engine, wanted.frame, outputs).detections
        same, of = agreement(wanted.detections, found)
        matched, total, surplus = matched + same, total + of, surplus + len(found) - same
    return matched / total if total else float(not surplus)
