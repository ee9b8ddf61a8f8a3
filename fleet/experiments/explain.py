"""Says in sentences where an experiment stands, what it showed, and what it waits for. Pure."""

from __future__ import annotations

from collections import Counter

from fleet.experiments.states import Arm, ExperimentState
from fleet.experiments.view import ExperimentView
from fleet.rollouts.states import OPEN


def explain(view: ExperimentView, now: float) -> list[str]:
    """Sentences, most important first."""
    told = [_standing(view)]
    for arm in Arm:
        counts = Counter(str(member.state) for member in view.on(arm))
        shown = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no device"
        told.append(f"{arm.capitalize()} {view.release(arm)}: {shown}.")
    if view.outcome is not None:
        told.append(f"Verdict {view.look} of {view.policy.looks} on the candidate: {view.outcome}.")
    told += _belief(view)
    told += _waits(view, now)
    return told


def _standing(view: ExperimentView) -> str:
    words = {
        ExperimentState.RUNNING: "is running",
        ExperimentState.ENDING: "is ending",
        ExperimentState.STOPPING: "is being stopped",
        ExperimentState.FINISHED: "is finished",
        ExperimentState.STOPPED: "was stopped",
    }
    because = f": {view.because}" if view.because else ""
    return f"Experiment {view.id} ({view.candidate} against {view.control}) {words[view.state]}{because}."


def _belief(view: ExperimentView) -> list[str]:
    if view.policy.bandit is None:
        return []
    if not view.rounds:
        return [f"No round is over; the candidate has a share of {view.share:.0%}."]
    last = view.rounds[-1]
    means = ", ".join(f"{arm} {belief.mean:.3f} ± {belief.spread:.3f}" for arm, belief in last.beliefs.items())
    metric = view.policy.bandit.reward.metric
    told = f"After round {last.number} the mean rewards ({metric}) are {means}; the candidate is the better one with a "
    return [f"{told}chance of {last.chance:.1%}, and has a share of {view.share:.0%}."]


def _waits(view: ExperimentView, now: float) -> list[str]:
    busy = [member.device_id for member in view.members if member.state in OPEN]
    told = [f"It waits for {len(busy)} devices to take their release: {', '.join(busy[:5])}."] if busy else []
    if view.state is ExperimentState.RUNNING:
        left = max(0.0, view.started_at + view.policy.duration_s - now)
        told.append(
            f"It ends in {left / 3600:.1f} h; to end it now: mien fleet experiment stop {view.id} --to control."
        )
    return told
