"""Applies what the planner decides: load, plan, apply, until nothing is left to do; then let the outbox send.

All of one step happens in one transaction, so a kill leaves either the state before or the state after it, and the next
tick goes on from there. This module decides nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fleet.rollouts.actions import (
    Action,
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
from fleet.rollouts.admission import admitted as may_be_told
from fleet.rollouts.analysis import Verdict
from fleet.rollouts.cohorts import rank
from fleet.rollouts.joining import Current, currents_of, joiners
from fleet.rollouts.measure import verdict_on
from fleet.rollouts.planner import deployment_id, follow_reports, plan, soaking
from fleet.rollouts.states import (
    ENDED,
    ExecutionState,
    RevertState,
    RolloutEvent,
    follow,
)
from fleet.rollouts.turns import admitted, free_places, needs_thought
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView
from fleet.store.database import Store
from fleet.store.rollouts import Rollout
from fleet.store.work import Work
from mien.errors import InternalError
from mien.messages import Desired, ProbePolicy
from mien.release import ReleaseRef

_log = logging.getLogger(__name__)

_MOST_STEPS = 150
"""More than a policy with the most waves needs when each is done at once: two for each."""
_PATIENCE_S = 0.25
_REST = 10.0
_JOINING = 0
"""In place of a rollout's number, which are 1 and above."""
_LOOK_FURTHER = 4
"""So many times as many candidates are read as places are free, since some sites have no room for theirs."""


class Tick:
    """Moves all rollouts on.

    Args:
        store: where they are.
        clock: Unix seconds.
        changed: called when something was changed.
        patience_s: where looking at every device takes longer than this, that is done now and then only.
        rest: after such a look, at least so many times as long passes before the next.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float],
        changed: Callable[[], None],
        patience_s: float = _PATIENCE_S,
        rest: float = _REST,
    ) -> None:
        self._store, self._clock, self._changed = store, clock, changed
        self._patience_s, self._rest = patience_s, rest
        self._due_s: dict[int, float] = {}
        """For great rollouts: when every device is looked at again, in monotonic seconds; 0: for those that joined."""

    def run(self) -> int:
        """Move every rollout as far as it goes now; the number of steps that changed something."""
        steps = 0
        with self._store.read() as work:
            watched = work.rollouts.to_follow()
        for rollout_id in watched:
            steps += self._settle(rollout_id)
        if time.monotonic() >= self._due_s.get(_JOINING, 0.0):
            with self._timed(_JOINING):
                steps += self._welcome()
        if steps:
            self._changed()
        return steps

    def _settle(self, rollout_id: int) -> int:
        steps = int(self._follow(rollout_id, self._clock()))
        if time.monotonic() < self._due_s.get(rollout_id, 0.0):
            told = self._turn(rollout_id, self._clock())
            if told is not None:
                return steps + int(told > 0)
        with self._timed(rollout_id):
            return self._think(rollout_id, steps)

    @contextmanager
    def _timed(self, what: int) -> Iterator[None]:
        """Let a look that takes long rest afterwards."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            spent_s = time.monotonic() - began_s
            self._due_s[what] = time.monotonic() + self._rest * spent_s if spent_s > self._patience_s else 0.0

    def _turn(self, rollout_id: int, now: float) -> int | None:
        """Tell the next devices, from sums alone; how many were told, or ``None`` when the planner must look."""
        with self._store.read() as work:
            turn = work.turns.look(rollout_id)
        if turn is None or needs_thought(turn, now):
            return None
        if not free_places(turn, now):
            return 0
        with self._store.write() as work:
            return _tell_next(work, rollout_id, now)

    def _think(self, rollout_id: int, steps: int) -> int:
        """Look at every device, and do what follows until nothing is left to do."""
        while steps < _MOST_STEPS:
            actions = self._step(rollout_id, moved=steps > 0)
            if not actions:
                return steps
            steps += 1
            if all(isinstance(action, Tell) for action in actions):
                return steps  # as many as may be told were told, and nothing follows from that before they answer
        raise InternalError(f"rollout {rollout_id} does not come to rest", found=f"{_MOST_STEPS} steps in one tick")

    def _step(self, rollout_id: int, *, moved: bool) -> Sequence[Action]:
        """One step; where something moved just now there is likely more to do, so nobody looks whether there is."""
        now = self._clock()
        if not moved:
            with self._store.read() as work:
                _, actions, verdict = _planned(work, rollout_id, now)
            if not actions:
                self._note_verdict(rollout_id, verdict)
                return ()
        with self._store.write() as work:
            rollout, actions, verdict = _planned(work, rollout_id, now)
            _Applier(work, rollout_id, now).apply(actions, rollout)
        if not actions:
            self._note_verdict(rollout_id, verdict)
        return actions

    def _follow(self, rollout_id: int, now: float) -> bool:
        """Take in what devices say that are at it: most of what happens, and it needs no other device."""
        with self._store.read() as work:
            _, actions = _reported(work, rollout_id, now)
        if not actions:
            return False
        with self._store.write() as work:
            rollout, actions = _reported(work, rollout_id, now)
            _Applier(work, rollout_id, now).apply(actions, rollout)
        return bool(actions)

    def _welcome(self) -> int:
        """Bring devices that joined to the release that their group runs; how many were told."""
        now = self._clock()
        with self._store.read() as work:
            if not _newcomers(work, now):
                return 0
        with self._store.write() as work:
            found = _newcomers(work, now)
            for current, devices in found:
                _Applier(work, current.rollout_id, now).welcome(devices)
        return sum(len(devices) for _, devices in found)

    def _note_verdict(self, rollout_id: int, verdict: Verdict | None) -> None:
        """Keep the present figures of a soaking wave, for people to see."""
        if verdict is None:
            return
        with self._store.write() as work:
            rollout = work.rollouts.find(rollout_id)
            wave = soaking(rollout.view) if rollout else None
            if rollout and wave and rollout.verdicts.get(wave.number) != verdict.as_dict():
                work.rollouts.set_verdict(rollout_id, wave.number, verdict.as_dict())


def _planned(work: Work, rollout_id: int, now: float) -> tuple[Rollout | None, Sequence[Action], Verdict | None]:
    rollout = work.rollouts.planned(rollout_id)
    if rollout is None:
        return None, (), None
    devices = work.devices.views()
    verdict = verdict_on(work, rollout.view, devices, now)
    return rollout, plan(rollout.view, devices, verdict, now), verdict


def _reported(work: Work, rollout_id: int, now: float) -> tuple[Rollout | None, Sequence[Action]]:
    rollout = work.rollouts.busy(rollout_id)
    if rollout is None:
        return None, ()
    devices = {device.id: device for device in work.devices.busy(rollout_id)}
    return rollout, follow_reports(rollout.view, devices, now)


def _tell_next(work: Work, rollout_id: int, now: float) -> int | None:
    turn, rollout = work.turns.look(rollout_id), work.rollouts.bare(rollout_id)
    if turn is None or rollout is None or needs_thought(turn, now):
        return None
    places, budget = free_places(turn, now), turn.policy.budget
    rooms = work.turns.rooms(rollout_id, budget) if budget else None
    most = places * _LOOK_FURTHER
    found = work.turns.candidates(rollout_id, turn.policy, rooms, now=now, most=most)
    told = admitted(found, places, rooms)
    if len(told) < places and len(found) == most:
        return None  # others further back may have room
    actions = [Tell(device_id=one.device_id, deployment_id=one.deployment_id) for one in told]
    _Applier(work, rollout_id, now).apply(actions, rollout)
    return len(told)


def _newcomers(work: Work, now: float) -> list[tuple[Current, list[DeviceView]]]:
    """Devices that joined since and may be told now, by the release that they shall run."""
    currents = currents_of(work.rollouts.last_finished())
    found = []
    held: set[str] | None = None
    missed: dict[int, set[str]] = {}
    for current in currents:
        open_to = work.devices.undecided(current.release)
        if not open_to:
            continue
        if held is None:
            held = set(work.experiments.held()) | work.rollouts.held()
            missed = {one.rollout_id: work.rollouts.missed(one.rollout_id) for one in currents}
        taken = held | work.rollouts.had(current.rollout_id, [device.id for device in open_to])
        chosen = joiners(current, currents, open_to, taken, missed=missed)
        told = _whose_turn(work, current.rollout_id, chosen, now) if chosen else []
        if told:
            found.append((current, told))
    return found


def _whose_turn(work: Work, rollout_id: int, chosen: Sequence[DeviceView], now: float) -> list[DeviceView]:
    """Those who may be told now: the limits of a rollout hold for whoever gets its release later, too."""
    rollout = work.rollouts.busy(rollout_id)
    if rollout is None:
        return []
    everybody = work.devices.views() if rollout.view.policy.budget else chosen
    return may_be_told(rollout.view, chosen, everybody, now)


@dataclass
class _Applier:
    work: Work
    rollout_id: int
    now: float

    def apply(self, actions: Sequence[Action], rollout: Rollout | None) -> None:
        if rollout is None:
            return
        named = {action.device_id for action in actions if not isinstance(action, StartWave | SetWave | Move)}
        self.work.rollouts.load(self.rollout_id, named)
        self.work.devices.load(named)
        for action in actions:
            self._apply(action, rollout)

    def welcome(self, devices: Sequence[DeviceView]) -> None:
        """Take devices that joined into a finished rollout's last wave, and tell them."""
        rollout = self.work.rollouts.planned(self.rollout_id)
        if rollout is None:
            return
        known = {execution.device_id: execution for execution in rollout.view.executions}
        wave = max((wave.number for wave in rollout.view.waves), default=0)
        for device in devices:
            if device.id in known:
                self._revive(known[device.id], rollout)
                continue
            name = deployment_id(rollout.view, device.id)
            deploy = Deploy(wave=wave, device_id=device.id, deployment_id=name, previous=device.release)
            self._apply(deploy, rollout)
            told = {"release": rollout.view.release, "rollout": rollout.view.id}
            self.work.audit.note("device.join", device.id, at=self.now, actor="planner", **told)

    def _revive(self, device: ExecutionView, rollout: Rollout) -> None:
        """Tell a device that a wave went on without."""
        name = deployment_id(rollout.view, device.device_id, device.attempts + 1)
        again = AskAgain(device_id=device.device_id, deployment_id=name, not_before=self.now, detail="it returned")
        self._apply(again, rollout)
        self._apply(Tell(device_id=device.device_id, deployment_id=name), rollout)

    def _apply(self, action: Action, rollout: Rollout) -> None:  # noqa: C901 - one line for each action
        rollouts, number, now = self.work.rollouts, self.rollout_id, self.now
        match action:
            case StartWave():
                rollouts.start_wave(number, action.wave, at=now)
            case Deploy() | Choose() | Skip():
                self._enter(action, rollout)
            case Tell():
                rollouts.tell(number, action.device_id, at=now)
                self._release(action.device_id, action.deployment_id, rollout)
            case AskAgain():
                when, why = action.not_before, action.detail
                rollouts.ask_again(number, action.device_id, action.deployment_id, not_before=when, detail=why)
                self.work.devices.desire(action.device_id, None)
            case SetExecution():
                rollouts.set_execution(number, action.device_id, action.state, action.detail, at=now)
            case SetWave():
                verdict = action.verdict.as_dict() if action.verdict else None
                rollouts.set_wave(number, action.wave, action.state, at=now, verdict=verdict)
            case Move():
                self._move(action, rollout.view)
            case Revert():
                self._revert(action, rollout.view)
            case SetRevert():
                rollouts.set_revert(number, action.device_id, action.state)
            case Withdraw():
                self.work.devices.desire(action.device_id, None)

    def _enter(self, action: Deploy | Choose | Skip, rollout: Rollout) -> None:
        execution = ExecutionView(
            device_id=action.device_id,
            wave=action.wave,
            deployment_id=action.deployment_id,
            state=action.state if isinstance(action, Skip) else ExecutionState.QUEUED,
            detail=action.detail if isinstance(action, Skip) else "",
            previous=None if isinstance(action, Skip) else action.previous,
            queued_at=self.now,
            waiting=isinstance(action, Choose),
        )
        place = rank(rollout.view.seed, action.device_id)
        self.work.rollouts.add_execution(self.rollout_id, execution, at=self.now, rank=place)
        if isinstance(action, Deploy):
            self._release(action.device_id, action.deployment_id, rollout)

    def _release(self, device_id: str, deployment: str, rollout: Rollout) -> None:
        ref = ReleaseRef.parse(rollout.view.release)
        self._desire(device_id, deployment, ref, rollout.manifest_sha256, rollout.view)

    def _revert(self, action: Revert, rollout: RolloutView) -> None:
        before = self.work.releases.find(action.release)
        state = RevertState.IN_PROGRESS if before else RevertState.FAILED
        self.work.rollouts.start_revert(self.rollout_id, action.device_id, action.revert_id, state, at=self.now)
        if before is None:
            self.work.devices.desire(action.device_id, None)
            return
        ref = ReleaseRef.parse(action.release)
        self._desire(action.device_id, action.revert_id, ref, before.manifest_sha256, rollout, rollback=True)

    def _desire(
        self,
        device_id: str,
        deployment_id: str,
        release: ReleaseRef,
        manifest_sha256: str,
        rollout: RolloutView,
        *,
        rollback: bool = False,
    ) -> None:
        probe: ProbePolicy = rollout.policy.probe.message()
        desired = Desired(
            deployment_id=deployment_id,
            release=release,
            manifest_sha256=manifest_sha256,
            issued_at=self.now,
            timeout_s=rollout.policy.timeout_s,
            rollback=rollback,
            probe=probe,
            download_windows=rollout.policy.download_windows,
            install_windows=rollout.policy.install_windows,
            max_bytes_per_s=rollout.policy.max_bytes_per_s,
            jitter_s=rollout.policy.jitter_s,
        )
        self.work.devices.desire(device_id, desired)

    def _move(self, action: Move, rollout: RolloutView) -> None:
        state = follow(rollout.state, action.event)
        if state is None:
            raise InternalError(f"rollout {rollout.id} is {rollout.state} and does not know '{action.event}'")
        fields: dict[str, object] = {}
        if action.event is RolloutEvent.HALT:
            fields["halted_because"] = action.reason
        if action.event is RolloutEvent.PAUSE:
            fields["paused_because"] = action.reason
        if state in ENDED:
            fields["ended_at"] = self.now
        self.work.rollouts.move(rollout.id, state, **fields)
        self.work.audit.note(
            f"rollout.{action.event}", str(rollout.id), at=self.now, actor="planner", reason=action.reason
        )
        _log.info("rollout %d (%s): %s -> %s %s", rollout.id, rollout.release, rollout.state, state, action.reason)
