"""Decides whether a wave can go on: what counts of it, and what is too much. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fleet.rollouts.policy import RolloutPolicy
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
    """Why a wave cannot go on, with the first devices that failed; ``None`` while it can.

    Args:
        executions: those that count (:func:`counted`).
        rollout: the rollout.
        wave: the wave's number.
    """
    told = trouble(Counter(execution.state for execution in executions), rollout.policy, wave)
    if told is None:
        return None
    lost = [execution for execution in executions if execution.state in UNSUCCESSFUL]
    return f"{told} ({'; '.join(f'{execution.device_id}: {execution.detail}' for execution in lost[:3])})"


def trouble(counts: Mapping[ExecutionState, int], policy: RolloutPolicy, wave: int) -> str | None:
    """Why a wave cannot go on: too many failures, of one kind or of all, or success out of reach; else ``None``.

    Args:
        counts: the executions that count, by state.
        policy: the limits.
        wave: the wave's number.
    """
    size, lost = sum(counts.values()), sum(counts.get(state, 0) for state in UNSUCCESSFUL)
    if not lost:
        return None
    needed, limit = policy.success_of(wave).at_least(size), policy.errors_of(wave)
    if size - lost < needed:
        return f"{lost} of {size} failed, and {needed} must succeed"
    if size - sum(counts.get(state, 0) for state in OPEN) < min(limit.min_sample, size):
        return None
    if limit.limits_all and lost > limit.at_most(size):
        return f"{lost} of {size} failed, at most {limit.at_most(size)} may"
    for kind, most in limit.by_type.items():
        of_kind = counts.get(ExecutionState(kind), 0)
        if of_kind > most.at_most(size):
            return f"{of_kind} of {size} ended {kind}, at most {most.at_most(size)} may"
    return None
