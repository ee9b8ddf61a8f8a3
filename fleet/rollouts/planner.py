"""Decides what a rollout does next. Pure: values in, actions out, nothing else read or changed.

Calling it again without applying its actions gives the same actions; after they are applied it gives none. The caller
loops until then (:mod:`fleet.rollouts.tick`), so each call need decide one step only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from fleet.rollouts.actions import (
    Action,
    AskAgain,
    Choose,
    Deploy,
    Move,
    Revert,
    SetExecution,
    SetRevert,
    SetWave,
    Skip,
    StartWave,
    Tell,
    Withdraw,
)
from fleet.rollouts.admission import admitted
from fleet.rollouts.analysis import Verdict, consequence
from fleet.rollouts.cohorts import next_cohort, targets
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.standing import revert_standing, standing
from fleet.rollouts.states import (
    FOLLOWED,
    OPEN,
    UNSUCCESSFUL,
    ExecutionState,
    RevertState,
    RolloutEvent,
    RolloutState,
    WaveState,
)
from fleet.rollouts.tally import counted, shortfall
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView, WaveView
from mien.lifecycle import UpdateState

_X = ExecutionState
_LATE = "offline when the rollout ended; it gets the release when it returns"


def plan(
    rollout: RolloutView, devices: Sequence[DeviceView], verdict: Verdict | None, now: float
) -> tuple[Action, ...]:
    """What is to be done now.

    Args:
        rollout: the rollout, its waves, executions and the devices' last reports.
        devices: all devices of the fleet.
        verdict: on the wave that soaks, if one does and there is one.
        now: Unix seconds.
    """
    by_id = {device.id: device for device in devices}
    followed = follow_reports(rollout, by_id, now)
    if followed:
        return tuple(followed)
    if rollout.state is RolloutState.RUNNING:
        return tuple(_run(rollout, devices, verdict, now) or _tell(rollout, devices, by_id, now))
    if rollout.state is RolloutState.STOPPING:
        return tuple(_take_back(rollout, by_id) or _settle(rollout, by_id))
    if rollout.state is RolloutState.STOPPED:
        return tuple(_take_back(rollout, by_id))
    return ()


def soaking(rollout: RolloutView) -> WaveView | None:
    """The wave that waits for a verdict, if one does."""
    last = rollout.waves[-1] if rollout.waves else None
    return last if last is not None and last.state is WaveState.SOAKING else None


def baseline(rollout: RolloutView, devices: Sequence[DeviceView]) -> list[DeviceView]:
    """Devices that still run another release than this one: what a canary is held against."""
    taken = {execution.device_id for execution in rollout.executions}
    return [
        device
        for device in devices
        if device.accepted and device.id not in taken and device.release not in {None, rollout.release}
    ]


def deployment_id(rollout: RolloutView, device_id: str, attempt: int = 1) -> str:
    """The name of one device's deployment: the same whenever it is asked for, another for each attempt."""
    digest = hashlib.sha256(f"{rollout.seed}/{rollout.id}/{device_id}".encode()).hexdigest()
    return f"r{rollout.id}-{digest[:16]}" + (f"-{attempt}" if attempt > 1 else "")


def follow_reports(rollout: RolloutView, by_id: Mapping[str, DeviceView], now: float) -> list[Action]:
    """Bring executions and reverts to where the devices' reports and the clock say they are.

    Each is looked at alone, so it may be asked about some of the executions.
    """
    if rollout.state not in FOLLOWED:
        return []
    found: list[Action] = []
    for execution in rollout.executions:
        device = by_id.get(execution.device_id)
        state, detail = standing(execution, device, rollout, now)
        if (state, detail) != (execution.state, execution.detail):
            found += _ended(execution, state, detail, rollout, now, device)
        revert = revert_standing(execution, device, rollout, now)
        if revert is not execution.revert_state and revert is not None:
            found.append(SetRevert(device_id=execution.device_id, state=revert))
    return found


def _ended(
    execution: ExecutionView,
    state: ExecutionState,
    detail: str,
    rollout: RolloutView,
    now: float,
    device: DeviceView | None,
) -> list[Action]:
    """Note where an execution stands, or let its device wait for another attempt.

    An order is taken back only while it is ours: a later rollout may have told the device something else.
    """
    device_id, retry = execution.device_id, rollout.policy.retry
    again = {_X.FAILED: retry.failed, _X.TIMED_OUT: retry.timed_out}.get(state, 0)
    gave_back = execution.report is not None and execution.report.state is UpdateState.ROLLED_BACK
    if rollout.state in {RolloutState.RUNNING, RolloutState.PAUSED} and execution.attempts <= again and not gave_back:
        pause_s = retry.pause_s * 2 ** (execution.attempts - 1)
        told = f"attempt {execution.attempts} of {again + 1}: {state} ({detail})"
        name = deployment_id(rollout, device_id, execution.attempts + 1)
        return [AskAgain(device_id=device_id, deployment_id=name, not_before=now + pause_s, detail=told)]
    found: list[Action] = [SetExecution(device_id=device_id, state=state, detail=detail)]
    ours = device is not None and device.desired_deployment == execution.deployment_id
    if state is _X.CANCELED and ours:
        found.append(Withdraw(device_id=device_id))
    return found


def _run(rollout: RolloutView, devices: Sequence[DeviceView], verdict: Verdict | None, now: float) -> list[Action]:
    wave = rollout.waves[-1] if rollout.waves else None
    if _is_expired(rollout, devices, now):
        return [Move(event=RolloutEvent.PAUSE, reason=f"its time ended at {rollout.policy.ends_at}")]
    if wave is not None and (failed := _in_trouble(rollout)) is not None:
        return _give_up(rollout, wave, *failed)
    if wave is None or wave.state is WaveState.FINISHED:
        return _next_wave(rollout, devices)
    if not rollout.of_wave(wave.number):
        return _refill(rollout, wave, devices)
    if wave.state is WaveState.SOAKING:
        return _after_soak(rollout, wave, verdict, now)
    return _gate(rollout, wave, devices)


def _give_up(rollout: RolloutView, last: WaveView, bad: WaveView, why: str) -> list[Action]:
    """End the rollout for a wave that lost too many devices, or ask a person."""
    reason = f"wave {_name(rollout, bad)}: {why}"
    if rollout.policy.on_error == "pause":
        return [Move(event=RolloutEvent.PAUSE, reason=reason)]
    earlier = [] if bad is last else [SetWave(wave=bad.number, state=WaveState.ERROR)]
    return [*earlier, *_halt(last, reason)]


def _in_trouble(rollout: RolloutView) -> tuple[WaveView, str] | None:
    """The first wave that lost too many devices, and why; an earlier one may lose its last when the next has begun.

    One that is done although too few succeeded was forced: a person has seen that.
    """
    lost = {execution.wave for execution in rollout.executions if execution.state in UNSUCCESSFUL}
    for wave in rollout.waves:
        if wave.number not in lost:
            continue
        executions = counted(rollout.of_wave(wave.number), rollout)
        if wave.state is WaveState.FINISHED and not _has_succeeded(rollout, wave, executions):
            continue
        why = shortfall(executions, rollout, wave.number)
        if why is not None:
            return wave, why
    return None


def _has_succeeded(rollout: RolloutView, wave: WaveView, executions: Sequence[ExecutionView]) -> bool:
    succeeded = sum(1 for execution in executions if execution.state is _X.SUCCEEDED)
    return succeeded >= rollout.policy.success_of(wave.number).at_least(len(executions))


def _gate(rollout: RolloutView, wave: WaveView, devices: Sequence[DeviceView]) -> list[Action]:
    """Whether a wave has succeeded, and is judged or done."""
    everyone = rollout.of_wave(wave.number)
    if all(execution.state is _X.CANCELED for execution in everyone):
        others = _others(rollout, wave, devices)
        if others:
            return others
    if not _has_succeeded(rollout, wave, counted(everyone, rollout)):
        return []
    if _must_soak(rollout, wave, devices):
        return [SetWave(wave=wave.number, state=WaveState.SOAKING)]
    return [SetWave(wave=wave.number, state=WaveState.FINISHED)]


def _next_wave(rollout: RolloutView, devices: Sequence[DeviceView]) -> list[Action]:
    number = len(rollout.waves)
    waves = rollout.policy.waves
    if number >= len(waves) or (number > 0 and not _untouched(rollout, devices)):
        return _complete(rollout, devices)
    if waves[number].approval and rollout.approved_wave < number:
        return [Move(event=RolloutEvent.PAUSE, reason=f"wave {waves[number].name} waits for a person's approval")]
    cohort = next_cohort(rollout, devices, waves[number])
    if not cohort and (number == 0 or waves[number].labels is not None):
        return [Move(event=RolloutEvent.PAUSE, reason=f"wave {waves[number].name} matches no device")]
    return [StartWave(wave=number), *(_enter(rollout, device, number) for device in cohort)]


def _complete(rollout: RolloutView, devices: Sequence[DeviceView]) -> list[Action]:
    """The end, once no device that can be reached is still at it."""
    online = {device.id for device in devices if device.online}
    if any(execution.state in OPEN and execution.device_id in online for execution in rollout.executions):
        return []
    late = [
        SetExecution(device_id=execution.device_id, state=_X.CANCELED, detail=_LATE)
        for execution in rollout.executions
        if execution.waiting and execution.state in OPEN
    ]
    return [*late, Move(event=RolloutEvent.COMPLETE)]


def _is_expired(rollout: RolloutView, devices: Sequence[DeviceView], now: float) -> bool:
    """Whether the rollout's time is over while devices are left that nobody has told."""
    end = rollout.policy.ends_at
    return end is not None and now >= end.timestamp() and (_has_waiting(rollout) or not _is_last(rollout, devices))


def _is_last(rollout: RolloutView, devices: Sequence[DeviceView]) -> bool:
    """Whether every device that the rollout is for was chosen already."""
    return len(rollout.waves) >= len(rollout.policy.waves) or (bool(rollout.waves) and not _untouched(rollout, devices))


def _has_waiting(rollout: RolloutView) -> bool:
    return any(execution.waiting and execution.state in OPEN for execution in rollout.executions)


def _tell(
    rollout: RolloutView, devices: Sequence[DeviceView], by_id: Mapping[str, DeviceView], now: float
) -> list[Action]:
    """Tell those whose turn it is."""
    waiting = {
        execution.device_id: execution
        for execution in rollout.executions
        if execution.waiting and execution.state in OPEN and (execution.not_before or now) <= now
    }
    if not waiting:
        return []
    there = [by_id[device_id] for device_id in waiting if device_id in by_id]
    return [
        Tell(device_id=device.id, deployment_id=waiting[device.id].deployment_id)
        for device in admitted(rollout, there, devices, now)
    ]


def _refill(rollout: RolloutView, wave: WaveView, devices: Sequence[DeviceView]) -> list[Action]:
    """A wave without devices: one that earlier waves covered is done; one whose devices all left gets others."""
    if not any(execution.wave == wave.number for execution in rollout.executions):
        return [SetWave(wave=wave.number, state=WaveState.FINISHED)]
    others = _others(rollout, wave, devices)
    if not others:
        reason = f"all devices of wave {_name(rollout, wave)} left the fleet"
        return [Move(event=RolloutEvent.PAUSE, reason=reason)]
    return others


def _others(rollout: RolloutView, wave: WaveView, devices: Sequence[DeviceView]) -> list[Action]:
    """Other devices for a wave of which nobody is left: without one that took the release it has shown nothing."""
    cohort = next_cohort(rollout, devices, rollout.policy.waves[wave.number])
    return [_enter(rollout, device, wave.number) for device in cohort]


def _enter(rollout: RolloutView, device: DeviceView, wave: int) -> Action:
    deployment = deployment_id(rollout, device.id)
    if device.release == rollout.release:
        return Skip(
            wave=wave,
            device_id=device.id,
            deployment_id=deployment,
            state=_X.SUCCEEDED,
            detail="had the release already",
        )
    if rollout.release in device.known_bad:
        return Skip(
            wave=wave,
            device_id=device.id,
            deployment_id=deployment,
            state=_X.REJECTED,
            detail="known_bad: this device took the release back before",
        )
    if _is_unlimited(rollout.policy):
        return Deploy(wave=wave, device_id=device.id, deployment_id=deployment, previous=device.release)
    return Choose(wave=wave, device_id=device.id, deployment_id=deployment, previous=device.release)


def _is_unlimited(policy: RolloutPolicy) -> bool:
    """Whether every device of a wave may be told at once."""
    return policy.concurrency is None and policy.budget is None and policy.starts_at is None and not policy.windows


def _untouched(rollout: RolloutView, devices: Sequence[DeviceView]) -> bool:
    taken = {execution.device_id for execution in rollout.executions}
    return any(device.id not in taken for device in targets(rollout, devices))


def _must_soak(rollout: RolloutView, wave: WaveView, devices: Sequence[DeviceView]) -> bool:
    """Whether a wave's figures are judged: there must be a policy, something to compare with, and a wave after it."""
    executions = rollout.of_wave(wave.number)
    has_past = any(execution.previous is not None for execution in executions)
    last = wave.number + 1 >= len(rollout.policy.waves) or not _untouched(rollout, devices)
    compares = has_past or bool(baseline(rollout, devices))
    return rollout.policy.analysis is not None and compares and not last


def _after_soak(rollout: RolloutView, wave: WaveView, verdict: Verdict | None, now: float) -> list[Action]:
    analysis = rollout.policy.analysis
    if verdict is None or analysis is None:
        return []
    follows = consequence(verdict, analysis, waited_s=now - (wave.soak_started_at or wave.started_at))
    if follows == "pass":
        return [SetWave(wave=wave.number, state=WaveState.FINISHED, verdict=verdict)]
    if follows == "halt":
        return _halt(wave, f"wave {_name(rollout, wave)}: {verdict.reason}", verdict)
    if follows == "pause":
        reason = f"wave {_name(rollout, wave)} is inconclusive: {verdict.reason}"
        return [
            SetWave(wave=wave.number, state=WaveState.SOAKING, verdict=verdict),
            Move(event=RolloutEvent.PAUSE, reason=reason),
        ]
    return []


def _halt(wave: WaveView, reason: str, verdict: Verdict | None = None) -> list[Action]:
    return [
        SetWave(wave=wave.number, state=WaveState.ERROR, verdict=verdict),
        Move(event=RolloutEvent.HALT, reason=reason),
    ]


def _take_back(rollout: RolloutView, by_id: Mapping[str, DeviceView]) -> list[Action]:
    """What a halted rollout still asks of its devices: return to what they ran, or forget what they were told."""
    found: list[Action] = []
    for execution in rollout.executions:
        device = by_id.get(execution.device_id)
        if device is None or not device.accepted:
            continue
        if execution.state in OPEN:
            found.append(SetExecution(device_id=device.id, state=_X.CANCELED, detail="the rollout was stopped"))
        asked_before = execution.attempts > 1 and device.release == rollout.release  # an attempt that ended late
        if execution.waiting and not asked_before:
            continue
        held = device.desired_deployment == execution.deployment_id
        if not held and device.desired_deployment is not None:
            continue
        if _has_it(rollout, execution, device) and rollout.reverts and execution.revert_id is None:
            if execution.previous is not None:
                back = Revert(
                    device_id=device.id, revert_id=f"{execution.deployment_id}-back", release=execution.previous
                )
                found.append(back)
            continue
        if held and not (execution.state is _X.SUCCEEDED and not rollout.reverts):
            found.append(Withdraw(device_id=device.id))
    return found


def _has_it(rollout: RolloutView, execution: ExecutionView, device: DeviceView) -> bool:
    """Whether the device runs the release, or may be about to."""
    if execution.report is not None and execution.report.state is UpdateState.ROLLED_BACK:
        return False
    return device.release == rollout.release or execution.state in {_X.SUCCEEDED, _X.IN_PROGRESS, _X.TIMED_OUT}


def _settle(rollout: RolloutView, by_id: Mapping[str, DeviceView]) -> list[Action]:
    """End the halt once no device that is online is still being taken back; the others converge when they return."""
    busy = any(
        execution.revert_state is RevertState.IN_PROGRESS
        and (device := by_id.get(execution.device_id)) is not None
        and device.online
        for execution in rollout.executions
    )
    return [] if busy else [Move(event=RolloutEvent.SETTLED)]


def _name(rollout: RolloutView, wave: WaveView) -> str:
    return rollout.policy.waves[wave.number].name
