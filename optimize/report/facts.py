"""Everything a report shows, gathered before any of it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.vision.detections import Detections
from mien.release import Calibration, GateResult, Provenance, Target
from optimize.evaluate.coco import Truth
from optimize.gate import Measured
from optimize.sensitivity import Study


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """A validation image where variants differ, with what each found."""

    title: str
    image: npt.NDArray[np.uint8]
    """``uint8[H, W, 3]`` blue-green-red, in the image's own pixels."""
    truth: Truth
    found: Mapping[str, Detections]
    """By variant path."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportFacts:
    """All that is shown of one release."""

    release: str
    labels: tuple[str, ...]
    size: str
    measured: Sequence[Measured]
    objects: Mapping[str, int]
    gate: GateResult
    latency_on: str
    study: Study | None
    """The sensitivity analysis, where one was made."""
    calibration: Calibration | None
    provenance: Provenance
    target: Target | None
    intended_use: str
    known_limits: Sequence[str]
    scores: Mapping[str, npt.NDArray[np.float32]]
    """Scores above the threshold of use, by variant path."""
    worst: Sequence[Shown]


def target_words(target: Target | None) -> str:
    """The class that a bundle was made for, in words."""
    if target is None:
        return "any device"
    return f"{target.name} (JetPack {target.jetpack}, TensorRT {target.tensorrt}, compute {target.compute_capability})"
