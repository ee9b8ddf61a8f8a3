"""Reads a data set's images into the model's input with the device's own letterbox, and their labels beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.vision.letterbox import Geometry, Letterbox
from mien.dataset import Sample, read_labels
from mien.errors import DataError
from optimize.evaluate.coco import Truth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Framed:
    """A picture in the model's input."""

    frame: npt.NDArray[np.uint8]
    """``uint8[height, width, 3]``, letterboxed."""
    geometry: Geometry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged(Framed):
    """An image in the model's input, with its truth."""

    path: Path
    truth: Truth


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """An image's pixels, ``uint8[H, W, 3]`` blue-green-red.

    Raises:
        DataError: the file cannot be decoded.
    """
    image: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(
            f"could not decode {path}", wanted="an image", remedy="remove or mend it; see: mien train data check"
        )
    pixels: npt.NDArray[np.uint8] = image
    return pixels


def judged(sample: Sample, letterbox: Letterbox, height: int, width: int, class_count: int) -> Judged:
    """Read an image and its labels.

    Raises:
        DataError: the image cannot be decoded, or a label line cannot be taken.
    """
    image = read_image(sample.image)
    frame = np.empty((height, width, 3), np.uint8)
    geometry = letterbox.apply(image, frame)
    labels, faults = read_labels(sample.label, class_count)
    if faults:
        raise DataError(
            f"{sample.label} has lines that are no labels",
            found=f"line {faults[0].line}: {faults[0].reason}",
            remedy="see all of them with: mien train data check",
        )
    corners = [box.xyxy(image.shape[1], image.shape[0]) for box in labels]
    truth = Truth(
        boxes=np.array(corners, np.float32).reshape(-1, 4),
        classes=np.array([box.class_index for box in labels], np.int32),
    )
    return Judged(path=sample.image, frame=frame, geometry=geometry, truth=truth)


def classes_of(samples: Sequence[Sample], class_count: int) -> list[frozenset[int]]:
    """Which classes each sample shows."""
    return [frozenset(box.class_index for box in read_labels(sample.label, class_count)[0]) for sample in samples]
