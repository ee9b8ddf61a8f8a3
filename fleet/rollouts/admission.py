"""Decides which of the devices that wait in a wave may be told now. Pure.

Three limits hold at once: how many devices work on the update (concurrency), how many of one site may be away (the
disruption budget), and when anybody may be told at all (start, end, windows).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence

from fleet.rollouts.cohorts import rank
from fleet.rollouts.limits import Budget
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import OPEN, RevertState
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView
from mien.windows import is_open, next_opening

NO_SITE = "(none)"
"""The site of devices without the budget's label."""
_UTC = dt.timezone.utc


def admitted(
    rollout: RolloutView, waiting: Iterable[DeviceView], devices: Sequence[DeviceView], now: float
) -> list[DeviceView]:
    """Those of the waiting devices that may be told now, in cohort order, those online first.

    Where so many may work at once, one that is offline waits until it returns: it would hold a place and not work.

    Args:
        rollout: the rollout; its executions say who is busy.
        waiting: devices of its wave that were not told yet.
        devices: all devices of the fleet.
        now: Unix seconds.
    """
    policy = rollout.policy
    if closed_because(policy, now) is not None:
        return []
    ordered = sorted(waiting, key=lambda device: (not device.online, rank(rollout.seed, device.id)))
    busy = {execution.device_id for execution in rollout.executions if is_busy(execution)}
    free = len(ordered) if policy.concurrency is None else max(0, policy.concurrency - len(busy))
    if policy.concurrency is not None:
        ordered = [device for device in ordered if device.online]
    if policy.budget is None:
        return ordered[:free]
    rooms = _rooms(policy.budget, devices, busy)
    told: list[DeviceView] = []
    for device in ordered:
        site = site_of(policy.budget, device)
        needed = 1 if device.online else 0  # one that is offline is away already
        if len(told) < free and rooms[site] >= needed:
            rooms[site] -= needed
            told.append(device)
    return told


def is_busy(execution: ExecutionView) -> bool:
    """Whether a device was told something and has not ended it: the update, or the way back."""
    works = execution.state in OPEN and not execution.waiting
    return works or execution.revert_state is RevertState.IN_PROGRESS


def closed_because(policy: RolloutPolicy, now: float) -> str | None:
    """Why nobody may be told now, by the clock; ``None`` when devices may."""
    if policy.starts_at is not None and now < policy.starts_at.timestamp():
        return f"it starts at {policy.starts_at.isoformat()}"
    if policy.windows and not is_open(policy.windows, now, _UTC):
        opens = dt.datetime.fromtimestamp(next_opening(policy.windows, now, _UTC), _UTC)
        return f"its next window opens at {opens.isoformat()}"
    return None


def site_of(budget: Budget, device: DeviceView) -> str:
    """A device's site."""
    return device.labels.get(budget.by, NO_SITE)


def full_sites(rollout: RolloutView, devices: Sequence[DeviceView]) -> list[str]:
    """Sites of which nobody more may be away now; by name."""
    if rollout.policy.budget is None:
        return []
    busy = {execution.device_id for execution in rollout.executions if is_busy(execution)}
    return sorted(site for site, room in _rooms(rollout.policy.budget, devices, busy).items() if room < 1)


def starved(budget: Budget, devices: Iterable[DeviceView]) -> list[str]:
    """Sites whose budget lets none of their devices update, each with its reason; by name."""
    sizes = Counter(site_of(budget, device) for device in devices)
    return [
        f"{budget.by} {site} has {size} device{'s' if size > 1 else ''} of which none may be away"
        for site, size in sorted(sizes.items())
        if budget.away_at_most(size) < 1
    ]


def _rooms(budget: Budget, devices: Sequence[DeviceView], busy: set[str]) -> Counter[str]:
    """For each site, how many more devices may be away."""
    sizes: Counter[str] = Counter()
    away: Counter[str] = Counter()
    for device in devices:
        if device.accepted:
            site = site_of(budget, device)
            sizes[site] += 1
            away[site] += device.id in busy or not device.online
    return Counter({site: budget.away_at_most(size) - away[site] for site, size in sizes.items()})
