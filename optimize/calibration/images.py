"""Reads the training split, chooses calibration images and brings them into the model's input."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.vision.letterbox import Letterbox
from mien.console import SILENT, Progress
from mien.dataset import Dataset, Sample
from mien.errors import DataError
from mien.files import sha256_of
from mien.release import CalibrationSample, ComparedOn
from optimize.calibration.select import Candidate, choose
from optimize.graph.export import GraphSpec
from optimize.images import Judged, classes_of, judged, read_image

FEWEST = 32
USUAL = 128
"""So many calibration images are taken unless another number is asked for, or all where the split has fewer."""
_LOOKED_AT = 4
"""So many times more images than wanted are looked at for their brightness."""
HELD_OUT = 64
"""Images to compare ways to INT8 on."""
_FEWEST_HELD_OUT = 8
_FLAT = 2.0
"""A frame whose pixels differ by less than this standard deviation shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationSet:
    """Frames of the training split: some to find scales with, others to compare ways to INT8 on."""

    frames: npt.NDArray[np.uint8]
    """``uint8[n, height, width, 3]``, letterboxed."""
    samples: tuple[CalibrationSample, ...]
    """The chosen images by name and content, in the order of the frames."""
    sha256: str
    """Of the chosen images' names and contents."""
    compared: tuple[Judged, ...]
    """Training images with their labels, to compare ways to INT8 on."""
    held_out: bool
    """Whether no scale was found with these; where the split has too few others, they are the frames themselves."""
    classes: frozenset[int]
    """Classes that the frames show."""

    @property
    def compared_on(self) -> ComparedOn:
        """On what ways to INT8 are compared, in words."""
        return "held-out training images" if self.held_out else "the calibration images"


def calibration_set(
    dataset: Dataset,
    spec: GraphSpec,
    *,
    count: int,
    seed: int,
    fewest: int = FEWEST,
    held_out: int = 0,
    progress: Progress = SILENT,
) -> CalibrationSet:
    """Choose and read calibration images from the training split alone.

    Args:
        dataset: its validation split is never touched.
        spec: of the model's input.
        count: frames to find scales with.
        seed: the same seed chooses the same images.
        fewest: fewer than these are refused.
        held_out: further images to compare on, as far as the split has some; none are read for 0.
        progress: told about each image that is read.

    Raises:
        DataError: too few images, one cannot be decoded, nearly all are blank, or labels to compare with are faulty.
    """
    check_count(dataset, count, fewest)
    pool = _pool(dataset.split("train"), count, seed)
    frames = _letterboxed(pool, spec, progress)
    _refuse_blank(frames)
    known = classes_of(pool, len(dataset.names))
    candidates = [
        Candidate(classes=classes, brightness=float(frame.mean())) for classes, frame in zip(known, frames, strict=True)
    ]
    chosen = choose(candidates, count, seed=seed)
    rest = sorted(set(range(len(pool))) - set(chosen))
    others = [rest[index] for index in choose([candidates[index] for index in rest], held_out, seed=seed)]
    apart = len(others) >= _FEWEST_HELD_OUT
    compared = (others if apart else chosen) if held_out else []
    listed = tuple(
        CalibrationSample(name=pool[index].image.name, sha256=sha256_of(pool[index].image)) for index in chosen
    )
    return CalibrationSet(
        frames=frames[chosen],
        samples=listed,
        sha256=hash_of_samples(listed),
        compared=_labelled([pool[index] for index in compared], spec, len(dataset.names)),
        held_out=apart,
        classes=frozenset().union(*(known[index] for index in chosen)),
    )


def count_for(dataset: Dataset, asked: int | None) -> int:
    """How many images calibrate: as many as were asked for, or the usual number as far as the split has it.

    Args:
        dataset: of which the training split counts.
        asked: a number that was named; it is never lowered.

    Raises:
        DataError: the training split has fewer than asked for, or too few.
    """
    there = len(dataset.split("train"))
    count = min(USUAL, there) if asked is None else asked
    check_count(dataset, count)
    if count > there:
        raise DataError(
            "there are not so many images to calibrate with",
            found=f"asked for {count}, the training split has {there}",
            wanted=f"{FEWEST} … {there}",
            remedy=f"name such a number with --calibration-images, or leave it out to take {min(USUAL, there)}",
        )
    return count


def notes_on(asked: int | None, used: int, compared_on: ComparedOn | None = None) -> tuple[str, ...]:
    """What is to be said of the images that calibrated.

    Args:
        asked: the number that was named, if any.
        used: so many were taken.
        compared_on: on what ways to INT8 were compared; ``None`` where none were.
    """
    notes = []
    if asked is None and used < USUAL:
        notes.append(f"calibrated with {used} images, all that the training split has; {USUAL} are usual")
    if compared_on == "the calibration images":
        notes.append(
            "compared on the calibration images themselves, because the training split leaves fewer than "
            f"{_FEWEST_HELD_OUT} others: the losses look smaller than they are"
        )
    return tuple(notes)


def check_count(dataset: Dataset, count: int, fewest: int = FEWEST) -> None:
    """Make sure, before any work, that there are enough images to calibrate with.

    Raises:
        DataError: too few are asked for, or the training split has too few.
    """
    samples = dataset.split("train")
    if min(count, len(samples)) < fewest:
        raise DataError(
            "too few images to calibrate with",
            found=f"{min(count, len(samples))} (asked for {count}, the training split has {len(samples)})",
            wanted=f"{fewest} or more, better 128",
            remedy="raise --calibration-images or add training images, or leave int8 out of --precision",
        )


def evenly(images: Sequence[Judged], count: int) -> tuple[Judged, ...]:
    """``count`` of the images at even steps, or all if there are fewer."""
    count = min(count, len(images))
    return tuple(images[place * len(images) // count] for place in range(count))


def hash_of_samples(samples: Iterable[CalibrationSample]) -> str:
    """One SHA-256 over names and contents: ``name sha256`` and a line feed for each."""
    return hashlib.sha256("".join(f"{one.name} {one.sha256}\n" for one in samples).encode()).hexdigest()


def _letterboxed(pool: Sequence[Sample], spec: GraphSpec, progress: Progress) -> npt.NDArray[np.uint8]:
    letterbox = Letterbox(spec.width, spec.height)
    frames = np.empty((len(pool), spec.height, spec.width, 3), np.uint8)
    progress.start("calibration images", len(pool))
    for place, sample in enumerate(pool):
        letterbox.apply(read_image(sample.image), frames[place])
        progress.advance()
    return frames


def _labelled(samples: Sequence[Sample], spec: GraphSpec, class_count: int) -> tuple[Judged, ...]:
    letterbox = Letterbox(spec.width, spec.height)
    return tuple(judged(sample, letterbox, spec.height, spec.width, class_count) for sample in samples)


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
