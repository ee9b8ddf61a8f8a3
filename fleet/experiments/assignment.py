"""Who runs which release: by a seed alone, evenly over hardware classes, and with as few switches as a share allows.

Each device has a fixed place in an order that the seed gives. Every hardware class gives its part of the candidate's
share, so that both sides are of one kind; what rounding leaves over goes where the order says. When the share moves,
only as many devices switch as it moved by, and none that is at rest. Pure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fleet.experiments.states import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A device that is to be shared out."""

    device_id: str
    hardware: str = ""
    arm: Arm | None = None
    """The arm it is in; ``None`` when it is new."""


def order(seed: str, device_id: str) -> str:
    """A device's place in the order: a hash, so that neither name nor age favours anyone."""
    return hashlib.sha256(f"{seed}:experiment:{device_id}".encode()).hexdigest()


def quotas(seed: str, sizes: Mapping[str, int], share: float) -> dict[str, int]:
    """How many devices of each hardware class get the candidate: the share of each, by largest remainders.

    With two devices or more, both releases get one at least.
    """
    everyone = sum(sizes.values())
    wanted = math.floor(everyone * share + 0.5)
    if everyone > 1:
        wanted = min(everyone - 1, max(1, wanted))
    parts = {kind: math.floor(size * share) for kind, size in sizes.items()}
    by_rest = sorted(sizes, key=lambda kind: (parts[kind] - sizes[kind] * share, order(seed, kind)))
    given = 0
    while sum(parts.values()) != wanted:
        kind = by_rest[given % len(by_rest)]
        step = 1 if sum(parts.values()) < wanted else -1
        if 0 <= parts[kind] + step <= sizes[kind]:
            parts[kind] += step
        given += 1
    return parts


def assign(seed: str, places: Sequence[Place], share: float, *, resting: Collection[str] = ()) -> dict[str, Arm]:
    """The arm of each device.

    Args:
        seed: of the experiment.
        places: all devices of the experiment.
        share: of the candidate.
        resting: devices which keep the arm they have, whatever the share.
    """
    by_kind: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda one: order(seed, one.device_id)):
        by_kind.setdefault(place.hardware, []).append(place)
    wanted = quotas(seed, {kind: len(some) for kind, some in by_kind.items()}, share)
    chosen: dict[str, Arm] = {}
    for kind, some in by_kind.items():
        chosen |= _within(some, wanted[kind], frozenset(resting))
    return chosen


def _within(places: Sequence[Place], wanted: int, resting: frozenset[str]) -> dict[str, Arm]:
    """Share one class out: who has the candidate keeps it as long as it is wanted, then the order decides."""
    arms = {place.device_id: place.arm or Arm.CONTROL for place in places}
    fixed = {place.device_id for place in places if place.device_id in resting and place.arm is not None}
    has = [place.device_id for place in places if arms[place.device_id] is Arm.CANDIDATE]
    movable = [device_id for device_id in has if device_id not in fixed]
    surplus = len(has) - wanted
    for device_id in reversed(movable[-surplus:] if surplus > 0 else []):
        arms[device_id] = Arm.CONTROL
    free = [p.device_id for p in places if arms[p.device_id] is Arm.CONTROL and p.device_id not in {*fixed, *has}]
    for device_id in free[: max(0, -surplus)]:
        arms[device_id] = Arm.CANDIDATE
    return arms
