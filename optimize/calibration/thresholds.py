"""Where a tensor's INT8 range ends: the size that becomes 127. Pure.

Everything larger is clipped, everything smaller is rounded to a multiple of threshold/127; a method says how to weigh
one error against the other.

- ``max``: nothing is clipped.
- ``percentile``: all but 0.01 % of the values fit.
- ``entropy``: the quantised histogram tells least apart from the real one, by Kullback-Leibler divergence (Migacz,
  "8-bit Inference with TensorRT", GTC 2017).
- ``mse``: least mean squared error of clipping and rounding together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from optimize.calibration.histograms import BINS, Histogram

LEVELS = 127
"""Steps from zero to the threshold: INT8 is symmetric, −127 … 127."""
_KEPT = 0.9999
_STRIDE = 8
"""Thresholds are tried at every eighth bin, 0.4 % of the range apart."""
_SMALLEST = 1e-6

Floats = npt.NDArray[np.float64]


def threshold(histogram: Histogram, method: str) -> float:
    """The size that becomes 127.

    Args:
        histogram: of the tensor's values.
        method: one of :data:`METHODS`.

    Returns:
        A positive number, at most the largest size that came (or a tiny one for a tensor of zeros).
    """
    if histogram.largest <= _SMALLEST:
        return _SMALLEST
    return float(np.clip(METHODS[method](histogram), _SMALLEST, histogram.largest))


def thresholds(histograms: Mapping[str, Histogram], method: str) -> dict[str, float]:
    """Of every tensor."""
    return {name: threshold(histogram, method) for name, histogram in histograms.items()}


def _max(histogram: Histogram) -> float:
    return histogram.largest


def _percentile(histogram: Histogram) -> float:
    share = histogram.counts.cumsum() / histogram.counts.sum()
    return float(np.searchsorted(share, _KEPT) + 1) / BINS * histogram.reach


def _mse(histogram: Histogram) -> float:
    width = histogram.reach / BINS
    centres = (np.arange(BINS) + 0.5) * width
    tried = _candidates() * width
    steps = tried[:, None] / LEVELS
    rounded = np.minimum(np.round(centres[None] / steps), LEVELS) * steps
    errors = (histogram.counts * (centres[None] - rounded) ** 2).sum(axis=1)
    return float(tried[errors.argmin()])


def _entropy(histogram: Histogram) -> float:
    counts = histogram.counts.astype(np.float64)
    # Zeros are the same in every quantisation; counting them would let one bin outweigh all others.
    counts[0] = counts[1]
    best = min(_candidates(), key=lambda bins: _divergence(counts, int(bins)))
    return float(best) / BINS * histogram.reach


def _divergence(counts: Floats, bins: int) -> float:
    """Kullback-Leibler divergence of the histogram cut at ``bins``, to itself in :data:`LEVELS` + 1 steps."""
    real = counts[:bins].copy()
    real[-1] += counts[bins:].sum()
    seen = real > 0
    step = np.minimum(np.arange(bins) * (LEVELS + 1) // bins, LEVELS)
    mass = np.bincount(step, weights=counts[:bins], minlength=LEVELS + 1)
    places = np.bincount(step, weights=seen, minlength=LEVELS + 1)
    spread = np.divide(mass, places, out=np.zeros_like(mass), where=places > 0)[step] * seen
    if spread.sum() == 0:
        return np.inf
    p, q = real / real.sum(), spread / spread.sum()
    shown = p > 0
    return float((p[shown] * np.log(p[shown] / np.maximum(q[shown], 1e-12))).sum())


def _candidates() -> npt.NDArray[np.int64]:
    return np.arange(LEVELS + 1, BINS + 1, _STRIDE)


METHODS: Mapping[str, Callable[[Histogram], float]] = MappingProxyType(
    {"percentile": _percentile, "mse": _mse, "entropy": _entropy, "max": _max}
)
"""By name; the first is the default."""
