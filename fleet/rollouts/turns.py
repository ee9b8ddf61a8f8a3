"""Decides the usual case of a great rollout from a few sums: nothing but telling the next devices is to be done. Pure.

The planner sees every device and every part, which takes seconds in a fleet of a hundred thousand. While a wave is
under way and neither done nor in trouble, the sums below are enough to know that, and to know who is next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet.rollouts.admission import closed_because
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import ExecutionState, WaveState
from fleet.rollouts.tally import trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is known of a running rollout without looking at its devices."""

    policy: RolloutPolicy
    wave: int
    wave_state: WaveState
    counts: Mapping[ExecutionState, int]
    """Parts of the wave that count, by state; see :func:`fleet.rollouts.tally.counted`."""
    before: Mapping[int, Mapping[ExecutionState, int]]
    """The same of the waves before, which are held to their limits still."""
    busy: int
    """Devices that were told something and have not ended it."""
    waiting: int
    """Devices that wait for their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A device that waits for its turn."""

    device_id: str
    deployment_id: str
    online: bool
    site: str


def needs_thought(turn: Turn, now: float) -> bool:
    """Whether the planner must look: the wave is done or in trouble, or the rollout's time is over."""
    size, end, done = sum(turn.counts.values()), turn.policy.ends_at, _has_succeeded(turn, turn.wave, turn.counts)
    over = end is not None and now >= end.timestamp()
    soaks = (
        turn.wave_state is WaveState.SOAKING
    )  # its verdict takes minutes, and waits for the next look at every device
    plain = soaks or (turn.wave_state is WaveState.RUNNING and size > 0 and not done and not over)
    passed = {wave: counts for wave, counts in turn.before.items() if _has_succeeded(turn, wave, counts)}
    return not plain or any(
        trouble(counts, turn.policy, wave) is not None for wave, counts in {**passed, turn.wave: turn.counts}.items()
    )


def _has_succeeded(turn: Turn, wave: int, counts: Mapping[ExecutionState, int]) -> bool:
    needed = turn.policy.success_of(wave).at_least(sum(counts.values()))
    return counts.get(ExecutionState.SUCCEEDED, 0) >= needed


def free_places(turn: Turn, now: float) -> int:
    """How many devices may be told now, whatever their sites say."""
    if turn.wave_state is not WaveState.RUNNING or not turn.waiting or closed_because(turn.policy, now) is not None:
        return 0
    most = turn.policy.concurrency
    return turn.waiting if most is None else max(0, min(turn.waiting, most - turn.busy))


def admitted(candidates: Iterable[Candidate], places: int, rooms: Mapping[str, int] | None) -> list[Candidate]:
    """Who is told: in order, while places are left and the site has room; one that is offline is away already.

    Args:
        candidates: in the order of their turn.
        places: how many may be told.
        rooms: for each site, how many more devices may be away; ``None`` where there is no budget.
    """
    left = Counter(rooms or {})
    told: list[Candidate] = []
    for one in candidates:
        needed = int(one.online)
        if len(told) < places and (rooms is None or left[one.site] >= needed):
            left[one.site] -= needed
            told.append(one)
    return told
