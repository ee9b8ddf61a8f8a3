"""Reads the training split, chooses calibration images and brings them into the model's input."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.vision.letterbox import Letterbox
from mien.console import SILENT, Progress
from mien.dataset import Dataset, Sample
from mien.errors import DataError
from mien.files import sha256_of
from optimize.calibration.select import Candidate, choose
from optimize.graph.export import GraphSpec
from optimize.images import classes_of, read_image

FEWEST = 32
_LOOKED_AT = 8
"""So many times more images than wanted are looked at for their brightness."""
_FLAT = 2.0
"""A frame whose pixels differ by less than this standard deviation shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationSet:
    """Frames to find scales with."""

    frames: npt.NDArray[np.uint8]
    """``uint8[n, height, width, 3]``, letterboxed."""
    sha256: str
    """Of the chosen images' names and contents."""


def calibration_set(
    dataset: Dataset, spec: GraphSpec, *, count: int, seed: int, fewest: int = FEWEST, progress: Progress = SILENT
) -> CalibrationSet:
    """Choose and read calibration images from the training split alone.

    Raises:
        DataError: too few images, one cannot be decoded, or nearly all are blank.
    """
    samples = dataset.split("train")
    if min(count, len(samples)) < fewest:
        raise DataError(
            "too few images to calibrate with",
            found=f"{min(count, len(samples))} (asked for {count}, the training split has {len(samples)})",
            wanted=f"{fewest} or more, better 128",
            remedy="raise --calibration-images or add training images, or leave int8 out of --precision",
        )
    pool = _pool(samples, count, seed)
    letterbox = Letterbox(spec.width, spec.height)
    frames = np.empty((len(pool), spec.height, spec.width, 3), np.uint8)
    progress.start("calibration images", len(pool))
    for place, sample in enumerate(pool):
        letterbox.apply(read_image(sample.image), frames[place])
        progress.advance()
    _refuse_blank(frames)
    known = classes_of(pool, len(dataset.names))
    candidates = [
        Candidate(classes=classes, brightness=float(frame.mean())) for classes, frame in zip(known, frames, strict=True)
    ]
    chosen = choose(candidates, count, seed=seed)
    return CalibrationSet(frames=frames[chosen], sha256=_hash([pool[index] for index in chosen]))


def _pool(samples: tuple[Sample, ...], count: int, seed: int) -> list[Sample]:
    most = count * _LOOKED_AT
    if len(samples) <= most:
        return list(samples)
    dice = random.Random(seed)  # noqa: S311 - a sample, no secret
    return [samples[index] for index in sorted(dice.sample(range(len(samples)), most))]


def _refuse_blank(frames: npt.NDArray[np.uint8]) -> None:
    blank = sum(float(frame.std()) < _FLAT for frame in frames)
    if blank > len(frames) // 2:
        raise DataError(
            "the calibration images show nothing",
            found=f"{blank} of {len(frames)} are of one colour",
            wanted="images like those the device will see",
            remedy="look at the training split: mien train data check",
        )


def _hash(samples: list[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.image.name} {sha256_of(sample.image)}\n".encode())
    return digest.hexdigest()
