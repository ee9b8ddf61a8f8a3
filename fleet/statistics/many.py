"""Many tests at once: the chance that any of them errs is kept, not the chance of each."""

from __future__ import annotations

from collections.abc import Sequence


def holm(chances: Sequence[float]) -> list[float]:
    """The p values, adjusted by Holm's step-down rule (1979), in the order given.

    Whatever the tests have to do with each other, the chance of at least one false finding among those that are at most
    alpha is at most alpha.
    """
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    adjusted, highest = [0.0] * len(chances), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[index]))
        adjusted[index] = highest
    return adjusted
