"""Applies what the planner of experiments decides: load, plan, apply, until nothing is left to do.

All of one step happens in one transaction, so a kill leaves either the state before or the state after it, and the next
tick goes on from there. This module decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.experiments.actions import Action, Close, Deploy, End, Look, Round, SetMember, Skip, Withdraw
from fleet.experiments.measure import seen_of
from fleet.experiments.planner import plan
from fleet.experiments.states import Arm, ExperimentState
from fleet.experiments.view import ExperimentView, MemberView, RoundView, SeenDevice
from fleet.rollouts.states import ExecutionState
from fleet.store.database import Store
from fleet.store.devices import ACCEPTED, Device
from fleet.store.experiments import Experiment
from fleet.store.work import Work
from mien.errors import InternalError
from mien.messages import Desired, UpdateReport
from mien.release import ReleaseRef

_log = logging.getLogger(__name__)
_MOST_STEPS = 20


class ExperimentTick:
    """Moves all experiments on.

    Args:
        store: where they are.
        clock: Unix seconds.
        changed: called when something was changed.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self._store, self._clock, self._changed = store, clock, changed

    def run(self) -> int:
        """Move every experiment as far as it goes now; the number of steps that changed something."""
        with self._store.read() as work:
            live = work.experiments.live()
        steps = sum(self._settle(experiment_id) for experiment_id in live)
        if steps:
            self._changed()
        return steps

    def _settle(self, experiment_id: int) -> int:
        for step in range(_MOST_STEPS):
            if not self._step(experiment_id):
                return step
        raise InternalError(f"experiment {experiment_id} does not come to rest", found=f"{_MOST_STEPS} steps in a tick")

    def _step(self, experiment_id: int) -> bool:
        now = self._clock()
        with self._store.read() as work:
            if not _planned(work, experiment_id, now):
                return False
        with self._store.write() as work:
            actions = _planned(work, experiment_id, now)
            found = work.experiments.find(experiment_id)
            if found is not None:
                Applier(work, found, now).apply(actions)
        return bool(actions)


def seen_device(device: Device) -> SeenDevice:
    """A device as the planner sees it."""
    return SeenDevice(
        id=device.id,
        accepted=device.state == ACCEPTED,
        online=device.online,
        online_since=device.online_since,
        release=device.release,
        known_bad=device.known_bad,
        desired_deployment=device.desired_deployment,
        report=UpdateReport.model_validate(device.update) if device.update else None,
    )


def _planned(work: Work, experiment_id: int, now: float) -> Sequence[Action]:
    found = work.experiments.find(experiment_id)
    if found is None:
        return ()
    seen = work.experiments.devices(experiment_id)
    devices = {device.id: device for device, _ in seen}
    hardware = {device.id: kind for device, kind in seen}
    return plan(found.view, devices, hardware, seen_of(work, found.view, now), now)


@dataclass
class Applier:
    """Puts actions of one experiment into the store."""

    work: Work
    experiment: Experiment
    now: float

    @property
    def _view(self) -> ExperimentView:
        return self.experiment.view

    def apply(self, actions: Sequence[Action]) -> None:
        """Apply all, in order."""
        for action in actions:
            self._apply(action)

    def _apply(self, action: Action) -> None:
        experiments, number = self.work.experiments, self._view.id
        match action:
            case Deploy() | Skip():
                self._enter(action)
            case SetMember():
                experiments.set_member(number, action.device_id, action.state, action.detail, at=self.now)
            case Withdraw():
                self.work.devices.desire(action.device_id, None)
            case Round():
                self._round(action)
            case Look():
                verdict = {**action.verdict.as_dict(), "look": action.number, "at": self.now}
                experiments.change(number, verdict=verdict)
                self._note("look", number=action.number, outcome=action.verdict.outcome, reason=action.verdict.reason)
            case End():
                self._end(action)
            case Close():
                experiments.change(number, state=str(action.state), ended_at=self.now)
                self._note(str(action.state))

    def _enter(self, action: Deploy | Skip) -> None:
        known = {member.device_id: member for member in self._view.members}
        before = known.get(action.device_id)
        member = MemberView(
            device_id=action.device_id,
            arm=action.arm,
            deployment_id=action.deployment_id,
            state=action.state if isinstance(action, Skip) else ExecutionState.QUEUED,
            detail=action.detail if isinstance(action, Skip) else "",
            previous=None if isinstance(action, Skip) else action.previous,
            switches=action.switches,
            queued_at=self.now,
        )
        self.work.experiments.put_member(self._view.id, member)
        if before is not None:
            self._note("switch", device=action.device_id, arm=str(action.arm), switches=action.switches)
        if isinstance(action, Deploy):
            self.work.devices.desire(action.device_id, self._desired(action))

    def _desired(self, action: Deploy) -> Desired:
        control = action.arm is Arm.CONTROL
        return Desired(
            deployment_id=action.deployment_id,
            release=ReleaseRef.parse(self._view.release(action.arm)),
            manifest_sha256=self.experiment.control_sha256 if control else self.experiment.candidate_sha256,
            issued_at=self.now,
            timeout_s=self._view.policy.timeout_s,
            rollback=action.back,
            probe=self._view.policy.probe.message(),
        )

    def _round(self, action: Round) -> None:
        done = RoundView(
            number=action.number, at=self.now, share=action.share, chance=action.chance, beliefs=action.beliefs
        )
        self.work.experiments.add_round(self._view.id, done)
        self.work.experiments.change(self._view.id, share=action.share)
        means = {str(arm): round(belief.mean, 4) for arm, belief in action.beliefs.items()}
        self._note("round", number=action.number, share=action.share, chance=action.chance, **means)

    def _end(self, action: End) -> None:
        fields = {
            name: None if value is None else str(value)
            for name, value in (("target", action.target), ("winner", action.winner), ("dropped", action.dropped))
        }
        self.work.experiments.change(self._view.id, state=str(ExperimentState.ENDING), because=action.because, **fields)
        self._note("drop" if action.dropped else "end", reason=action.because, **fields)

    def _note(self, what: str, **details: object) -> None:
        self.work.audit.note(f"experiment.{what}", str(self._view.id), at=self.now, actor="planner", **details)
        _log.info("experiment %d: %s %s", self._view.id, what, details)
