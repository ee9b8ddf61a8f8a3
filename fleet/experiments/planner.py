"""Decides what an experiment does next. Pure: values in, actions out, nothing else read or changed.

Calling it again without applying its actions gives the same actions; after they are applied it gives none, until
something was reported or the time has come. Safety comes first: a release that fails its probes or its analysis is
dropped before anything else is done, and its devices go back at once, whatever their rest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from fleet.experiments.actions import Action, Close, Deploy, End, Look, Round, SetMember, Skip, Withdraw
from fleet.experiments.assignment import Place, assign
from fleet.experiments.bandit import Belief, chance_better, next_share
from fleet.experiments.policy import BanditPolicy, ExperimentPolicy
from fleet.experiments.states import LIVE, Arm, ExperimentState
from fleet.experiments.view import ExperimentView, MemberView, SeenDevice
from fleet.rollouts.analysis import Verdict
from fleet.rollouts.analysis_policy import Metric
from fleet.rollouts.standing import GRACE_S
from fleet.rollouts.states import OPEN, ExecutionState
from mien.lifecycle import TERMINAL, UpdateState
from mien.messages import UpdateReport

_X = ExecutionState
_ENDS = {
    UpdateState.COMMITTED: _X.SUCCEEDED,
    UpdateState.ROLLED_BACK: _X.FAILED,
    UpdateState.FAILED: _X.FAILED,
    UpdateState.REJECTED: _X.REJECTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the devices showed, as far as it is needed now."""

    verdict: Verdict | None = None
    """On the candidate, held against the control; ``None`` while no look is due."""
    rewards: Mapping[Arm, Sequence[float]] | None = None
    """Of the round that is over; ``None`` while none is."""


def plan(
    experiment: ExperimentView,
    devices: Mapping[str, SeenDevice],
    hardware: Mapping[str, str],
    seen: Seen,
    now: float,
) -> tuple[Action, ...]:
    """What is to be done now.

    Args:
        experiment: its members and rounds.
        devices: the members' devices.
        hardware: the hardware class of each.
        seen: verdict and rewards.
        now: Unix seconds.
    """
    if experiment.state not in LIVE:
        return ()
    followed = _follow(experiment, devices, now)
    if followed:
        return tuple(followed)
    if experiment.state is not ExperimentState.RUNNING:
        return tuple(_bring_home(experiment, devices) or _close(experiment, devices))
    return tuple(
        _guard(experiment)
        or _look(experiment, seen.verdict, now)
        or _time_is_over(experiment, now)
        or _round(experiment, seen, now)
        or _share_out(experiment, devices, hardware, now)
    )


def round_due(experiment: ExperimentView, now: float) -> int | None:
    """The number of the round that is over and was not looked at yet; earlier ones that were missed are left out."""
    bandit = experiment.policy.bandit
    if bandit is None or experiment.state is not ExperimentState.RUNNING:
        return None
    number = int((now - experiment.started_at) // bandit.round_s)
    last = max((done.number for done in experiment.rounds), default=0)
    return number if number > last else None


def look_due(experiment: ExperimentView, now: float) -> int | None:
    """The number of the verdict that is due and was not given yet."""
    if experiment.state is not ExperimentState.RUNNING:
        return None
    policy = experiment.policy
    number = min(policy.looks, int((now - experiment.started_at) / policy.duration_s * policy.looks))
    return number if number > experiment.look else None


def least_chance(candidates: int, controls: int, policy: ExperimentPolicy) -> float:
    """The smallest adjusted p that so many devices can show: every value on one side of every other."""
    return len(get_args(Metric)) / math.comb(candidates + controls, candidates) * policy.looks


def deployment_id(experiment: ExperimentView, device_id: str, switches: int) -> str:
    """The name of a member's deployment: the same whenever it is asked for."""
    digest = hashlib.sha256(f"{experiment.seed}/{experiment.id}/{device_id}".encode()).hexdigest()
    return f"x{experiment.id}-{digest[:16]}-{switches}"


def winner_of(experiment: ExperimentView) -> Arm | None:
    """The better release, as far as it can be told: a bandit by its belief, otherwise by the verdict."""
    if experiment.dropped is not None:
        return experiment.dropped.other
    bandit = experiment.policy.bandit
    if bandit is None:
        return {"pass": Arm.CANDIDATE, "fail": Arm.CONTROL}.get(experiment.outcome or "inconclusive")
    chance = experiment.rounds[-1].chance if experiment.rounds else 0.5
    if chance >= bandit.sure:
        return Arm.CANDIDATE
    return Arm.CONTROL if chance <= 1 - bandit.sure else None


def _follow(experiment: ExperimentView, devices: Mapping[str, SeenDevice], now: float) -> list[Action]:
    found: list[Action] = []
    for member in experiment.members:
        if member.state is _X.REMOVED:
            continue
        state, detail = _standing(member, devices.get(member.device_id), experiment, now)
        if (state, detail) != (member.state, member.detail):
            found.append(SetMember(device_id=member.device_id, state=state, detail=detail))
    return found


def _standing(
    member: MemberView, device: SeenDevice | None, experiment: ExperimentView, now: float
) -> tuple[ExecutionState, str]:
    if device is None or not device.accepted:
        return _X.REMOVED, "the device left the fleet"
    if member.state not in {*OPEN, _X.SUCCEEDED}:
        return member.state, member.detail
    if device.desired_deployment not in {None, member.deployment_id}:
        return _X.REMOVED, f"something else was deployed to it: {device.desired_deployment}"
    return (member.state, member.detail) if member.state not in OPEN else _progress(member, device, experiment, now)


def _progress(
    member: MemberView, device: SeenDevice, experiment: ExperimentView, now: float
) -> tuple[ExecutionState, str]:
    report = device.report if device.report and device.report.deployment_id == member.deployment_id else None
    if report is not None and report.state in TERMINAL:
        return _ENDS[report.state], told(report)
    since = member.started_at
    if since is None:
        since = max(member.queued_at, device.online_since or member.queued_at)
    waited = report.waited_s if report is not None else 0.0
    if (
        device.online or member.started_at is not None
    ) and now - since - waited > experiment.policy.timeout_s + GRACE_S:
        return _X.TIMED_OUT, f"no end after {experiment.policy.timeout_s:.0f} s"
    if report is not None and report.state is not UpdateState.IDLE:
        return _X.IN_PROGRESS, str(report.state)
    return member.state, member.detail


def told(report: UpdateReport) -> str:
    """How a member's update ended, in words."""
    head = f"{report.state} ({report.error_code})" if report.error_code else str(report.state)
    reasons = "; ".join(report.probe.reasons if report.probe else ()) or report.message
    return head if report.state is UpdateState.COMMITTED or not reasons else f"{head}: {reasons}"


def _guard(experiment: ExperimentView) -> list[Action]:
    """Drop a release that its devices cannot take: their probes stand for it."""
    for arm in (Arm.CANDIDATE, Arm.CONTROL):
        tried = [m for m in experiment.members if m.state is not _X.REMOVED and (m.arm is arm or arm in m.failures)]
        failed = [m for m in tried if arm in m.failures]
        if len(failed) > experiment.policy.max_failed * len(tried):
            shown = "; ".join(f"{m.device_id}: {m.failures[arm]}" for m in failed[:3])
            because = (
                f"{experiment.release(arm)} was dropped: {len(failed)} of {len(tried)} devices failed it ({shown})"
            )
            return [End(because=because, target=arm.other, winner=arm.other, dropped=arm)]
    return []


def _look(experiment: ExperimentView, verdict: Verdict | None, now: float) -> list[Action]:
    """Give the verdict that is due, and drop a candidate that is worse than the limits allow."""
    number = look_due(experiment, now)
    if number is None or verdict is None:
        return []
    look = Look(number=number, verdict=verdict)
    if verdict.outcome != "fail" or experiment.policy.analysis.mode == "report":
        return [look]
    because = f"{experiment.candidate} was dropped: {verdict.reason}"
    return [look, End(because=because, target=Arm.CONTROL, winner=Arm.CONTROL, dropped=Arm.CANDIDATE)]


def _time_is_over(experiment: ExperimentView, now: float) -> list[Action]:
    if now - experiment.started_at < experiment.policy.duration_s:
        return []
    winner = winner_of(experiment)
    target = {"keep": None, "control": Arm.CONTROL, "winner": winner}[experiment.policy.at_end]
    said = f"the better one is {experiment.release(winner)}" if winner else "neither is shown to be the better one"
    return [End(because=f"the time is over; {said}", target=target, winner=winner)]


def _round(experiment: ExperimentView, seen: Seen, now: float) -> list[Action]:
    bandit, number = experiment.policy.bandit, round_due(experiment, now)
    if bandit is None or number is None or seen.rewards is None:
        return []
    beliefs = {arm: _belief(experiment, arm, bandit).after(seen.rewards.get(arm, ())) for arm in Arm}
    chance = chance_better(beliefs[Arm.CANDIDATE], beliefs[Arm.CONTROL])
    learnt = all(seen.rewards.get(arm) for arm in Arm)
    share = next_share(experiment.share, chance, bandit) if learnt else experiment.share
    return [Round(number=number, share=share, chance=round(chance, 6), beliefs=beliefs)]


def _belief(experiment: ExperimentView, arm: Arm, bandit: BanditPolicy) -> Belief:
    return experiment.rounds[-1].beliefs[arm] if experiment.rounds else Belief(kind=bandit.belief)


def _share_out(
    experiment: ExperimentView, devices: Mapping[str, SeenDevice], hardware: Mapping[str, str], now: float
) -> list[Action]:
    """Move the members whose arm the share has changed."""
    if experiment.policy.bandit is None:
        return []
    members = [m for m in experiment.members if m.state is not _X.REMOVED]
    places = [Place(device_id=m.device_id, hardware=hardware.get(m.device_id, ""), arm=m.arm) for m in members]
    resting = {m.device_id for m in members if _rests(m, experiment.policy.bandit, now)}
    arms = assign(experiment.seed, places, experiment.share, resting=resting)
    moved = [m for m in members if arms[m.device_id] is not m.arm]
    return [enter(experiment, devices[m.device_id], arms[m.device_id], switches=m.switches + 1) for m in moved]


def _rests(member: MemberView, bandit: BanditPolicy, now: float) -> bool:
    """Whether a device may not be switched now: busy, changed lately or often, or known to fail the other release."""
    return (
        member.state is not _X.SUCCEEDED
        or member.switches >= bandit.max_switches
        or now - member.queued_at < bandit.rest_s
        or member.arm.other in member.failures
    )


def enter(
    experiment: ExperimentView, device: SeenDevice, arm: Arm, *, switches: int, back: bool = False
) -> Deploy | Skip:
    """How a device comes into an arm."""
    release, named = experiment.release(arm), deployment_id(experiment, device.id, switches)
    if release in device.known_bad:
        return Skip(
            device_id=device.id,
            arm=arm,
            deployment_id=named,
            state=_X.REJECTED,
            detail="known_bad: this device took the release back before",
            switches=switches,
        )
    return Deploy(
        device_id=device.id, arm=arm, deployment_id=named, previous=device.release, switches=switches, back=back
    )


def _bring_home(experiment: ExperimentView, devices: Mapping[str, SeenDevice]) -> list[Action]:
    """While it ends: bring every device to the target, and leave alone those which failed it or run it."""
    target = experiment.target
    if target is None:
        return []
    back = experiment.dropped is not None
    return [
        enter(experiment, devices[m.device_id], target, switches=m.switches + 1, back=back)
        for m in experiment.members
        if m.state is not _X.REMOVED and m.arm is not target and target not in m.failures
    ]


def _close(experiment: ExperimentView, devices: Mapping[str, SeenDevice]) -> list[Action]:
    """The end is reached once no device that is online is busy; the others converge when they return."""
    if any(m.state in OPEN and devices[m.device_id].online for m in experiment.members if m.device_id in devices):
        return []
    wrong = [m for m in experiment.members if m.state in {_X.FAILED, _X.TIMED_OUT, _X.REJECTED}]
    told: list[Action] = [
        Withdraw(device_id=m.device_id)
        for m in wrong
        if m.device_id in devices and devices[m.device_id].desired_deployment == m.deployment_id
    ]
    state = ExperimentState.STOPPED if experiment.state is ExperimentState.STOPPING else ExperimentState.FINISHED
    return [*told, Close(state=state)]
