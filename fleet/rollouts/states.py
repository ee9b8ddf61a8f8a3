"""The states of rollouts, waves and executions, and what may follow what.

Names are the field's: rollout states are hawkBit's, execution states those of AWS IoT Jobs. Every change of a rollout's
state stands in ``TRANSITIONS`` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class _Word(str, Enum):
    __str__ = str.__str__


class RolloutState(_Word):
    """Where a rollout stands."""

    DRAFT = "draft"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    READY = "ready"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    """Halted: devices that have the release are being taken back."""
    STOPPED = "stopped"
    FINISHED = "finished"


class RolloutEvent(_Word):
    """What an operator asks for, or what the planner finds."""

    SUBMIT = "submit"
    """The draft is complete; its policy asks for approval."""
    RELEASE = "release"
    """The draft is complete; nobody has to approve."""
    APPROVE = "approve"
    DENY = "deny"
    FORCE_NEXT = "force-next"
    """The wave counts as done, whatever its figures and failures say."""
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    HALT = "halt"
    SETTLED = "settled"
    COMPLETE = "complete"


class WaveState(_Word):
    """Where a wave stands."""

    RUNNING = "running"
    SOAKING = "soaking"
    """Its devices run the release; their figures are held against the others'."""
    FINISHED = "finished"
    ERROR = "error"


class ExecutionState(_Word):
    """Where one device's part stands."""

    QUEUED = "QUEUED"
    """Chosen; it waits for its turn, or was told and has not answered."""
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    REJECTED = "REJECTED"
    """The device refused: it does not fit, or is known bad there."""
    REMOVED = "REMOVED"
    """The device left the fleet."""
    CANCELED = "CANCELED"
    """The rollout was stopped, or goes on without a device that cannot be reached."""


class RevertState(_Word):
    """Where taking one device back stands."""

    IN_PROGRESS = "in_progress"
    DONE = "done"
    FAILED = "failed"


_S, _E, _X = RolloutState, RolloutEvent, ExecutionState

TRANSITIONS: Mapping[RolloutState, Mapping[RolloutEvent, RolloutState]] = MappingProxyType(
    {
        _S.DRAFT: {_E.SUBMIT: _S.WAITING_FOR_APPROVAL, _E.RELEASE: _S.READY},
        _S.WAITING_FOR_APPROVAL: {_E.APPROVE: _S.READY, _E.DENY: _S.STOPPED, _E.STOP: _S.STOPPED},
        _S.READY: {_E.START: _S.RUNNING, _E.STOP: _S.STOPPED},
        _S.RUNNING: {
            _E.PAUSE: _S.PAUSED,
            _E.FORCE_NEXT: _S.RUNNING,
            _E.HALT: _S.STOPPING,
            _E.STOP: _S.STOPPING,
            _E.COMPLETE: _S.FINISHED,
        },
        _S.PAUSED: {
            _E.RESUME: _S.RUNNING,
            _E.APPROVE: _S.RUNNING,
            _E.FORCE_NEXT: _S.RUNNING,
            _E.DENY: _S.STOPPING,
            _E.HALT: _S.STOPPING,
            _E.STOP: _S.STOPPING,
        },
        _S.STOPPING: {_E.SETTLED: _S.STOPPED},
        _S.STOPPED: {},
        _S.FINISHED: {},
    }
)

ACTIVE = frozenset({_S.RUNNING, _S.PAUSED, _S.STOPPING})
"""States in which a rollout holds its devices."""
FOLLOWED = frozenset({_S.RUNNING, _S.PAUSED, _S.STOPPING, _S.STOPPED, _S.FINISHED})
"""States in which devices' reports are still taken in: some converge long after a rollout's end."""
ENDED = frozenset({_S.STOPPED, _S.FINISHED})
OPEN = frozenset({_X.QUEUED, _X.IN_PROGRESS})
UNSUCCESSFUL = frozenset({_X.FAILED, _X.TIMED_OUT, _X.REJECTED})
"""Executions that count against the error threshold."""


def follow(state: RolloutState, event: RolloutEvent) -> RolloutState | None:
    """The state that follows, or ``None`` when the event does not apply there."""
    return TRANSITIONS[state].get(event)


def allowed(state: RolloutState) -> tuple[RolloutEvent, ...]:
    """The events which a state knows."""
    return tuple(TRANSITIONS[state])
