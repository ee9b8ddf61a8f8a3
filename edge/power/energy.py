"""Energy from power readings, by the trapezoid rule over the times at which they were really taken. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from edge.power.interface import PowerSample

_LONGEST_GAP_S = 30.0


def energy_j(samples: Sequence[PowerSample]) -> float | None:
    """Energy between the first and the last reading, in joules.

    Readings without a total are passed over. A gap of more than 30 s is not bridged: what happened in it is unknown.

    Returns:
        The energy, or ``None`` with fewer than two readings that can be joined.
    """
    covered = _pieces(samples)
    return sum(joules for joules, _ in covered) if covered else None


def mean_power_w(samples: Sequence[PowerSample]) -> float | None:
    """Mean power weighted by time, in watts; with a single reading, that reading; ``None`` without any."""
    covered = _pieces(samples)
    seconds = sum(duration for _, duration in covered)
    if seconds > 0:
        return sum(joules for joules, _ in covered) / seconds
    totals = [sample.total_w for sample in samples if sample.total_w is not None]
    return totals[-1] if totals else None


def energy_over(samples: Sequence[PowerSample], duration_s: float) -> float | None:
    """Energy of a window of ``duration_s`` seconds whose readings need not reach its edges: mean power × duration."""
    power_w = mean_power_w(samples)
    return None if power_w is None else power_w * duration_s


def _pieces(samples: Sequence[PowerSample]) -> list[tuple[float, float]]:
    known = [(sample.at_s, sample.total_w) for sample in samples if sample.total_w is not None]
    pieces = []
    for (start_s, start_w), (end_s, end_w) in pairwise(known):
        gap_s = end_s - start_s
        if 0 < gap_s <= _LONGEST_GAP_S:
            pieces.append(((start_w + end_w) / 2 * gap_s, gap_s))
    return pieces
