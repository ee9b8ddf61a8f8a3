"""Gathers the evidence that a verdict on a soaking wave needs.

Of the wave's devices and of those on the old release a bounded number of each hardware class is read, chosen by the
rollout's seed, so that a verdict costs the same in a fleet of a hundred and of a hundred thousand. Devices of an
experiment are no baseline.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleet.rollouts.analysis import Reference, Verdict, judge
from fleet.rollouts.analysis_evidence import Known, fewest, samples
from fleet.rollouts.cohorts import rank
from fleet.rollouts.planner import baseline, soaking
from fleet.rollouts.states import ExecutionState
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView, WaveView
from fleet.store.work import Work

_LOOK_BACK_S = 900.0
"""How far before an update a device's own past reaches."""
_MOST_STABLE = 32
"""Devices of one hardware class that a wave is held against."""
_MOST_FRESH = 64
"""Devices of one hardware class that speak for their wave."""
_MOST_ASKED = 2000
"""Devices of each side whose hardware class is looked up for that: in a big fleet, a rare one has fewer to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cast:
    """Who is compared with whom."""

    fresh: frozenset[str]
    updated: Mapping[str, ExecutionView]
    """Those of the wave that ran another release before."""
    stable: frozenset[str]


def verdict_on(work: Work, rollout: RolloutView, devices: Sequence[DeviceView], now: float) -> Verdict | None:
    """The verdict on the wave that soaks, as far as windows are there; ``None`` when none soaks."""
    wave, analysis = soaking(rollout), rollout.policy.analysis
    if wave is None or wave.soak_started_at is None or analysis is None:
        return None
    cast = _cast(work, rollout, wave, devices)
    everyone = cast.fresh | cast.stable
    known = Known(hardware=work.evidence.hardware(everyone), agreements=work.evidence.agreements(everyone))
    soak, earliest = wave.soak_started_at, min((e.queued_at for e in cast.updated.values()), default=wave.started_at)
    now_all = work.evidence.windows(everyone, soak, before=now + 1)
    past = work.evidence.windows({*cast.updated, *cast.stable}, earliest - _LOOK_BACK_S, before=earliest)
    anything: dict[str, str | None] = dict.fromkeys(cast.stable)
    was = {device_id: execution.previous for device_id, execution in cast.updated.items()}
    reference = Reference(
        stable=samples(now_all, anything, known, since=soak, unlike=rollout.release),
        before=samples(past, was, known, since=earliest - _LOOK_BACK_S),
        stable_before=samples(past, anything, known, since=earliest - _LOOK_BACK_S, unlike=rollout.release),
        hardware=frozenset(known.hardware.get(device_id, "") for device_id in cast.fresh),
    )
    mine = dict.fromkeys(cast.fresh, rollout.release)
    return judge(samples(now_all, mine, known, since=soak), reference, analysis)


def _cast(work: Work, rollout: RolloutView, wave: WaveView, devices: Sequence[DeviceView]) -> _Cast:
    done = {e.device_id: e for e in rollout.of_wave(wave.number) if e.state is ExecutionState.SUCCEEDED}
    held = work.experiments.held()
    others = (device.id for device in baseline(rollout, devices) if device.id not in held)
    fresh = _some(work, rollout, done, most=_MOST_FRESH)
    return _Cast(
        fresh=fresh,
        updated={device_id: done[device_id] for device_id in fresh if done[device_id].previous},
        stable=_some(work, rollout, others, most=_MOST_STABLE),
    )


def _some(work: Work, rollout: RolloutView, device_ids: Iterable[str], *, most: int) -> frozenset[str]:
    """So many of some devices of each hardware class, the same ones at each look."""
    ranked = ((rank(rollout.seed, device_id), device_id) for device_id in device_ids)
    order = {device_id: place for place, device_id in heapq.nsmallest(_MOST_ASKED, ranked)}
    return frozenset(fewest(order, work.evidence.hardware(order), most=most, order=order))
