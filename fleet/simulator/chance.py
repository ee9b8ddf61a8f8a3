"""Draws that depend on the seed and on what they are for, never on the order of events: a run can be told again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import TypeVar

T = TypeVar("T")
_NORMAL = NormalDist()
_EDGE = 1e-9


class Chance:
    """Draws for one part of a simulation.

    Args:
        names: the seed, and whose draws they are.
    """

    def __init__(self, *names: object) -> None:
        self._prefix = "/".join(map(str, names))

    def share(self, *names: object) -> float:
        """A number from 0 up to 1, always the same for the same names."""
        text = "/".join((self._prefix, *map(str, names)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56

    def pick(self, weights: Mapping[T, float], *names: object) -> T:
        """One of several things by weight."""
        left = self.share(*names) * sum(weights.values())
        for thing, weight in weights.items():
            left -= weight
            if left < 0:
                return thing
        return next(reversed(list(weights)))

    def around(self, median: float, spread: float, *names: object) -> float:
        """A duration or a figure around a median; ``spread`` is the standard deviation of its logarithm."""
        if median <= 0 or spread <= 0:
            return median
        drawn = min(max(self.share(*names), _EDGE), 1 - _EDGE)
        return median * math.exp(spread * _NORMAL.inv_cdf(drawn))
