"""How far two distributions over the same bins lie apart, and how far they would lie apart by chance alone.

The population stability index is the sum of (p - q) ln(p / q); scorecard builders call 0.1 to 0.25 a shift (Siddiqi
2006). Of two samples of n and m from one distribution over B bins it is about (1/n + 1/m) times a chi-squared value
with B - 1 degrees of freedom (Yurdakul and Naranjo 2020), so small samples show a large index without any shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_FLOOR = 0.5
"""Added to each bin: an empty one has no logarithm."""


def stability_index(new: Sequence[float], reference: Sequence[float]) -> float:
    """The population stability index of counts over the same bins."""
    p_all, q_all = sum(new) + _FLOOR * len(new), sum(reference) + _FLOOR * len(reference)
    shares = (((a + _FLOOR) / p_all, (b + _FLOOR) / q_all) for a, b in zip(new, reference, strict=True))
    return sum((p - q) * math.log(p / q) for p, q in shares)


def chance_of_index(index: float, new: Sequence[float], reference: Sequence[float]) -> float:
    """The p of an index at least as large, were both samples from one distribution. Bins empty in both do not count."""
    bins = sum(1 for a, b in zip(new, reference, strict=True) if a + b > 0)
    if bins < 2:  # noqa: PLR2004 - one bin has no shape
        return 1.0
    scale = 1 / (sum(new) + _FLOOR) + 1 / (sum(reference) + _FLOOR)
    return chi_squared_above(index / scale, bins - 1)


def chi_squared_above(value: float, degrees: int) -> float:
    """The chance of a larger chi-squared value, by Wilson and Hilferty's cube root (1931)."""
    spread = 2 / (9 * degrees)
    z = ((max(value, 0.0) / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(z / math.sqrt(2))


def binned_delta(new: Sequence[float], reference: Sequence[float]) -> float:
    """Cliff's delta of two histograms over the same bins in rising order: negative where the new one lies lower."""
    total, below, delta = sum(reference), 0.0, 0.0
    for a, b in zip(new, reference, strict=True):
        delta += a * (below - (total - below - b))
        below += b
    return delta / (sum(new) * total)
