"""What operators may ask of rollouts: create, approve, start, pause, resume, stop. Applied in one transaction each."""

from __future__ import annotations

from fleet.errors import ConflictError, NotFoundError
from fleet.experiments.holds import held_by_experiment
from fleet.rollouts.cohorts import targets
from fleet.rollouts.planner import soaking
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import ACTIVE, ENDED, RolloutEvent, RolloutState, WaveState, allowed, follow
from fleet.rollouts.tick import device_view
from fleet.store.rollouts import Rollout
from fleet.store.work import Work
from mien.config import nearest

COMMANDS = ("approve", "start", "pause", "resume", "stop")


def create(work: Work, release: str, policy: RolloutPolicy, *, seed: str, now: float) -> Rollout:
    """Make a rollout, ready to start or waiting for approval.

    Raises:
        NotFoundError: the release is not published.
    """
    found = work.releases.find(release)
    if found is None:
        known = [known.ref for known in work.releases.all()]
        raise NotFoundError(
            f"there is no release '{release}'",
            wanted=f"one of {', '.join(nearest(release, known) or known[:5]) or '(none is published)'}",
            remedy="publish it first: mien fleet publish BUNDLE",
        )
    rollout_id = work.rollouts.add(release, found.manifest_sha256, policy, seed=seed, at=now)
    event = RolloutEvent.SUBMIT if policy.approval else RolloutEvent.RELEASE
    state = follow(RolloutState.DRAFT, event) or RolloutState.DRAFT
    work.rollouts.move(rollout_id, state)
    work.audit.note("rollout.create", str(rollout_id), at=now, release=release, policy=policy.name)
    return get(work, rollout_id)


def get(work: Work, rollout_id: int) -> Rollout:
    """A rollout.

    Raises:
        NotFoundError: there is none with this number.
    """
    rollout = work.rollouts.find(rollout_id)
    if rollout is None:
        raise NotFoundError(f"there is no rollout {rollout_id}", remedy="see 'mien fleet rollout list'")
    return rollout


def command(work: Work, rollout_id: int, name: str, *, now: float) -> Rollout:
    """Apply an operator's command.

    ``resume`` measures a soaking wave anew; ``approve`` lets it pass by a person's word; ``stop`` leaves devices that
    have the release alone.

    Raises:
        NotFoundError: there is no such rollout or command.
        ConflictError: the rollout's state does not know the command, no device is meant, or another rollout holds them.
    """
    rollout = get(work, rollout_id)
    if name not in COMMANDS:
        raise NotFoundError(f"there is no command '{name}'", wanted=", ".join(COMMANDS))
    event = RolloutEvent(name)
    state = follow(rollout.view.state, event)
    if state is None:
        known = ", ".join(word for word in allowed(rollout.view.state) if str(word) in COMMANDS)
        raise ConflictError(
            f"rollout {rollout_id} cannot {name}", found=f"it is {rollout.view.state}", wanted=known or "nothing more"
        )
    fields: dict[str, object] = {"paused_because": None}
    if event is RolloutEvent.START:
        _check_start(work, rollout)
        fields["started_at"] = now
    elif event is RolloutEvent.PAUSE:
        fields["paused_because"] = "paused by an operator"
    elif event is RolloutEvent.STOP:
        fields |= {"halted_because": "stopped by an operator", "reverts": False}
    if state in ENDED:
        fields["ended_at"] = now
    _settle_wave(work, rollout, event, now)
    work.rollouts.move(rollout_id, state, **fields)
    work.audit.note(f"rollout.{name}", str(rollout_id), at=now)
    return get(work, rollout_id)


def _settle_wave(work: Work, rollout: Rollout, event: RolloutEvent, now: float) -> None:
    wave = soaking(rollout.view)
    if wave is None:
        return
    if event is RolloutEvent.RESUME:
        work.rollouts.soak_again(rollout.view.id, wave.number, at=now)
    elif event is RolloutEvent.APPROVE:
        work.rollouts.set_wave(rollout.view.id, wave.number, WaveState.FINISHED, at=now)


def _check_start(work: Work, rollout: Rollout) -> None:
    meant = {device.id for device in targets(rollout.view, map(device_view, work.devices.all()))}
    if not meant:
        group = rollout.view.policy.group
        raise ConflictError(
            f"rollout {rollout.view.id} reaches no device",
            found=f"no accepted device in group '{group}'" if group else "no accepted device",
            remedy="enrol devices first: mien fleet token create, then mien edge enroll",
        )
    conflict = held_by_experiment(work, meant)
    if conflict is not None:
        raise conflict
    for other in work.rollouts.in_states(tuple(ACTIVE)):
        theirs = {device.id for device in targets(other.view, map(device_view, work.devices.all()))}
        if theirs & meant:
            raise ConflictError(
                f"rollout {other.view.id} ({other.view.release}) still holds these devices",
                found=f"it is {other.view.state}",
                remedy=f"wait for it, or end it: mien fleet rollout stop {other.view.id}",
            )
