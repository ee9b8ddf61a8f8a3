"""Says in sentences where a rollout stands, and what it waits for. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fleet.engines.savings import builds_of
from fleet.rollouts.analysis import Verdict
from fleet.rollouts.cohorts import targets
from fleet.rollouts.planner import baseline
from fleet.rollouts.states import OPEN, ExecutionState, RevertState, RolloutState, WaveState
from fleet.rollouts.tally import counted
from fleet.rollouts.view import DeviceView, RolloutView, WaveView


def explain(
    rollout: RolloutView,
    devices: Sequence[DeviceView],
    verdict: Verdict | None,
    *,
    because: str | None = None,
) -> list[str]:
    """Sentences, most important first.

    Args:
        rollout: the rollout.
        devices: all devices of the fleet.
        verdict: on the wave that soaks, if one does.
        because: why it was halted or paused.
    """
    told = [_standing(rollout, because)]
    wave = rollout.waves[-1] if rollout.waves else None
    if wave is not None and rollout.state in {RolloutState.RUNNING, RolloutState.PAUSED}:
        told += _wave(rollout, wave, devices)
        if wave.state is WaveState.SOAKING:
            told += _soak(rollout, devices, verdict)
    reverts = [execution for execution in rollout.executions if execution.revert_state is not None]
    if reverts:
        done = sum(1 for execution in reverts if execution.revert_state is RevertState.DONE)
        told.append(f"Taken back from devices that had the release: {done} of {len(reverts)}.")
    engines = builds_of(rollout.executions).sentence()
    if engines is not None:
        told.append(engines)
    left = len(targets(rollout, devices)) - len(rollout.executions)
    if left > 0 and rollout.state is not RolloutState.FINISHED:
        told.append(f"Devices not reached: {left}.")
    return told


def _standing(rollout: RolloutView, because: str | None) -> str:
    words = {
        RolloutState.WAITING_FOR_APPROVAL: "waits for a person's approval",
        RolloutState.READY: "is ready and was not started",
        RolloutState.STOPPING: "was halted and takes devices back",
        RolloutState.STOPPED: "was halted",
        RolloutState.FINISHED: "is finished",
    }
    standing = words.get(rollout.state, f"is {rollout.state}")
    return f"Rollout {rollout.id} of {rollout.release} {standing}{f': {because}' if because else ''}."


def _wave(rollout: RolloutView, wave: WaveView, devices: Sequence[DeviceView]) -> list[str]:
    executions = rollout.of_wave(wave.number)
    name, total = rollout.policy.waves[wave.number].name, len(rollout.policy.waves)
    counts = Counter(execution.state for execution in executions)
    shown = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no device"
    needed = rollout.policy.success_of(wave.number).at_least(len(counted(executions, rollout)))
    told = [f"Wave {wave.number + 1} of {total} ({name}) is {wave.state}: {shown}; it needs {needed} SUCCEEDED."]
    online = {device.id for device in devices if device.online}
    away = [e.device_id for e in executions if e.state in OPEN and e.device_id not in online]
    if away:
        told.append(f"It waits for devices that are offline: {', '.join(away[:5])}.")
    busy = [e for e in executions if e.state is ExecutionState.IN_PROGRESS]
    told += [f"{execution.device_id} is {execution.detail}." for execution in busy[:5]]
    return told


def _soak(rollout: RolloutView, devices: Sequence[DeviceView], verdict: Verdict | None) -> list[str]:
    others = len(baseline(rollout, devices))
    told = [f"Its figures are held against {others} devices on another release and against its own past."]
    if verdict is not None:
        told.append(f"So far: {verdict.outcome} ({verdict.reason}).")
    return told
