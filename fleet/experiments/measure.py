"""Gathers what an experiment's members showed: a verdict when a look is due, rewards when a round is over.

A window counts for the arm whose release it shows, from the moment at which its device had taken that release. Of a
long time a bounded number of windows is read, evenly over it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleet.experiments.bandit import reward_of
from fleet.experiments.planner import Seen, look_due, round_due
from fleet.experiments.policy import BanditPolicy
from fleet.experiments.states import Arm
from fleet.experiments.view import ExperimentView, MemberView
from fleet.rollouts.analysis import Reference, Sample, judge
from fleet.rollouts.analysis_evidence import Known, samples
from fleet.rollouts.states import ExecutionState
from fleet.store.work import Work

_MOST_WINDOWS = 300
"""Of each device, about."""


def seen_of(work: Work, experiment: ExperimentView, now: float) -> Seen:
    """What is needed now, and nothing that is not due."""
    verdict, rewards = None, None
    if look_due(experiment, now) is not None:
        sides = _samples(work, experiment, experiment.started_at, now + 1)
        kinds = frozenset(sample.hardware for sample in sides[Arm.CANDIDATE])
        reference = Reference(stable=sides[Arm.CONTROL], hardware=kinds)
        verdict = judge(sides[Arm.CANDIDATE], reference, experiment.policy.per_look)
    number, bandit = round_due(experiment, now), experiment.policy.bandit
    if number is not None and bandit is not None:
        last = max((done.number for done in experiment.rounds), default=0)
        spans = [experiment.started_at + count * bandit.round_s for count in (last, number)]
        sides = _samples(work, experiment, spans[0], spans[1])
        rewards = {arm: rewards_of(found, bandit) for arm, found in sides.items()}
    return Seen(verdict=verdict, rewards=rewards)


def rewards_of(found: Sequence[Sample], bandit: BanditPolicy) -> list[float]:
    """One reward for each device that sent enough windows: the mean over them."""
    by_device: dict[str, list[tuple[float, float]]] = {}
    for sample in found:
        value = getattr(sample, bandit.reward.metric)
        if value is not None:
            by_device.setdefault(sample.device, []).append((reward_of(value, bandit.reward), sample.weight))
    return [
        sum(reward * weight for reward, weight in some) / sum(weight for _, weight in some)
        for _, some in sorted(by_device.items())
        if sum(weight for _, weight in some) >= bandit.min_windows
    ]


def _samples(work: Work, experiment: ExperimentView, since: float, before: float) -> dict[Arm, list[Sample]]:
    settled = [m for m in experiment.members if m.state is ExecutionState.SUCCEEDED and m.ended_at is not None]
    ids = {member.device_id for member in settled}
    known = Known(hardware=work.evidence.hardware(ids), agreements=work.evidence.agreements(ids))
    arrived = work.evidence.windows(ids, since, before=before, most=_MOST_WINDOWS * len(ids))
    found: dict[Arm, list[Sample]] = {}
    for arm in Arm:
        mine: list[MemberView] = [member for member in settled if member.arm is arm]
        found[arm] = samples(
            arrived,
            {member.device_id: experiment.release(arm) for member in mine},
            known,
            since={member.device_id: max(since, member.ended_at or since) for member in mine},
        )
    return found
