"""What the planner of experiments may ask for. Each action says everything that applying it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.experiments.bandit import Belief
from fleet.experiments.states import Arm, ExperimentState
from fleet.rollouts.analysis import Verdict
from fleet.rollouts.states import ExecutionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """Tell a member to run an arm's release."""

    device_id: str
    arm: Arm
    deployment_id: str
    previous: str | None
    switches: int
    back: bool = False
    """Whether a release that proved bad is left: nothing is waited for, and it is not kept in the spare slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Put a member into an arm without telling it anything: it runs that release, or has refused it before."""

    device_id: str
    arm: Arm
    deployment_id: str
    state: ExecutionState
    detail: str
    switches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMember:
    """Note where a member stands."""

    device_id: str
    state: ExecutionState
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Clear what a member was told: nothing is wanted of it any more."""

    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Keep what a round showed, and the share it leads to."""

    number: int
    share: float
    chance: float
    beliefs: Mapping[Arm, Belief]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Keep a verdict on the candidate."""

    number: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Begin to end: name the winner, and bring every device to the target, if there is one."""

    because: str
    target: Arm | None = None
    winner: Arm | None = None
    dropped: Arm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The end is reached."""

    state: ExperimentState


Action = Deploy | Skip | SetMember | Withdraw | Round | Look | End | Close
