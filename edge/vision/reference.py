"""Frames with the detections that a release showed for them when it was packed (``reference.npz``).

A device runs its own engine over these frames and compares. Format, version 1, a numpy archive: ``format``
int32[], ``frames`` uint8[F, height, width, 3] (letterboxed), ``counts`` int32[F], and, one after another for all
frames, ``boxes`` float32[T, 4] (xyxy, input pixels), ``scores`` float32[T], ``classes`` int32[T]. No pickled objects.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.vision.detections import Detections
from mien.errors import BundleError
from mien.files import replacing

FORMAT = 1
_ARRAYS = {"format": 0, "frames": 4, "counts": 1, "boxes": 2, "scores": 1, "classes": 1}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceFrame:
    """One input and what the FP32 model found in it."""

    frame: npt.NDArray[np.uint8]
    """``uint8[height, width, 3]``, letterboxed, blue-green-red."""
    detections: Detections
    """After non-maximum suppression, in input pixels."""


def write_reference(path: Path, frames: Sequence[ReferenceFrame]) -> None:
    """Write reference frames, all of one size, atomically.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    found = [frame.detections for frame in frames]
    with replacing(path) as stream:
        np.savez_compressed(
            stream,
            format=np.int32(FORMAT),
            frames=np.stack([frame.frame for frame in frames]),
            counts=np.array([len(one) for one in found], np.int32),
            boxes=np.concatenate([one.boxes for one in found]).astype(np.float32),
            scores=np.concatenate([one.scores for one in found]).astype(np.float32),
            classes=np.concatenate([one.classes for one in found]).astype(np.int32),
        )


def read_reference(path: Path) -> tuple[ReferenceFrame, ...]:
    """Read reference frames.

    Raises:
        BundleError: the file is missing, is no such archive, or its arrays contradict each other.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{path} holds no reference frames", found=str(error)[:200], remedy="pack the bundle again"
        ) from error
    fault = _fault(arrays)
    if fault:
        raise BundleError(f"{path} is not a reference of format {FORMAT}", found=fault, remedy="pack the bundle again")
    return tuple(_frames(arrays))


def _fault(arrays: dict[str, npt.NDArray[np.generic]]) -> str:
    for name, dimensions in _ARRAYS.items():
        if arrays[name].ndim != dimensions:
            return f"{name} has {arrays[name].ndim} dimensions, wanted {dimensions}"
    if int(arrays["format"].astype(np.int64)) != FORMAT:
        return f"format {arrays['format']}"
    if arrays["frames"].dtype != np.uint8 or arrays["frames"].shape[3] != 3:  # noqa: PLR2004 - colour channels
        return f"frames {arrays['frames'].dtype}{arrays['frames'].shape}"
    counts = arrays["counts"].astype(np.int64)
    total = int(counts.sum())
    lengths = {name: len(arrays[name]) for name in ("boxes", "scores", "classes")}
    if len(counts) != len(arrays["frames"]) or (counts < 0).any() or set(lengths.values()) != {total}:
        return f"{len(arrays['frames'])} frames, {len(counts)} counts of {total} detections, arrays of {lengths}"
    return ""


def _frames(arrays: dict[str, npt.NDArray[np.generic]]) -> list[ReferenceFrame]:
    ends = np.cumsum(arrays["counts"].astype(np.int64))
    starts = np.concatenate([[0], ends[:-1]])
    return [
        ReferenceFrame(
            frame=frame,
            detections=Detections(
                boxes=arrays["boxes"][start:end].astype(np.float32),
                scores=arrays["scores"][start:end].astype(np.float32),
                classes=arrays["classes"][start:end].astype(np.int32),
            ),
        )
        for frame, start, end in zip(arrays["frames"].astype(np.uint8), starts, ends, strict=True)
    ]
