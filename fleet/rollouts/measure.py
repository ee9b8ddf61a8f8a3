"""Gathers the telemetry windows that a verdict on a soaking wave needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.rollouts.analysis import Reference, Sample, Verdict, judge, sample_of
from fleet.rollouts.planner import baseline, soaking
from fleet.rollouts.states import ExecutionState
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView
from fleet.store.windows import StoredWindow
from fleet.store.work import Work

_LOOK_BACK_S = 900.0
"""How far before an update a device's own past reaches."""


def verdict_on(work: Work, rollout: RolloutView, devices: Sequence[DeviceView], now: float) -> Verdict | None:
    """The verdict on the wave that soaks, as far as windows are there; ``None`` when none soaks."""
    wave, analysis = soaking(rollout), rollout.policy.analysis
    if wave is None or wave.soak_started_at is None or analysis is None:
        return None
    updated = {
        e.device_id: e for e in rollout.of_wave(wave.number) if e.state is ExecutionState.SUCCEEDED and e.previous
    }
    fresh = {e.device_id for e in rollout.of_wave(wave.number) if e.state is ExecutionState.SUCCEEDED}
    stable = {device.id for device in baseline(rollout, devices)}
    earliest = min((e.queued_at for e in updated.values()), default=wave.started_at)
    past_from = earliest - _LOOK_BACK_S
    new = work.windows.since(fresh, wave.soak_started_at, before=now + 1)
    now_stable = work.windows.since(stable, wave.soak_started_at, before=now + 1)
    past = work.windows.since({*updated, *stable}, past_from, before=earliest)
    reference = Reference(
        stable=_samples(item for item in now_stable if _release(item) != rollout.release),
        before=_samples(item for item in past if _was_before(item, updated)),
        stable_before=_samples(item for item in past if item.device_id in stable and _release(item) != rollout.release),
    )
    return judge(_samples(item for item in new if _release(item) == rollout.release), reference, analysis)


def _was_before(item: StoredWindow, updated: dict[str, ExecutionView]) -> bool:
    execution = updated.get(item.device_id)
    return execution is not None and _release(item) == execution.previous


def _release(item: StoredWindow) -> str | None:
    return str(item.window.release) if item.window.release else None


def _samples(items: Iterable[StoredWindow]) -> list[Sample]:
    return [sample_of(item.window) for item in items if item.window.release is not None]
