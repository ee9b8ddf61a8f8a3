"""What the planner of experiments sees: values only, taken from the store at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.experiments.bandit import Belief
from fleet.experiments.policy import ExperimentPolicy
from fleet.experiments.states import Arm, ExperimentState
from fleet.rollouts.analysis_values import Outcome
from fleet.rollouts.states import ExecutionState
from mien.messages import UpdateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """One device's part."""

    device_id: str
    arm: Arm
    deployment_id: str
    state: ExecutionState
    detail: str = ""
    previous: str | None = None
    switches: int = 0
    """How often its arm was changed."""
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    """Arms whose release it failed, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundView:
    """One look of a bandit."""

    number: int
    at: float
    share: float
    chance: float
    beliefs: Mapping[Arm, Belief]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentView:
    """An experiment."""

    id: int
    seed: str
    state: ExperimentState
    policy: ExperimentPolicy
    control: str
    candidate: str
    share: float
    started_at: float
    target: Arm | None = None
    dropped: Arm | None = None
    winner: Arm | None = None
    because: str | None = None
    look: int = 0
    """The number of the last verdict."""
    outcome: Outcome | None = None
    """What it was."""
    members: tuple[MemberView, ...] = ()
    rounds: tuple[RoundView, ...] = ()

    def release(self, arm: Arm) -> str:
        """What an arm runs."""
        return self.control if arm is Arm.CONTROL else self.candidate

    def on(self, arm: Arm) -> tuple[MemberView, ...]:
        """The members of an arm that are still in the experiment."""
        return tuple(m for m in self.members if m.arm is arm and m.state is not ExecutionState.REMOVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDevice:
    """A member's device as the fleet knows it."""

    id: str
    accepted: bool
    online: bool
    online_since: float | None
    release: str | None
    known_bad: frozenset[str] = frozenset()
    desired_deployment: str | None = None
    report: UpdateReport | None = None
    """The last report of any update on it."""
