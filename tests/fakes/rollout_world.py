"""A fleet in memory for the planner: applies its actions to values, and lets devices answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fleet.rollouts.actions import (
    AskAgain,
    Choose,
    Deploy,
    Move,
    Revert,
    SetExecution,
    SetRevert,
    SetWave,
    Skip,
    StartWave,
    Tell,
    Withdraw,
)
from fleet.rollouts.analysis import Verdict
from fleet.rollouts.planner import plan
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import OPEN, ExecutionState, RevertState, RolloutState, WaveState, follow
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView, WaveView
from mien.lifecycle import UpdateState
from mien.messages import UpdateReport
from mien.release import ReleaseRef

OLD, NEW = "faces@1.0.0", "faces@1.1.0"


def policy(**given) -> RolloutPolicy:
    """A policy: one canary, then the rest, without analysis unless given."""
    waves = [{"name": "canary", "count": 1}, {"name": "rest", "percent": 100}]
    return RolloutPolicy.model_validate({"waves": waves, "analysis": None} | given)


def devices(count: int, **given) -> list[DeviceView]:
    """Devices on the old release."""
    return [DeviceView(**({"id": f"cam-{n}", "group": "site", "release": OLD} | given)) for n in range(count)]


@dataclass
class World:
    """One rollout and its fleet."""

    policy: RolloutPolicy
    fleet: list[DeviceView]
    now: float = 1000.0
    verdict: Verdict | None = None
    rollout: RolloutView = field(init=False)
    halted_because: str = ""
    paused_because: str = ""
    sequence: int = 0

    def __post_init__(self) -> None:
        self.rollout = RolloutView(
            id=1, release=NEW, seed="seed", state=RolloutState.RUNNING, policy=self.policy, reverts=self.policy.revert
        )

    def step(self) -> tuple:
        """Plan once and apply; the actions."""
        actions = plan(self.rollout, self.fleet, self.verdict, self.now)
        for action in actions:
            self._apply(action)
        return actions

    def settle(self, most: int = 30) -> list:
        """Plan and apply until nothing is left to do now; all actions."""
        done: list = []
        for _ in range(most):
            actions = self.step()
            if not actions:
                return done
            done += actions
        raise AssertionError(f"no rest after {most} steps: {actions}")

    def later(self, seconds: float) -> list:
        """Let time pass, then settle."""
        self.now += seconds
        return self.settle()

    def report(self, device_id: str, state: UpdateState, *, revert: bool = False, **more) -> None:
        """Let a device report on what it was told last, and run what it says."""
        self.sequence += 1
        execution = self.execution(device_id)
        said = UpdateReport(
            deployment_id=execution.revert_id if revert else execution.deployment_id,
            release=ReleaseRef.parse(execution.previous if revert else NEW),
            sequence=self.sequence,
            state=state,
            at=self.now,
            **more,
        )
        self._change(device_id, **({"revert_report": said} if revert else {"report": said}))
        if state is UpdateState.COMMITTED:
            self.device(device_id, release=execution.previous if revert else NEW)

    def device(self, device_id: str, **changes) -> DeviceView:
        """A device, changed if asked to."""
        self.fleet = [replace(d, **changes) if d.id == device_id else d for d in self.fleet]
        return next(d for d in self.fleet if d.id == device_id)

    def execution(self, device_id: str) -> ExecutionView:
        """A device's part."""
        return next(e for e in self.rollout.executions if e.device_id == device_id)

    def states(self) -> dict[str, ExecutionState]:
        """All parts."""
        return {e.device_id: e.state for e in self.rollout.executions}

    def _change(self, device_id: str, **changes) -> None:
        self.rollout = replace(
            self.rollout,
            executions=tuple(replace(e, **changes) if e.device_id == device_id else e for e in self.rollout.executions),
        )

    def _apply(self, action) -> None:  # noqa: C901, PLR0912, PLR0915 - a few lines for each action
        match action:
            case StartWave():
                wave = WaveView(number=action.wave, state=WaveState.RUNNING, started_at=self.now)
                self.rollout = replace(self.rollout, waves=(*self.rollout.waves, wave))
            case Deploy():
                self._enter(action, ExecutionState.QUEUED, "", action.previous)
                self.device(action.device_id, desired_deployment=action.deployment_id)
            case Choose():
                self._enter(action, ExecutionState.QUEUED, "", action.previous)
                self._change(action.device_id, waiting=True)
            case Tell():
                self._change(action.device_id, waiting=False, queued_at=self.now)
                self.device(action.device_id, desired_deployment=action.deployment_id)
            case AskAgain():
                again = {"state": ExecutionState.QUEUED, "detail": action.detail, "not_before": action.not_before}
                afresh = {"report": None, "started_at": None, "ended_at": None, "waiting": True}
                attempts = self.execution(action.device_id).attempts + 1
                self._change(action.device_id, deployment_id=action.deployment_id, attempts=attempts, **again, **afresh)
                self.device(action.device_id, desired_deployment=None)
            case Skip():
                self._enter(action, action.state, action.detail, None)
            case SetExecution():
                begun = None if action.state is ExecutionState.QUEUED else self.now
                old = self.execution(action.device_id)
                started_at = old.started_at if old.started_at is not None else begun
                self._change(action.device_id, state=action.state, detail=action.detail, started_at=started_at)
                if action.state not in OPEN and old.ended_at is None:
                    self._change(action.device_id, ended_at=self.now)
            case SetWave():
                self._set_wave(action)
            case Move():
                state = follow(self.rollout.state, action.event)
                assert state is not None, action
                self.rollout = replace(self.rollout, state=state)
                if action.event == "halt":
                    self.halted_because = action.reason
                if action.event == "pause":
                    self.paused_because = action.reason
            case Revert():
                self._change(
                    action.device_id,
                    revert_id=action.revert_id,
                    revert_at=self.now,
                    revert_state=RevertState.IN_PROGRESS,
                )
                self.device(action.device_id, desired_deployment=action.revert_id)
            case SetRevert():
                self._change(action.device_id, revert_state=action.state)
            case Withdraw():
                self.device(action.device_id, desired_deployment=None)
            case _:
                raise AssertionError(action)

    def _enter(self, action, state: ExecutionState, detail: str, previous: str | None) -> None:
        execution = ExecutionView(
            device_id=action.device_id,
            wave=action.wave,
            deployment_id=action.deployment_id,
            state=state,
            detail=detail,
            previous=previous,
            queued_at=self.now,
        )
        self.rollout = replace(self.rollout, executions=(*self.rollout.executions, execution))

    def _set_wave(self, action: SetWave) -> None:
        waves = list(self.rollout.waves)
        old = waves[action.wave]
        began = self.now if action.state is WaveState.SOAKING else old.soak_started_at
        waves[action.wave] = replace(old, state=action.state, soak_started_at=began)
        self.rollout = replace(self.rollout, waves=tuple(waves))
