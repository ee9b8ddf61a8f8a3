"""Whether values of one group are smaller than those of another, by ranks: nothing is assumed of their distribution.

The test is Mann and Whitney's (1947), its size Cliff's delta (1993), which is 2A - 1 of Vargha and Delaney's A (2000):
how much likelier a value of one group is the larger one than the smaller one. Groups that fall into several kinds are
compared kind by kind and put together by van Elteren's sum (1960), so that a difference between kinds is none between
groups. A value that stands for several is weighted by them; evidence then counts by Kish's effective size (1965), so
that one mean of six windows is worth one observation and not six.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

_EXACT_UP_TO = 400

Weighted = tuple[float, float]
"""A value and its weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Two groups, compared by ranks: what several comparisons can be put together from."""

    u: float
    """Pairs in which the first group has the larger value, ties half."""
    first: float
    """Effective size of the first group."""
    second: float
    variance: float
    """Of ``u``, were both groups alike."""
    exact: bool
    """Whether nothing is tied or weighted, and the groups are small enough to count arrangements."""

    @property
    def delta(self) -> float:
        """Cliff's delta: -1 where every value of the first group is smaller, +1 where every one is larger."""
        return 2 * self.u / (self.first * self.second) - 1


def compare(first: Sequence[Weighted], second: Sequence[Weighted]) -> Ranks:
    """Compare two groups that are not empty."""
    n, m = effective_size(first), effective_size(second)
    total_first, total_second = sum(w for _, w in first), sum(w for _, w in second)
    ordered = sorted(second)
    below = [0.0, *accumulate(weight for _, weight in ordered)]
    values = [value for value, _ in ordered]
    wins = sum(w * (below[bisect_left(values, v)] + below[bisect_right(values, v)]) / 2 for v, w in first)
    pooled = sorted([(v, w * n / total_first) for v, w in first] + [(v, w * m / total_second) for v, w in second])
    ties = [sum(w for _, w in group) for _, group in groupby(pooled, key=lambda item: item[0])]
    total = n + m
    variance = n * m / 12 * (total + 1 - sum(t**3 - t for t in ties) / (total * (total - 1))) if total > 1 else 0.0
    plain = len(ties) == len(first) + len(second) and {w for _, w in (*first, *second)} == {1.0}
    return Ranks(
        u=wins / (total_first * total_second) * n * m,
        first=n,
        second=m,
        variance=max(0.0, variance),
        exact=plain and len(first) * len(second) <= _EXACT_UP_TO,
    )


def chance_of(parts: Sequence[Ranks]) -> float:
    """One-sided p of "the first group's values are not smaller": small when they are, over all kinds together.

    Exact for one kind without ties in small groups; otherwise the normal approximation with tie correction and
    continuity correction.
    """
    if len(parts) == 1 and parts[0].exact:
        (only,) = parts
        counts = _arrangements(round(only.first), round(only.second))
        return sum(counts[: round(only.u) + 1]) / sum(counts)
    shares = [1 / (part.first + part.second + 1) for part in parts]
    variance = sum(share**2 * part.variance for share, part in zip(shares, parts, strict=True))
    if variance <= 0:
        return 1.0
    away = sum(share * (part.u - part.first * part.second / 2) for share, part in zip(shares, parts, strict=True))
    return 0.5 * math.erfc(-(away + 0.5 * max(shares)) / math.sqrt(2 * variance))


def delta_of(parts: Sequence[Ranks]) -> float:
    """Cliff's delta over all kinds, each by the weight it has in :func:`chance_of`."""
    weights = [part.first * part.second / (part.first + part.second + 1) for part in parts]
    return sum(w * part.delta for w, part in zip(weights, parts, strict=True)) / sum(weights)


def mann_whitney(lower: Sequence[float], higher: Sequence[float]) -> float:
    """One-sided p of "values of ``lower`` are not smaller than those of ``higher``"."""
    return chance_of([compare([(value, 1.0) for value in lower], [(value, 1.0) for value in higher])])


def effective_size(values: Sequence[Weighted]) -> float:
    """How many equally weighted values say as much."""
    return sum(w for _, w in values) ** 2 / sum(w * w for _, w in values)


def middle(values: Sequence[Weighted]) -> float:
    """The weighted median; with equal weights, the median."""
    ordered = sorted(values)
    half, seen = sum(w for _, w in ordered) / 2, 0.0
    for index, (value, weight) in enumerate(ordered):
        seen += weight
        if math.isclose(seen, half) and index + 1 < len(ordered):
            return (value + ordered[index + 1][0]) / 2
        if seen > half:
            return value
    return ordered[-1][0]


def _arrangements(n: int, m: int) -> list[int]:
    """How many of the orderings of n and m values have U = 0, 1, …, n·m: coefficients of the Gaussian binomial."""
    counts = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for k in range(n * m, m + i - 1, -1):
            counts[k] -= counts[k - m - i]
        for k in range(i, n * m + 1):
            counts[k] += counts[k - i]
    return counts
