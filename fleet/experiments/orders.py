"""What people may ask of experiments: begin one, and stop it. Applied in one transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fleet.errors import ConflictError, NotFoundError
from fleet.experiments.assignment import Place, assign
from fleet.experiments.holds import held_by_experiment
from fleet.experiments.planner import enter, least_chance, winner_of
from fleet.experiments.policy import ExperimentPolicy
from fleet.experiments.states import Arm, ExperimentState
from fleet.experiments.tick import Applier, seen_device
from fleet.rollouts.cohorts import targets
from fleet.rollouts.states import ACTIVE
from fleet.store.devices import ACCEPTED, Device
from fleet.store.experiments import Experiment, Sides
from fleet.store.work import Work
from mien.config import nearest

Where = Literal["keep", "control", "candidate", "winner"]
_LEAST = 2


def create(
    work: Work,
    control: str,
    candidate: str,
    policy: ExperimentPolicy,
    *,
    seed: str,
    now: float,
    actor: str = "operator",
) -> Experiment:
    """Begin an experiment: share the devices out and tell each its release.

    Raises:
        NotFoundError: a release is not published.
        ConflictError: both releases are one, too few devices are meant, or they are held by something else.
    """
    if control == candidate:
        raise ConflictError(
            "an experiment needs two releases", found=f"{control} twice", remedy="name another one with --candidate"
        )
    sides = Sides(
        control=control,
        control_sha256=_manifest(work, control),
        candidate=candidate,
        candidate_sha256=_manifest(work, candidate),
    )
    members = _members(work, policy)
    _check_free(work, {device.id for device in members})
    places = [Place(device_id=device.id, hardware=_hardware(device)) for device in members]
    arms = assign(seed, places, policy.share)
    _check_power(policy, list(arms.values()))
    number = work.experiments.add(sides, policy, seed=seed, at=now)
    work.audit.note(
        "experiment.create", str(number), at=now, actor=actor, control=control, candidate=candidate, policy=policy.name
    )
    found = get(work, number)
    Applier(work, found, now).apply(
        [enter(found.view, seen_device(device), arms[device.id], switches=0) for device in members]
    )
    return get(work, number)


def stop(work: Work, experiment_id: int, where: Where, *, now: float, actor: str = "operator") -> Experiment:
    """End an experiment by a person's word.

    Args:
        work: the store.
        experiment_id: which.
        where: whether devices keep what they run, or all get one release.
        now: Unix seconds.
        actor: who.

    Raises:
        NotFoundError: there is no such experiment.
        ConflictError: it has ended, or there is no winner yet to go to.
    """
    found = get(work, experiment_id)
    view = found.view
    if view.state is not ExperimentState.RUNNING:
        raise ConflictError(f"experiment {experiment_id} cannot be stopped", found=f"it is {view.state}")
    winner = winner_of(view)
    if where == "winner" and winner is None:
        raise ConflictError(
            f"experiment {experiment_id} has no winner yet",
            found="neither release is shown to be the better one",
            wanted="--to control, --to candidate or --to keep",
        )
    target = None if where == "keep" else (winner if where == "winner" else Arm(where))
    because = f"stopped by {'an operator' if actor == 'operator' else actor}"
    work.experiments.change(
        experiment_id,
        state=str(ExperimentState.STOPPING),
        target=str(target) if target else None,
        winner=str(winner) if winner else None,
        because=because,
    )
    work.audit.note("experiment.stop", str(experiment_id), at=now, actor=actor, to=where)
    return get(work, experiment_id)


def get(work: Work, experiment_id: int) -> Experiment:
    """An experiment.

    Raises:
        NotFoundError: there is none with this number.
    """
    found = work.experiments.find(experiment_id)
    if found is None:
        raise NotFoundError(f"there is no experiment {experiment_id}", remedy="see 'mien fleet experiment list'")
    return found


def _manifest(work: Work, release: str) -> str:
    found = work.releases.find(release)
    if found is None:
        known = [known.ref for known in work.releases.all()]
        raise NotFoundError(
            f"there is no release '{release}'",
            wanted=f"one of {', '.join(nearest(release, known) or known[:5]) or '(none is published)'}",
            remedy="publish it first: mien fleet publish BUNDLE",
        )
    return found.manifest_sha256


def _members(work: Work, policy: ExperimentPolicy) -> list[Device]:
    meant = [
        device
        for device in work.devices.all()
        if device.state == ACCEPTED
        and policy.group in {None, device.group}
        and policy.labels.items() <= dict(device.labels).items()
    ]
    if len(meant) < _LEAST:
        wanted = [f"group '{policy.group}'"] if policy.group else []
        wanted += [f"{name}={value}" for name, value in policy.labels.items()]
        raise ConflictError(
            "an experiment needs two devices at least",
            found=f"{len(meant)} accepted with {', '.join(wanted) or 'any group'}",
            remedy="enrol more devices, or widen group and labels of the policy",
        )
    return meant


def _check_free(work: Work, meant: set[str]) -> None:
    conflict = held_by_experiment(work, meant)
    if conflict is not None:
        raise conflict
    views = work.devices.views()
    for rollout in work.rollouts.in_states(tuple(ACTIVE)):
        theirs = {device.id for device in targets(rollout.view, views)} & meant
        if theirs:
            raise ConflictError(
                f"rollout {rollout.view.id} ({rollout.view.release}) still holds {len(theirs)} of these devices",
                found=f"it is {rollout.view.state}; {min(theirs)} is one of them",
                remedy=f"wait for it, or end it: mien fleet rollout stop {rollout.view.id}",
            )


def _check_power(policy: ExperimentPolicy, arms: Sequence[Arm]) -> None:
    """Refuse an experiment that could never say anything."""
    candidates, controls = arms.count(Arm.CANDIDATE), arms.count(Arm.CONTROL)
    if policy.analysis.unit != "device":
        return
    reachable = least_chance(candidates, controls, policy)
    if min(candidates, controls) < policy.analysis.min_devices or reachable > policy.analysis.significance:
        raise ConflictError(
            "so few devices can never show a difference",
            found=f"{candidates} with the candidate and {controls} with the control: p is {reachable:.2g} at best, "
            f"over {policy.looks} looks",
            wanted=f"{policy.analysis.min_devices} of each at least, and p ≤ {policy.analysis.significance:g}",
            remedy="take more devices, fewer looks, or analysis.unit: window",
        )


def _hardware(device: Device) -> str:
    return str((device.twin or {}).get("hardware_class") or "")
