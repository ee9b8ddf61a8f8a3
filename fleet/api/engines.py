"""Routes for engines that devices built: what a device offers, and what a person decides about it.

A device signs the path of a request (ADR 3), so paths carry what must not be exchanged: the SHA-256 of the record, and
the place of a piece. Pieces are held against the record's hashes once all are here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from fleet.api.deps import DeviceDep, Fleet, FleetDep, OperatorDep, reader
from fleet.store.engines import OfferedEngine

device_router = APIRouter(prefix="/api/device/v1/engines", tags=["device"])
router = APIRouter(prefix="/api/v1/engines", tags=["engines"], dependencies=[Depends(reader)])
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


async def body_of(request: Request) -> bytes:
    """The body; its length is limited by the guards."""
    return await request.body()


Body = Annotated[bytes, Depends(body_of)]


class Why(BaseModel):
    """Why a person decided so."""

    reason: str = Field(default="", max_length=500)


@device_router.post("/{engine_id}")
def offer(engine_id: Digest, device: DeviceDep, fleet: FleetDep, body: Body) -> dict[str, Any]:
    """Offer an engine by its record; says whether it is wanted, and what of it is here."""
    return asdict(fleet.engines.offer(device, engine_id, body))


@device_router.get("/{engine_id}")
def standing(engine_id: Digest, device: DeviceDep, fleet: FleetDep) -> dict[str, Any]:
    """How an offer stands."""
    return asdict(fleet.engines.standing(device, engine_id))


@device_router.put("/{engine_id}/{part}/{offset}")
def piece(
    engine_id: Digest, part: str, offset: Annotated[int, Path(ge=0)], device: DeviceDep, fleet: FleetDep, body: Body
) -> dict[str, Any]:
    """Send a piece; the answer says where to go on."""
    return asdict(fleet.engines.piece(device, engine_id, part, offset, body))


@router.get("")
def engines(fleet: FleetDep) -> list[dict[str, Any]]:
    """All engines that were offered, newest first."""
    with fleet.store.read() as work:
        return [engine_json(offered) for offered in work.engines.all()]


@router.get("/{beginning}")
def engine(beginning: str, fleet: FleetDep) -> dict[str, Any]:
    """One engine, by the beginning of its id."""
    with fleet.store.read() as work:
        return engine_json(work.engines.named(beginning))


@router.post("/{beginning}/approve")
def approve(beginning: str, actor: OperatorDep, fleet: FleetDep) -> dict[str, Any]:
    """Sign an engine that waits for a person."""
    return _changed(fleet, fleet.engines.approve(beginning, actor))


@router.post("/{beginning}/reject")
def reject(beginning: str, why: Why, actor: OperatorDep, fleet: FleetDep) -> dict[str, Any]:
    """Refuse an engine that is not decided about."""
    return _changed(fleet, fleet.engines.reject(beginning, actor, why.reason or "a person refused it"))


@router.post("/{beginning}/withdraw")
def withdraw(beginning: str, why: Why, actor: OperatorDep, fleet: FleetDep) -> dict[str, Any]:
    """Sign an engine no longer."""
    return _changed(fleet, fleet.engines.withdraw(beginning, actor, why.reason or "a person withdrew it"))


def engine_json(offered: OfferedEngine) -> dict[str, Any]:
    """An engine with its record."""
    return {
        "id": offered.id,
        "state": str(offered.state),
        "reason": offered.reason,
        "path": offered.record.path,
        "offered_at": offered.offered_at,
        "whole_at": offered.whole_at,
        "decided_at": offered.decided_at,
        "decided_by": offered.decided_by,
        "record": offered.record.model_dump(mode="json", exclude_none=True),
    }


def _changed(fleet: Fleet, offered: OfferedEngine) -> dict[str, Any]:
    fleet.changes.note()
    return engine_json(offered)
