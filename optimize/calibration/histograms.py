"""How large a tensor's values get: a histogram of their sizes, gathered frame by frame.

One pass over the calibration frames serves every method of finding scales. A histogram's range doubles when a larger
value comes, and its bins merge in pairs then, so nothing is lost and no second pass is needed. Only sizes are kept:
scales are symmetric.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.errors import DataError, ModelError
from mien.files import replacing

BINS = 2048
_SHORTEST = 1e-9
"""A reach below this would not survive single precision."""
FORMAT = 1

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram:
    """Sizes of one tensor's values over all frames."""

    counts: Counts
    """``int64[BINS]``, of equal width from zero to ``reach``."""
    reach: float
    """Upper edge of the last bin; zero when every value was zero."""
    largest: float
    """The largest size that came, exactly."""

    def with_values(self, values: Values) -> Histogram:
        """The same histogram with more values of the tensor, of any shape.

        Raises:
            ModelError: a value is not finite.
        """
        sizes = np.abs(values, dtype=np.float32).ravel()
        largest = float(sizes.max(initial=0.0))
        if not math.isfinite(largest):
            raise ModelError(
                "a tensor inside the graph holds numbers that are not finite",
                found=str(largest),
                wanted="finite activations on every calibration frame",
                remedy="look at the weights: mien optimize export refuses such that are broken",
            )
        counts, reach = widened(self.counts, self.reach, largest)
        if reach == 0:
            counts = counts.copy()
            counts[0] += sizes.size
        else:
            place = np.minimum((sizes * np.float32(BINS / reach)).astype(np.int32), BINS - 1)
            counts = counts + np.bincount(place, minlength=BINS)
        return Histogram(counts=counts, reach=reach, largest=max(self.largest, largest))


EMPTY = Histogram(counts=np.zeros(BINS, np.int64), reach=0.0, largest=0.0)


def widened(counts: Counts, reach: float, largest: float) -> tuple[Counts, float]:
    """A histogram that reaches ``largest``: the range doubles as often as it must, bins merge in pairs."""
    if largest <= reach:
        return counts, reach
    if reach == 0:
        return counts, max(largest, _SHORTEST)
    while reach < largest:
        merged = counts.reshape(-1, 2).sum(axis=1)
        counts = np.concatenate([merged, np.zeros(BINS - len(merged), np.int64)])
        reach *= 2
    return counts, reach


def write_histograms(path: Path, histograms: Mapping[str, Histogram], *, model_sha256: str, frames: int) -> None:
    """Write histograms as a numpy archive, atomically. No pickled objects.

    Args:
        path: the file.
        histograms: by tensor name.
        model_sha256: of the FP32 graph that they were gathered from.
        frames: so many frames were looked at.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    names = sorted(histograms)
    with replacing(path) as stream:
        np.savez_compressed(
            stream,
            format=np.int32(FORMAT),
            model=np.array(model_sha256),
            frames=np.int32(frames),
            names=np.array(names),
            counts=np.stack([histograms[name].counts for name in names]) if names else np.zeros((0, BINS), np.int64),
            reach=np.array([histograms[name].reach for name in names], np.float64),
            largest=np.array([histograms[name].largest for name in names], np.float64),
        )


def read_histograms(path: Path, *, model_sha256: str) -> dict[str, Histogram]:
    """Read histograms that were gathered from a certain FP32 graph.

    Raises:
        DataError: no such archive, or one of another graph.
    """
    remedy = "make it again: mien optimize calibrate"
    try:
        with np.load(path, allow_pickle=False) as archive:
            stated, made_of = int(archive["format"]), str(archive["model"])
            names = [str(name) for name in archive["names"]]
            counts, reach, largest = archive["counts"], archive["reach"], archive["largest"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} holds no calibration", found=str(error)[:200], remedy=remedy) from error
    if stated != FORMAT or counts.shape != (len(names), BINS) or not len(names) == len(reach) == len(largest):
        raise DataError(f"{path} is not a calibration of format {FORMAT}", found=f"format {stated}", remedy=remedy)
    if made_of != model_sha256:
        raise DataError(
            f"{path} was made of another graph", found=made_of[:12], wanted=model_sha256[:12], remedy=remedy
        )
    return {
        name: Histogram(counts=counts[row].astype(np.int64), reach=float(reach[row]), largest=float(largest[row]))
        for row, name in enumerate(names)
    }
