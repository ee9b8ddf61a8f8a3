"""Decides what a rollout does next. Pure: values in, actions out, nothing else read or changed.

Calling it again without applying its actions gives the same actions; after they are applied it gives none. The caller
loops until then (:mod:`fleet.rollouts.tick`), so each call need decide one step only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from fleet.rollouts.actions import (
    Action,
    Deploy,
    Move,
    Revert,
    SetExecution,
    SetRevert,
    SetWave,
    Skip,
    StartWave,
    Withdraw,
)
from fleet.rollouts.analysis import Verdict, consequence
from fleet.rollouts.cohorts import next_cohort, targets
from fleet.rollouts.states import (
    OPEN,
    UNSUCCESSFUL,
    ExecutionState,
    RevertState,
    RolloutEvent,
    RolloutState,
    WaveState,
)
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView, WaveView
from mien.lifecycle import TERMINAL, UpdateState
from mien.messages import UpdateReport

GRACE_S = 30.0
"""How much longer the fleet waits than the device was told to: the device's own verdict comes first."""

_X = ExecutionState
_ENDS = {
    UpdateState.COMMITTED: _X.SUCCEEDED,
    UpdateState.ROLLED_BACK: _X.FAILED,
    UpdateState.FAILED: _X.FAILED,
    UpdateState.REJECTED: _X.REJECTED,
}


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
    followed = _follow(rollout, by_id, now)
    if followed:
        return tuple(followed)
    if rollout.state is RolloutState.RUNNING:
        return tuple(_run(rollout, devices, verdict, now))
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


def deployment_id(rollout: RolloutView, device_id: str) -> str:
    """The name of one device's deployment: the same whenever it is asked for."""
    digest = hashlib.sha256(f"{rollout.seed}/{rollout.id}/{device_id}".encode()).hexdigest()
    return f"r{rollout.id}-{digest[:16]}"


def shortfall(executions: Sequence[ExecutionView], rollout: RolloutView) -> str | None:
    """Why a wave cannot succeed any more, or ``None`` while it can."""
    size = len(executions)
    lost = [execution for execution in executions if execution.state in UNSUCCESSFUL]
    policy = rollout.policy
    if not lost or (
        len(lost) <= math.floor(policy.error_threshold * size + 1e-9)
        and size - len(lost) >= _needed(size, policy.success_threshold)
    ):
        return None
    shown = "; ".join(f"{execution.device_id}: {execution.detail}" for execution in lost[:3])
    return f"{len(lost)} of {size} failed ({shown})"


def _follow(rollout: RolloutView, by_id: Mapping[str, DeviceView], now: float) -> list[Action]:
    """Bring executions and reverts to where the devices' reports and the clock say they are."""
    if rollout.state not in {RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.STOPPING, RolloutState.STOPPED}:
        return []
    found: list[Action] = []
    for execution in rollout.executions:
        device = by_id.get(execution.device_id)
        state, detail = _standing(execution, device, rollout, now)
        if (state, detail) != (execution.state, execution.detail):
            found.append(SetExecution(device_id=execution.device_id, state=state, detail=detail))
        revert = _revert_standing(execution, device, rollout, now)
        if revert is not execution.revert_state and revert is not None:
            found.append(SetRevert(device_id=execution.device_id, state=revert))
    return found


def _standing(
    execution: ExecutionView, device: DeviceView | None, rollout: RolloutView, now: float
) -> tuple[ExecutionState, str]:
    if execution.state not in OPEN:
        return execution.state, execution.detail
    if device is None or not device.accepted:
        return _X.REMOVED, "the device left the fleet"
    report = execution.report
    if report is not None and report.state in TERMINAL:
        return _ENDS[report.state], _told(report)
    if _overdue(execution, device, rollout, now):
        return _X.TIMED_OUT, f"no end after {rollout.policy.timeout_s:.0f} s"
    if report is not None and report.state is not UpdateState.IDLE:
        return _X.IN_PROGRESS, _progress(report)
    return execution.state, execution.detail


def _overdue(execution: ExecutionView, device: DeviceView, rollout: RolloutView, now: float) -> bool:
    """A device that has begun has its time; one that was never reached is late only while it is online."""
    longest = rollout.policy.timeout_s + GRACE_S
    if execution.started_at is not None:
        return now - execution.started_at > longest
    since = max(execution.queued_at, device.online_since or execution.queued_at)
    return device.online and now - since > longest


def _told(report: UpdateReport) -> str:
    if report.state is UpdateState.COMMITTED:
        return "committed"
    head = f"{report.state} ({report.error_code})" if report.error_code else str(report.state)
    reason = "; ".join(report.probe.reasons if report.probe else ()) or report.message
    return f"{head}: {reason}" if reason else head


def _progress(report: UpdateReport) -> str:
    return str(report.state) if report.percent is None else f"{report.state} {report.percent:.0f} %"


def _run(rollout: RolloutView, devices: Sequence[DeviceView], verdict: Verdict | None, now: float) -> list[Action]:
    wave = rollout.waves[-1] if rollout.waves else None
    if wave is None or wave.state is WaveState.FINISHED:
        return _next_wave(rollout, devices)
    executions = rollout.of_wave(wave.number)
    if not executions:
        return _refill(rollout, wave, devices)
    failed = shortfall(executions, rollout)
    if failed is not None:
        return _halt(wave, f"wave {_name(rollout, wave)}: {failed}")
    if wave.state is WaveState.SOAKING:
        return _after_soak(rollout, wave, verdict, now)
    return _gate(rollout, wave, devices)


def _gate(rollout: RolloutView, wave: WaveView, devices: Sequence[DeviceView]) -> list[Action]:
    """Whether a wave has succeeded, and is judged or done."""
    executions = rollout.of_wave(wave.number)
    succeeded = sum(1 for execution in executions if execution.state is _X.SUCCEEDED)
    if succeeded < _needed(len(executions), rollout.policy.success_threshold):
        return []
    if _must_soak(rollout, wave, devices):
        return [SetWave(wave=wave.number, state=WaveState.SOAKING)]
    return [SetWave(wave=wave.number, state=WaveState.FINISHED)]


def _next_wave(rollout: RolloutView, devices: Sequence[DeviceView]) -> list[Action]:
    number = len(rollout.waves)
    waves = rollout.policy.waves
    if number >= len(waves) or (number > 0 and not _untouched(rollout, devices)):
        return [Move(event=RolloutEvent.COMPLETE)]
    cohort = next_cohort(rollout, devices, waves[number])
    if not cohort and (number == 0 or waves[number].labels is not None):
        return [Move(event=RolloutEvent.PAUSE, reason=f"wave {waves[number].name} matches no device")]
    return [StartWave(wave=number), *(_enter(rollout, device, number) for device in cohort)]


def _refill(rollout: RolloutView, wave: WaveView, devices: Sequence[DeviceView]) -> list[Action]:
    """A wave without devices: one that earlier waves covered is done; one whose devices all left gets others."""
    if not any(execution.wave == wave.number for execution in rollout.executions):
        return [SetWave(wave=wave.number, state=WaveState.FINISHED)]
    cohort = next_cohort(rollout, devices, rollout.policy.waves[wave.number])
    if not cohort:
        reason = f"all devices of wave {_name(rollout, wave)} left the fleet"
        return [Move(event=RolloutEvent.PAUSE, reason=reason)]
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
    return Deploy(wave=wave, device_id=device.id, deployment_id=deployment, previous=device.release)


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


def _revert_standing(
    execution: ExecutionView, device: DeviceView | None, rollout: RolloutView, now: float
) -> RevertState | None:
    if execution.revert_state is not RevertState.IN_PROGRESS:
        return execution.revert_state
    if device is None or not device.accepted:
        return RevertState.FAILED
    report = execution.revert_report
    if device.release == execution.previous and device.release is not None:
        return RevertState.DONE
    if report is not None and report.state in {UpdateState.COMMITTED, UpdateState.ROLLED_BACK}:
        return RevertState.DONE
    if report is not None and report.state in TERMINAL:
        return RevertState.FAILED
    late = now - (execution.revert_at or now) > rollout.policy.timeout_s + GRACE_S
    return RevertState.FAILED if late and device.online else RevertState.IN_PROGRESS


def _settle(rollout: RolloutView, by_id: Mapping[str, DeviceView]) -> list[Action]:
    """End the halt once no device that is online is still being taken back; the others converge when they return."""
    busy = any(
        execution.revert_state is RevertState.IN_PROGRESS
        and (device := by_id.get(execution.device_id)) is not None
        and device.online
        for execution in rollout.executions
    )
    return [] if busy else [Move(event=RolloutEvent.SETTLED)]


def _needed(size: int, threshold: float) -> int:
    return math.ceil(threshold * size - 1e-9)


def _name(rollout: RolloutView, wave: WaveView) -> str:
    return rollout.policy.waves[wave.number].name
