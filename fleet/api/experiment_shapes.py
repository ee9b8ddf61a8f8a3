"""What experiments look like as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fleet.experiments.bandit import Belief, curve
from fleet.experiments.explain import explain
from fleet.experiments.states import Arm
from fleet.experiments.view import ExperimentView, MemberView
from fleet.rollouts.states import ExecutionState
from fleet.store.experiments import Experiment


def experiment_json(experiment: Experiment, *, now: float) -> dict[str, Any]:
    """An experiment with its arms, rounds and devices."""
    view = experiment.view
    return {
        "id": view.id,
        "kind": view.policy.kind,
        "policy_name": experiment.policy_name,
        "policy": view.policy.model_dump(mode="json"),
        "state": str(view.state),
        "share": view.share,
        "because": view.because,
        "winner": str(view.winner) if view.winner else None,
        "dropped": str(view.dropped) if view.dropped else None,
        "started_at": view.started_at,
        "ended_at": experiment.ended_at,
        "seconds": round((experiment.ended_at or now) - view.started_at, 1),
        "ends_at": view.started_at + view.policy.duration_s,
        "arms": [_arm(view, arm) for arm in Arm],
        "chance": view.rounds[-1].chance if view.rounds else None,
        "rounds": [
            {
                "number": done.number,
                "at": done.at,
                "share": done.share,
                "chance": done.chance,
                "means": {str(arm): round(belief.mean, 4) for arm, belief in done.beliefs.items()},
                "spreads": {str(arm): round(belief.spread, 4) for arm, belief in done.beliefs.items()},
            }
            for done in view.rounds
        ],
        "verdict": experiment.verdict,
        "members": [_member(member) for member in view.members],
        "sentences": explain(view, now),
    }


def _arm(view: ExperimentView, arm: Arm) -> dict[str, Any]:
    states = Counter(member.state for member in view.on(arm))
    belief = view.rounds[-1].beliefs[arm] if view.rounds else None
    if belief is None and view.policy.bandit is not None:
        belief = Belief(kind=view.policy.bandit.belief)
    return {
        "arm": str(arm),
        "release": view.release(arm),
        "devices": sum(states.values()),
        "running": states[ExecutionState.SUCCEEDED],
        "failed": sum(1 for member in view.members if arm in member.failures),
        "posterior": None if belief is None else posterior_json(belief),
    }


def posterior_json(belief: Belief) -> dict[str, Any]:
    """What is believed of a release's mean reward, with its curve."""
    shown: dict[str, Any] = {
        "kind": belief.kind,
        "observations": belief.count,
        "mean": round(belief.mean, 4),
        "spread": round(belief.spread, 4),
        "curve": curve(belief),
    }
    if belief.kind == "beta":
        return shown | {"alpha": round(belief.beta[0], 4), "beta": round(belief.beta[1], 4)}
    degrees, place, scale = belief.student
    return shown | {"degrees": degrees, "place": round(place, 4), "scale": round(scale, 5)}


def _member(member: MemberView) -> dict[str, Any]:
    return {
        "device": member.device_id,
        "arm": str(member.arm),
        "state": str(member.state),
        "detail": member.detail,
        "deployment_id": member.deployment_id,
        "previous": member.previous,
        "switches": member.switches,
        "queued_at": member.queued_at,
        "ended_at": member.ended_at,
        "failures": dict(member.failures),
    }
