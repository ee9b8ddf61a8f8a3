"""Says in sentences, with numbers, why a rollout went as it did, what it waits for, and what a person can do. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.engines.savings import builds_of
from fleet.rollouts.admission import closed_because, full_sites, is_busy
from fleet.rollouts.analysis import Verdict
from fleet.rollouts.cohorts import targets
from fleet.rollouts.planner import baseline
from fleet.rollouts.states import (
    ENDED,
    OPEN,
    UNSUCCESSFUL,
    ExecutionState,
    RevertState,
    RolloutState,
    WaveState,
    allowed,
)
from fleet.rollouts.tally import counted
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView, WaveView

_NAMED = 5
_VERBS = {
    "approve": "let it go on by a person's word",
    "deny": "end it; devices keep what they have",
    "resume": "go on, and measure the wave anew",
    "force-next": "count the wave as done",
    "pause": "begin nothing new",
    "start": "begin",
    "stop": "end it; devices keep what they have",
}


def explain(
    rollout: RolloutView,
    devices: Sequence[DeviceView],
    verdict: Verdict | None,
    *,
    because: str | None = None,
    verdicts: Mapping[int, Mapping[str, Any]] | None = None,
    now: float | None = None,
) -> list[str]:
    """Sentences, most important first.

    Args:
        rollout: the rollout.
        devices: all devices of the fleet.
        verdict: on the wave that soaks, if one does.
        because: why it was halted or paused.
        verdicts: on earlier waves, as they were kept.
        now: Unix seconds; without it nothing is said of windows and pauses.
    """
    told = [_standing(rollout, because)]
    kept = dict(verdicts or {})
    for wave in rollout.waves:
        told += _wave(rollout, wave, devices)
        if wave.state is WaveState.SOAKING:
            told += _soak(rollout, devices, verdict)
            kept.pop(wave.number, None)
            told += _metrics(verdict.as_dict()) if verdict is not None else []
        elif wave.number in kept:
            told.append(f"Its verdict was {kept[wave.number]['outcome']}, from {kept[wave.number]['windows']} windows.")
            told += _metrics(kept[wave.number])
    told += _turns(rollout, devices, now)
    told += _reverts(rollout)
    engines = builds_of(rollout.executions).sentence()
    if engines is not None:
        told.append(engines)
    left = len(targets(rollout, devices)) - len(rollout.executions)
    if left > 0 and rollout.state is not RolloutState.FINISHED:
        told.append(f"Devices not reached: {left}.")
    return [*told, *_possible(rollout)]


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
    stands = "was ended" if wave.state is WaveState.ERROR else f"is {wave.state}"
    told = [f"Wave {wave.number + 1} of {total} ({name}) {stands}: {shown}; it needs {needed} SUCCEEDED."]
    told += _failures(executions)
    if rollout.state in ENDED:
        return told
    online = {device.id for device in devices if device.online}
    away = [e.device_id for e in executions if e.state in OPEN and e.device_id not in online]
    if away:
        told.append(f"It waits for devices that are offline: {_some(away)}.")
    busy = [e for e in executions if e.state is ExecutionState.IN_PROGRESS]
    told += [f"{execution.device_id} is {_doing(execution)}." for execution in busy[:_NAMED]]
    if len(busy) > _NAMED:
        told.append(f"{len(busy) - _NAMED} more are under way.")
    return told


def _turns(rollout: RolloutView, devices: Sequence[DeviceView], now: float | None) -> list[str]:
    """How many wait to be told, and for what."""
    policy = rollout.policy
    waiting = [e for e in rollout.executions if e.waiting and e.state in OPEN]
    if not waiting or rollout.state is not RolloutState.RUNNING:
        return []
    reasons = []
    closed = closed_because(policy, now) if now is not None else None
    if closed is not None:
        reasons.append(closed)
    paused = [e.device_id for e in waiting if now is not None and (e.not_before or now) > now]
    if paused:
        reasons.append(f"another attempt of {_some(paused)} comes after a pause")
    busy = sum(1 for e in rollout.executions if is_busy(e))
    if policy.concurrency is not None and busy >= policy.concurrency:
        reasons.append(f"{busy} are at it, and {policy.concurrency} at once may be")
    full = full_sites(rollout, devices)
    if policy.budget is not None and full:
        reasons.append(f"no more may be away of {policy.budget.by} {_some(full)}")
    return ["; ".join([f"To be told: {len(waiting)}", *reasons]) + "."]


def _failures(executions: Sequence[ExecutionView]) -> list[str]:
    """How many failed, by kind, with the first reason of each kind."""
    kinds: dict[str, list[ExecutionView]] = {}
    for execution in executions:
        if execution.state in UNSUCCESSFUL:
            code = execution.report.error_code if execution.report is not None else None
            kinds.setdefault(f"{execution.state}{f' ({code})' if code else ''}", []).append(execution)
    most_first = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        f"{kind}: {len(found)} ({_some([e.device_id for e in found])}); {found[0].device_id} says: {found[0].detail}."
        for kind, found in most_first
    ]


def _doing(execution: ExecutionView) -> str:
    report = execution.report
    if report is None or report.waits_for is None:
        return execution.detail
    return f"{execution.detail}, and waits for {report.waits_for.replace('_', ' ')}"


def _soak(rollout: RolloutView, devices: Sequence[DeviceView], verdict: Verdict | None) -> list[str]:
    others = len(baseline(rollout, devices))
    told = [f"Its figures are held against {others} devices on another release and against its own past."]
    analysis = rollout.policy.analysis
    if analysis is not None and analysis.mode == "report":
        told.append("The analysis only reports: whatever it says, the rollout goes on.")
    if verdict is not None:
        told.append(f"So far: {verdict.outcome} ({verdict.reason}).")
    return told


def _metrics(verdict: Mapping[str, Any]) -> list[str]:
    """One sentence for each metric that was judged; those that nobody measures in one."""
    judged = [metric for metric in verdict["metrics"] if metric["outcome"] != "skipped"]
    skipped = [metric["metric"] for metric in verdict["metrics"] if metric["outcome"] == "skipped"]
    told = [f"{metric['metric']}: {metric['outcome']}, {_figures(metric)}{metric['reason']}." for metric in judged]
    return [*told, f"Not judged for want of data: {', '.join(skipped)}."] if skipped else told


def _figures(metric: Mapping[str, Any]) -> str:
    sides = (("now", "value"), ("before", "before"), ("others", "stable"))
    shown = [f"{name} {metric[key]:.4g}" for name, key in sides if metric.get(key) is not None]
    return f"{', '.join(shown)}; " if shown else ""


def _reverts(rollout: RolloutView) -> list[str]:
    reverts = [execution for execution in rollout.executions if execution.revert_state is not None]
    if not reverts:
        return []
    done = sum(1 for execution in reverts if execution.revert_state is RevertState.DONE)
    told = [f"Taken back from devices that had the release: {done} of {len(reverts)}."]
    failed = [execution.device_id for execution in reverts if execution.revert_state is RevertState.FAILED]
    return [*told, f"Not taken back: {_some(failed)}; look at these."] if failed else told


def _possible(rollout: RolloutView) -> list[str]:
    """What a person can do now, as commands."""
    known = [str(event) for event in allowed(rollout.state) if str(event) in _VERBS]
    if not known:
        return []
    shown = "; ".join(f"{name} ({_VERBS[name]})" for name in known)
    return [f"A person can: {shown}, each with 'mien fleet rollout COMMAND {rollout.id}'."]


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
