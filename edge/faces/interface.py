"""What the tracker says of one frame of one camera.

A face's number says that it was seen without a long break, and nothing else. It is counted up from 1 while the device
runs; whoever leaves and returns gets a new one. No feature of a face is computed, kept or compared, so nobody is
recognised again: not later, not by another camera, not by another device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.vision.detections import Detections

UNNUMBERED = -1
"""In place of a face's number: not seen often enough yet, or too weak to begin a face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedFace:
    """A face that had a number and has left."""

    number: int
    label: int
    """Its smoothed class at the end."""
    first_seen_s: float
    last_seen_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Faces:
    """One frame's faces: four arrays, aligned with the frame's detections, and who has left."""

    at_s: float
    numbers: npt.NDArray[np.int64]
    """``int64[n]``; :data:`UNNUMBERED` where there is none. A face and its doubles share one."""
    classes: npt.NDArray[np.int32]
    """``int32[n]``: the smoothed class; the detection's own where it belongs to no face."""
    scores: npt.NDArray[np.float32]
    """``float32[n]``, 0..1: the mean score of that class over the last half-lives, 0 where another was seen."""
    doubles: npt.NDArray[np.bool_]
    """``bool[n]``: another box of this frame stands for the same face; neither draw nor count this one."""
    ended: tuple[EndedFace, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def smoothed(self, detections: Detections) -> Detections:
        """The frame's detections with smoothed classes and scores, one for each face, in the same order."""
        return Detections(boxes=detections.boxes, scores=self.scores, classes=self.classes).take(~self.doubles)
