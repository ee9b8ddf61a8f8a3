"""Which images of a training split calibrate a model: every class, and within it every brightness. Pure.

A candidate stands for its rarest class. Classes are served in turn, so a rare one is not drowned; within a class the
images are taken at even steps of brightness.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

_NO_OBJECT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the choice needs to know of an image."""

    classes: frozenset[int]
    brightness: float
    """Mean pixel value, 0..255."""


def choose(candidates: Sequence[Candidate], count: int, *, seed: int) -> list[int]:
    """Indices of ``count`` candidates (or all, if there are fewer), rising; the same seed gives the same choice."""
    if count >= len(candidates):
        return list(range(len(candidates)))
    groups = _groups(candidates, random.Random(seed))  # noqa: S311 - a sample, no secret
    quotas = _quotas({name: len(members) for name, members in groups.items()}, count)
    return sorted(index for name, members in groups.items() for index in _evenly(members, quotas[name]))


def _groups(candidates: Sequence[Candidate], dice: random.Random) -> dict[int, list[int]]:
    frequency = Counter(name for candidate in candidates for name in candidate.classes)
    groups: dict[int, list[int]] = defaultdict(list)
    order = list(range(len(candidates)))
    dice.shuffle(order)
    for index in order:
        classes = candidates[index].classes
        groups[min(classes, key=lambda name: (frequency[name], name)) if classes else _NO_OBJECT].append(index)
    for members in groups.values():
        members.sort(key=lambda index: candidates[index].brightness)
    return dict(sorted(groups.items()))


def _quotas(sizes: dict[int, int], count: int) -> dict[int, int]:
    quotas = dict.fromkeys(sizes, 0)
    left = count
    while left:
        for name, size in sizes.items():
            if left and quotas[name] < size:
                quotas[name] += 1
                left -= 1
    return quotas


def _evenly(members: Sequence[int], count: int) -> list[int]:
    return [members[(2 * place + 1) * len(members) // (2 * count)] for place in range(count)]
