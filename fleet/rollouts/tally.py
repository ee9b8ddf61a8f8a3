"""Decides whether a wave can go on: what counts of it, and what is too much. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.rollouts.states import OPEN, UNSUCCESSFUL, ExecutionState
from fleet.rollouts.view import ExecutionView, RolloutView


def counted(executions: Sequence[ExecutionView], rollout: RolloutView) -> list[ExecutionView]:
    """The executions that a wave is judged by: without those that it goes on without, and forgiven failures."""
    forgiven_at = rollout.forgiven_at
    return [
        execution
        for execution in executions
        if execution.state is not ExecutionState.CANCELED
        and not (
            forgiven_at is not None
            and execution.state in UNSUCCESSFUL
            and execution.ended_at is not None
            and execution.ended_at <= forgiven_at
        )
    ]


def shortfall(executions: Sequence[ExecutionView], rollout: RolloutView, wave: int) -> str | None:
    """Why a wave cannot go on: too many failures, of one kind or of all, or success out of reach; else ``None``.

    Args:
        executions: those that count (:func:`counted`).
        rollout: the rollout.
        wave: the wave's number.
    """
    size = len(executions)
    lost = [execution for execution in executions if execution.state in UNSUCCESSFUL]
    if not lost:
        return None
    shown = "; ".join(f"{execution.device_id}: {execution.detail}" for execution in lost[:3])
    needed, limit = rollout.policy.success_of(wave).at_least(size), rollout.policy.errors_of(wave)
    if size - len(lost) < needed:
        return f"{len(lost)} of {size} failed, and {needed} must succeed ({shown})"
    if sum(1 for execution in executions if execution.state not in OPEN) < min(limit.min_sample, size):
        return None
    if limit.limits_all and len(lost) > limit.at_most(size):
        return f"{len(lost)} of {size} failed, at most {limit.at_most(size)} may ({shown})"
    for kind, most in limit.by_type.items():
        of_kind = [execution for execution in lost if str(execution.state) == kind]
        if len(of_kind) > most.at_most(size):
            return f"{len(of_kind)} of {size} ended {kind}, at most {most.at_most(size)} may ({of_kind[0].detail})"
    return None
