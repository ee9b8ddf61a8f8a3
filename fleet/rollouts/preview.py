"""What a rollout would do, without doing it: who falls into which wave, and how long it would take. Pure.

The time is a bound from below: every device succeeds, and takes as long as devices took before (the median).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from fleet.rollouts.admission import site_of
from fleet.rollouts.cohorts import next_cohort, targets
from fleet.rollouts.limits import Budget
from fleet.rollouts.states import ExecutionState
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView

_LEAST_MEASURED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WavePreview:
    """One wave."""

    name: str
    devices: tuple[str, ...]
    offline: int
    sites: dict[str, int]
    """Devices by site, where the policy has a budget."""
    must_succeed: int
    may_fail: int | None
    """Of all kinds of failure together; ``None``: only the limits by type hold."""
    approval: bool
    rounds: int
    """How often devices must wait for others of the wave, at least."""
    seconds: float | None
    """Without waiting for windows, people or devices that are offline; ``None`` while nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The whole rollout."""

    waves: tuple[WavePreview, ...]
    left_out: int
    """Devices that it is for, in none of its waves."""
    device_s: float | None
    """How long one device takes: the median of past rollouts."""
    seconds: float | None


def preview(
    rollout: RolloutView, devices: Sequence[DeviceView], durations_s: Sequence[float], *, window_s: float
) -> Preview:
    """What would happen if all devices were to succeed.

    Args:
        rollout: not begun.
        devices: all devices of the fleet.
        durations_s: how long devices took in past rollouts.
        window_s: length of a telemetry window, of which the analysis wants some.
    """
    took_s = median(durations_s) if len(durations_s) >= _LEAST_MEASURED else None
    view, found = rollout, []
    for number, wave in enumerate(rollout.policy.waves):
        cohort = next_cohort(view, devices, wave)
        done = [_done(device, number) for device in cohort]
        view = replace(view, executions=(*view.executions, *done))
        is_last = len(view.executions) == len(targets(view, devices)) or number + 1 == len(rollout.policy.waves)
        found.append(_wave(rollout, number, cohort, devices, took_s, window_s=0.0 if is_last else window_s))
    known = [wave.seconds for wave in found if wave.seconds is not None]
    return Preview(
        waves=tuple(found),
        left_out=len(targets(rollout, devices)) - len(view.executions),
        device_s=took_s,
        seconds=sum(known) if len(known) == len(found) else None,
    )


def _wave(
    rollout: RolloutView,
    number: int,
    cohort: Sequence[DeviceView],
    devices: Sequence[DeviceView],
    took_s: float | None,
    *,
    window_s: float,
) -> WavePreview:
    policy, errors = rollout.policy, rollout.policy.errors_of(number)
    sites = Counter(site_of(policy.budget, device) for device in cohort) if policy.budget else Counter[str]()
    rounds = max(
        _rounds(len(cohort), policy.concurrency), _site_rounds(policy.budget, sites, devices) if policy.budget else 0
    )
    soak_s = policy.analysis.min_windows * window_s if policy.analysis else 0.0
    return WavePreview(
        name=policy.waves[number].name,
        devices=tuple(device.id for device in cohort),
        offline=sum(1 for device in cohort if not device.online),
        sites=dict(sorted(sites.items())),
        must_succeed=policy.success_of(number).at_least(len(cohort)),
        may_fail=errors.at_most(len(cohort)) if errors.limits_all else None,
        approval=policy.waves[number].approval,
        rounds=rounds,
        seconds=None if took_s is None else rounds * took_s + (soak_s if cohort else 0.0),
    )


def _rounds(size: int, at_once: int | None) -> int:
    return math.ceil(size / at_once) if at_once else int(size > 0)


def _site_rounds(budget: Budget, sites: Counter[str], devices: Sequence[DeviceView]) -> int:
    """Rounds of the site that takes longest; one whose budget lets nobody go counts each device as one."""
    sizes = Counter(site_of(budget, device) for device in devices if device.accepted)
    return max((_rounds(count, max(budget.away_at_most(sizes[site]), 1)) for site, count in sites.items()), default=0)


def _done(device: DeviceView, wave: int) -> ExecutionView:
    return ExecutionView(
        device_id=device.id,
        wave=wave,
        deployment_id="",
        state=ExecutionState.SUCCEEDED,
        previous=device.release,
        queued_at=0.0,
    )
