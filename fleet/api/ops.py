"""Routes for operators: reading is open to this machine (:func:`fleet.api.deps.reader`); changing needs the token."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from fleet.api.deps import Fleet, FleetDep, OperatorDep, reader
from fleet.api.shapes import device_json, release_json
from fleet.errors import NotFoundError
from fleet.identity.enrol import check_group
from fleet.identity.membership import MemberState
from fleet.identity.tokens import make_token
from fleet.registry.publish import read_release
from fleet.store.devices import Device
from fleet.store.work import Work
from mien.config import nearest
from mien.errors import BundleError
from mien.release import ReleaseRef

router = APIRouter(prefix="/api/v1", tags=["operators"])
_READ = [Depends(reader)]
_Limit = Annotated[int, Query(ge=1, le=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenRequest(_Body):
    """A token to make."""

    group: str = "default"
    uses: int = Field(default=1, ge=1, le=100_000)
    ttl_s: float = Field(default=3600.0, ge=60, le=365 * 86400)
    review: bool = False


class ReleaseRequest(_Body):
    """A release that the registry holds."""

    name: str
    version: str
    manifest_sha256: str


@router.post("/tokens", status_code=201)
def create_token(body: TokenRequest, actor: OperatorDep, fleet: FleetDep) -> dict[str, Any]:
    """Make an enrolment token; its text is shown once."""
    check_group(body.group)
    now = fleet.clock()
    text, stored = make_token(
        group=body.group,
        uses=body.uses,
        expires_at=now + body.ttl_s,
        ca_sha256=fleet.authority.fingerprint,
        review=body.review,
    )
    with fleet.store.write() as work:
        work.tokens.add(stored, at=now)
        work.audit.note(
            "token.create", stored.id, at=now, actor=actor, group=body.group, uses=body.uses, review=body.review
        )
    return {
        "token": text,
        "id": stored.id,
        "group": body.group,
        "uses": body.uses,
        "review": body.review,
        "expires_at": stored.expires_at,
    }


@router.get("/devices", dependencies=_READ)
def devices(fleet: FleetDep, state: MemberState | None = None) -> list[dict[str, Any]]:
    """All devices with their last figures, or those in one state."""
    with fleet.store.read() as work:
        return [device_shape(fleet, device) for device in work.devices.all() if state in {None, device.state}]


@router.get("/devices/{device_id}", dependencies=_READ)
def one_device(device_id: str, fleet: FleetDep) -> dict[str, Any]:
    """One device."""
    with fleet.store.read() as work:
        device = find_device(work, device_id)
    return device_shape(fleet, device) | {"twin": device.twin, "status": device.status}


@router.get("/devices/{device_id}/windows", dependencies=_READ)
def windows(device_id: str, fleet: FleetDep, limit: _Limit = 60) -> list[dict[str, Any]]:
    """A device's last telemetry windows, newest first."""
    with fleet.store.read() as work:
        find_device(work, device_id)
        return [window.model_dump(mode="json") for window in work.windows.latest(device_id, limit)]


@router.get("/releases", dependencies=_READ)
def releases(fleet: FleetDep) -> list[dict[str, Any]]:
    """All releases with what was measured of them."""
    with fleet.store.read() as work:
        return [release_json(release) for release in work.releases.all()]


@router.post("/releases", status_code=201)
def register_release(body: ReleaseRequest, actor: OperatorDep, fleet: FleetDep) -> dict[str, Any]:
    """Take note of a release that was published into the registry."""
    ref = ReleaseRef.parse(f"{body.name}@{body.version}")
    now = fleet.clock()
    release = read_release(fleet.repository, ref, at=now)
    if release.manifest_sha256 != body.manifest_sha256:
        raise BundleError(
            f"the registry holds another {ref}",
            found=f"manifest {release.manifest_sha256[:12]}…",
            wanted=f"manifest {body.manifest_sha256[:12]}…",
        )
    with fleet.store.write() as work:
        if work.releases.put(release):
            work.audit.note("release.publish", str(ref), at=now, actor=actor, manifest_sha256=release.manifest_sha256)
    fleet.changes.note()
    return release_json(release)


@router.get("/events", dependencies=_READ)
def events(fleet: FleetDep, limit: _Limit = 100) -> list[dict[str, Any]]:
    """What devices want people to know, newest first."""
    with fleet.store.read() as work:
        found = work.events.latest(limit)
    return [{"device": item.device_id, **item.event.model_dump(mode="json")} for item in found]


def find_device(work: Work, device_id: str) -> Device:
    """A device.

    Raises:
        NotFoundError: there is none with this id.
    """
    device = work.devices.find(device_id)
    if device is None:
        known = nearest(device_id, [known.id for known in work.devices.all()])
        raise NotFoundError(
            f"there is no device '{device_id[:80]}'",
            wanted=" or ".join(known),
            remedy="see 'mien fleet devices'",
        )
    return device


def device_shape(fleet: Fleet, device: Device) -> dict[str, Any]:
    """A device as this fleet shows it."""
    return device_json(device, now=fleet.clock(), silent_after_s=fleet.settings.devices.silent_after_s)
