"""What the planner sees: values only, taken from the store at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import ExecutionState, RevertState, RolloutState, WaveState
from mien.messages import UpdateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """A device."""

    id: str
    group: str
    labels: Mapping[str, str] = field(default_factory=dict)
    accepted: bool = True
    online: bool = True
    online_since: float | None = None
    offline_since: float | None = None
    """When it was last heard of, while it is offline."""
    release: str | None = None
    """The release it says it runs, ``name@version``."""
    known_bad: frozenset[str] = frozenset()
    desired_deployment: str | None = None
    """The deployment which the broker holds, or will hold, for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    """One device's part in the rollout."""

    device_id: str
    wave: int
    deployment_id: str
    state: ExecutionState
    previous: str | None
    queued_at: float
    """When it was told; while it waits, when it was chosen."""
    waiting: bool = False
    """Chosen for its wave, and not told yet."""
    not_before: float | None = None
    """Of one that is asked again: not told before this time."""
    attempts: int = 1
    detail: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    report: UpdateReport | None = None
    revert_id: str | None = None
    revert_at: float | None = None
    revert_state: RevertState | None = None
    revert_report: UpdateReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveView:
    """A wave that has begun."""

    number: int
    state: WaveState
    started_at: float
    soak_started_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """A rollout."""

    id: int
    release: str
    seed: str
    state: RolloutState
    policy: RolloutPolicy
    reverts: bool = True
    """Whether a halt takes devices back."""
    forgiven_at: float | None = None
    """Failures up to this time count no more: a person saw them and let the rollout go on."""
    approved_wave: int = -1
    """The last wave that a person let begin, where its policy asks for that."""
    waves: tuple[WaveView, ...] = ()
    executions: tuple[ExecutionView, ...] = ()

    def of_wave(self, number: int) -> tuple[ExecutionView, ...]:
        """The executions of one wave whose devices are still in the fleet."""
        return tuple(e for e in self.executions if e.wave == number and e.state is not ExecutionState.REMOVED)
