"""Routes for rollouts: make, try dry, look at, explain, and command them."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from fleet.api.deps import Fleet, FleetDep, OperatorDep, reader
from fleet.api.shapes import rollout_json
from fleet.rollouts.explain import explain
from fleet.rollouts.measure import verdict_on
from fleet.rollouts.orders import Order, command, create, dry_run, get
from fleet.rollouts.policy import RolloutPolicy
from fleet.store.rollouts import Rollout
from fleet.store.work import Work
from mien.config import settings_from

router = APIRouter(prefix="/api/v1", tags=["rollouts"])
_READ = [Depends(reader)]


class RolloutRequest(BaseModel):
    """A rollout to make."""

    model_config = ConfigDict(extra="forbid")

    release: str
    policy: dict[str, Any]
    start: bool = False
    seed: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Orders the devices: that of a dry run gives the same waves again. Drawn where none is given."""


class OrderRequest(BaseModel):
    """What goes with a command."""

    model_config = ConfigDict(extra="forbid")

    remark: str | None = Field(default=None, max_length=1000)
    revert: bool | None = None


@router.get("/rollouts", dependencies=_READ)
def rollouts(fleet: FleetDep) -> list[dict[str, Any]]:
    """All rollouts, newest first."""
    with fleet.store.read() as work:
        known = work.devices.views()
        return [rollout_json(rollout, known, now=fleet.clock()) for rollout in work.rollouts.all()]


@router.post("/rollouts", status_code=201)
def create_rollout(body: RolloutRequest, fleet: FleetDep, actor: OperatorDep) -> dict[str, Any]:
    """Make a rollout, and start it if asked to."""
    policy = settings_from(RolloutPolicy, body.policy, source="the policy")
    now = fleet.clock()
    with fleet.store.write() as work:
        rollout = create(work, body.release, policy, seed=body.seed or secrets.token_hex(8), now=now, actor=actor)
        if body.start:
            order = Order(name="start", actor=actor)
            rollout = command(work, rollout.view.id, order, now=now, rules=fleet.settings.people.two_person)
    return _changed(fleet, rollout, now)


@router.post("/rollouts/dry-run", dependencies=_READ)
def try_rollout(body: RolloutRequest, fleet: FleetDep) -> dict[str, Any]:
    """Which devices would fall into which wave, and how long it would take; nothing is changed."""
    policy = settings_from(RolloutPolicy, body.policy, source="the policy")
    seed = body.seed or secrets.token_hex(8)
    with fleet.store.read() as work:
        return asdict(dry_run(work, body.release, policy, seed=seed)) | {"seed": seed}


@router.get("/rollouts/{rollout_id}", dependencies=_READ)
def one_rollout(rollout_id: int, fleet: FleetDep) -> dict[str, Any]:
    """One rollout."""
    with fleet.store.read() as work:
        return rollout_json(get(work, rollout_id), work.devices.views(), now=fleet.clock())


@router.get("/rollouts/{rollout_id}/explain", dependencies=_READ)
def explain_rollout(rollout_id: int, fleet: FleetDep) -> dict[str, Any]:
    """Where a rollout stands and what it waits for, in sentences."""
    with fleet.store.read() as work:
        return {"id": rollout_id, "sentences": sentences(work, rollout_id, fleet.clock())}


@router.post("/rollouts/{rollout_id}/{name}")
def command_rollout(
    rollout_id: int, name: str, fleet: FleetDep, actor: OperatorDep, body: OrderRequest | None = None
) -> dict[str, Any]:
    """Start, approve, deny, pause, resume, force-next, abort; see :func:`fleet.rollouts.orders.command`."""
    now, said = fleet.clock(), body or OrderRequest()
    order = Order(name=name, actor=actor, remark=said.remark, revert=said.revert)
    with fleet.store.write() as work:
        rollout = command(work, rollout_id, order, now=now, rules=fleet.settings.people.two_person)
    return _changed(fleet, rollout, now)


def sentences(work: Work, rollout_id: int, now: float) -> list[str]:
    """Where a rollout stands, in sentences."""
    rollout = get(work, rollout_id)
    views = work.devices.views()
    verdict = verdict_on(work, rollout.view, views, now)
    because = rollout.halted_because or rollout.paused_because
    return explain(rollout.view, views, verdict, because=because, verdicts=rollout.verdicts, now=now)


def _changed(fleet: Fleet, rollout: Rollout, now: float) -> dict[str, Any]:
    """A rollout that was changed; what it looks like is put together while others may write again."""
    fleet.changes.note()
    fleet.nudge()
    with fleet.store.read() as work:
        return rollout_json(rollout, work.devices.views(), now=now)
