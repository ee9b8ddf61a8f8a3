"""What the planner may ask for. Each action says everything that applying it needs; applying decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.rollouts.analysis import Verdict
from fleet.rollouts.states import ExecutionState, RevertState, RolloutEvent, WaveState


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWave:
    """Open the next wave."""

    wave: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """Take a device into a wave and tell it to run the release."""

    wave: int
    device_id: str
    deployment_id: str
    previous: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choose:
    """Take a device into a wave; it is told when its turn comes."""

    wave: int
    device_id: str
    deployment_id: str
    previous: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Tell a device that was chosen to run the release."""

    device_id: str
    deployment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAgain:
    """Let a device that failed wait for another attempt, by a deployment of its own."""

    device_id: str
    deployment_id: str
    not_before: float
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Take a device into a wave without telling it anything: it has the release, or has refused it before."""

    wave: int
    device_id: str
    deployment_id: str
    state: ExecutionState
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetExecution:
    """Note where a device stands."""

    device_id: str
    state: ExecutionState
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWave:
    """Note where a wave stands, with the verdict on it if there is one."""

    wave: int
    state: WaveState
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Move the rollout to the state that follows an event."""

    event: RolloutEvent
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Tell a device to return to the release it ran before."""

    device_id: str
    revert_id: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRevert:
    """Note where taking a device back stands."""

    device_id: str
    state: RevertState


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Clear what the device was told: nothing is wanted of it any more."""

    device_id: str


Action = (
    StartWave | Deploy | Choose | Tell | AskAgain | Skip | SetExecution | SetWave | Move | Revert | SetRevert | Withdraw
)
