"""What operators may ask of rollouts: create, try dry, approve, deny, start, pause, resume, force-next, abort.

Each is applied in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fleet.errors import ConflictError, NotFoundError
from fleet.experiments.holds import held_by_experiment
from fleet.people.approval import may_approve
from fleet.rollouts.admission import starved
from fleet.rollouts.cohorts import targets
from fleet.rollouts.planner import soaking
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.preview import Preview, preview
from fleet.rollouts.states import ACTIVE, ENDED, RolloutEvent, RolloutState, WaveState, allowed, follow
from fleet.rollouts.view import DeviceView, RolloutView
from fleet.store.rollouts import Rollout
from fleet.store.work import Work
from mien.config import nearest

WINDOW_S = 10.0
"""A telemetry window of a device with the default settings."""
_REMARKED = frozenset({"approve", "deny"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody asks of a rollout."""

    name: str
    actor: str
    remark: str | None = None
    """Why it is approved or denied."""
    revert: bool | None = None
    """Of an abort: whether devices that have the release return to the one before."""


COMMANDS = {
    "approve": RolloutEvent.APPROVE,
    "deny": RolloutEvent.DENY,
    "start": RolloutEvent.START,
    "pause": RolloutEvent.PAUSE,
    "resume": RolloutEvent.RESUME,
    "force-next": RolloutEvent.FORCE_NEXT,
    "abort": RolloutEvent.STOP,
    "stop": RolloutEvent.STOP,
}
"""``stop`` is an abort that lets devices keep the release."""


def create(
    work: Work, release: str, policy: RolloutPolicy, *, seed: str, now: float, actor: str = "operator"
) -> Rollout:
    """Make a rollout, ready to start or waiting for approval.

    Raises:
        NotFoundError: the release is not published.
        ConflictError: its budget lets no device of some site update.
    """
    found = _release(work, release)
    _check_budget(policy, targets(_draft(release, policy, seed), work.devices.views()))
    rollout_id = work.rollouts.add(release, found, policy, seed=seed, at=now, by=actor)
    event = RolloutEvent.SUBMIT if policy.approval else RolloutEvent.RELEASE
    state = follow(RolloutState.DRAFT, event) or RolloutState.DRAFT
    work.rollouts.move(rollout_id, state)
    work.audit.note("rollout.create", str(rollout_id), at=now, actor=actor, release=release, policy=policy.name)
    return get(work, rollout_id)


def dry_run(work: Work, release: str, policy: RolloutPolicy, *, seed: str) -> Preview:
    """What a rollout would do now; nothing is changed.

    Raises:
        NotFoundError: the release is not published.
        ConflictError: its budget lets no device of some site update.
    """
    _release(work, release)
    draft, devices = _draft(release, policy, seed), work.devices.views()
    _check_budget(policy, targets(draft, devices))
    return preview(draft, devices, work.rollouts.durations_s(), window_s=WINDOW_S)


def get(work: Work, rollout_id: int) -> Rollout:
    """A rollout.

    Raises:
        NotFoundError: there is none with this number.
    """
    rollout = work.rollouts.find(rollout_id)
    if rollout is None:
        raise NotFoundError(f"there is no rollout {rollout_id}", remedy="see 'mien fleet rollout list'")
    return rollout


def command(work: Work, rollout_id: int, order: Order, *, now: float, rules: Collection[str] = ()) -> Rollout:
    """Apply an operator's command.

    ``resume`` forgives the failures that were seen and measures a soaking wave anew; ``approve`` lets a rollout start,
    a wave begin, or a soaking wave pass by a person's word; ``force-next`` takes the wave as done whatever it shows;
    ``abort`` ends the rollout, and its ``revert`` says whether devices that have the release return.

    Args:
        work: the unit of work.
        rollout_id: which.
        order: what, and by whom.
        now: Unix seconds.
        rules: what takes two persons here.

    Raises:
        NotFoundError: there is no such rollout or command.
        ConflictError: the rollout's state does not know the command, the person may not give it, no device is meant, or
            another rollout holds them.
    """
    rollout = get(work, rollout_id)
    event = COMMANDS.get(order.name)
    if event is None:
        raise NotFoundError(f"there is no command '{order.name}'", wanted=", ".join(COMMANDS))
    state = follow(rollout.view.state, event)
    if state is None:
        known = [name for name, one in COMMANDS.items() if one in allowed(rollout.view.state)]
        raise ConflictError(
            f"rollout {rollout_id} cannot {order.name}",
            found=f"it is {rollout.view.state}",
            wanted=", ".join(known) or "nothing more",
        )
    _check_person(rollout, order, rules)
    fields = _fields(work, rollout, event, order, now)
    if state in ENDED:
        fields["ended_at"] = now
    _settle_wave(work, rollout, event, now)
    work.rollouts.move(rollout_id, state, **fields)
    if order.name in _REMARKED:
        said = {"at": now, "actor": order.actor, "command": order.name, "remark": order.remark}
        work.rollouts.remark(rollout_id, said)
    told = {name: value for name, value in (("remark", order.remark), ("revert", order.revert)) if value is not None}
    work.audit.note(f"rollout.{order.name}", str(rollout_id), at=now, actor=order.actor, **told)
    return get(work, rollout_id)


def _fields(work: Work, rollout: Rollout, event: RolloutEvent, order: Order, now: float) -> dict[str, object]:
    """What changes in a rollout's row beside its state."""
    fields: dict[str, object] = {"paused_because": None}
    waves = rollout.view.waves
    match event:
        case RolloutEvent.START:
            _check_start(work, rollout)
            fields["started_at"] = now
        case RolloutEvent.PAUSE:
            fields["paused_because"] = f"paused by {order.actor}"
        case RolloutEvent.RESUME:
            fields["forgiven_at"] = now
        case RolloutEvent.APPROVE:
            fields["forgiven_at"] = now
            if not waves or waves[-1].state is WaveState.FINISHED:  # otherwise the next wave asks for itself
                fields["approved_wave"] = len(waves)
        case RolloutEvent.FORCE_NEXT:
            _check_forced(rollout)
            fields["forgiven_at"] = now
        case RolloutEvent.STOP | RolloutEvent.DENY:
            verb = "denied" if event is RolloutEvent.DENY else "stopped"
            remark = f": {order.remark}" if order.remark else ""
            fields |= {"halted_because": f"{verb} by {order.actor}{remark}", "reverts": bool(order.revert)}
    return fields


def _settle_wave(work: Work, rollout: Rollout, event: RolloutEvent, now: float) -> None:
    wave = soaking(rollout.view)
    if wave is not None and event is RolloutEvent.RESUME:
        work.rollouts.soak_again(rollout.view.id, wave.number, at=now)
    elif wave is not None and event is RolloutEvent.APPROVE:
        work.rollouts.set_wave(rollout.view.id, wave.number, WaveState.FINISHED, at=now)
    elif event is RolloutEvent.FORCE_NEXT and rollout.view.waves:
        work.rollouts.set_wave(rollout.view.id, rollout.view.waves[-1].number, WaveState.FINISHED, at=now)


def _check_person(rollout: Rollout, order: Order, rules: Collection[str]) -> None:
    asked = {*rules, "rollout.approve"} if rollout.view.policy.two_person else set(rules)
    refusal = may_approve(rollout.created_by, order.actor, f"rollout.{order.name}", rules=asked)
    if refusal is not None:
        raise ConflictError(
            f"rollout {rollout.view.id} cannot {order.name}", found=refusal, remedy="let another person do it"
        )


def _check_forced(rollout: Rollout) -> None:
    """Forcing takes a wave as done; it is no approval of the next one, which may be another person's to give."""
    waves = rollout.view.waves
    if not waves or waves[-1].state is WaveState.FINISHED:
        raise ConflictError(
            f"rollout {rollout.view.id} has no wave under way that could be forced",
            found=rollout.paused_because or "no wave has begun",
            remedy=f"approve what waits for it: mien fleet rollout approve {rollout.view.id}",
        )


def _check_start(work: Work, rollout: Rollout) -> None:
    devices = work.devices.views()
    mine = targets(rollout.view, devices)
    meant = {device.id for device in mine}
    if not meant:
        group = rollout.view.policy.group
        raise ConflictError(
            f"rollout {rollout.view.id} reaches no device",
            found=f"no accepted device in group '{group}'" if group else "no accepted device",
            remedy="enrol devices first: mien fleet token create, then mien edge enroll",
        )
    _check_budget(rollout.view.policy, mine)
    conflict = held_by_experiment(work, meant)
    if conflict is not None:
        raise conflict
    for other in work.rollouts.in_states(tuple(ACTIVE)):
        theirs = {device.id for device in targets(other.view, devices)}
        if theirs & meant:
            raise ConflictError(
                f"rollout {other.view.id} ({other.view.release}) still holds these devices",
                found=f"it is {other.view.state}",
                remedy=f"wait for it, or end it: mien fleet rollout abort {other.view.id} --keep",
            )


def _check_budget(policy: RolloutPolicy, devices: Collection[DeviceView]) -> None:
    bad = starved(policy.budget, devices) if policy.budget else []
    if bad:
        raise ConflictError(
            "the policy's budget lets some devices never update",
            found="; ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else ""),  # noqa: PLR2004
            wanted="at least one device of each site that may be away",
            remedy="raise max_unavailable or lower min_available, or correct the devices' labels",
        )


def _release(work: Work, release: str) -> str:
    """The digest of a published release's manifest."""
    found = work.releases.find(release)
    if found is None:
        known = [known.ref for known in work.releases.all()]
        raise NotFoundError(
            f"there is no release '{release}'",
            wanted=f"one of {', '.join(nearest(release, known) or known[:5]) or '(none is published)'}",
            remedy="publish it first: mien fleet publish BUNDLE",
        )
    return found.manifest_sha256


def _draft(release: str, policy: RolloutPolicy, seed: str) -> RolloutView:
    return RolloutView(id=0, release=release, seed=seed, state=RolloutState.DRAFT, policy=policy)
