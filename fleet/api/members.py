"""Routes for operators about who belongs to the fleet: the list, accepting, rejecting, revoking, a broker's lists."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from fleet.api.deps import Fleet, FleetDep, OperatorDep, operator, terms
from fleet.api.ops import device_shape, find_device
from fleet.broker.mosquitto import access_rules
from fleet.identity.members import MOST_LABELS, Listed, accept, label, preauthorise, reject, revoke
from fleet.store.devices import Device
from mien.errors import UnavailableError

router = APIRouter(prefix="/api/v1", tags=["operators"], dependencies=[Depends(operator)])
_MOST_LISTED = 5000


class ListedDevice(BaseModel):
    """A board to list."""

    model_config = ConfigDict(extra="forbid")
    serial_number: str = Field(max_length=100)
    device_id: str | None = Field(default=None, max_length=100)


class ListRequest(BaseModel):
    """Boards to list."""

    model_config = ConfigDict(extra="forbid")
    group: str = "default"
    devices: list[ListedDevice] = Field(max_length=_MOST_LISTED)


@router.post("/devices/preauthorise", status_code=201)
def list_devices(body: ListRequest, actor: OperatorDep, fleet: FleetDep) -> list[dict[str, Any]]:
    """List boards by serial number."""
    wanted = [Listed(serial_number=item.serial_number, device_id=item.device_id) for item in body.devices]
    with fleet.store.write() as work:
        listed = preauthorise(work, body.group, wanted, now=fleet.clock(), actor=actor)
    fleet.changes.note()
    return [device_shape(fleet, device) for device in listed]


class LabelRequest(BaseModel):
    """Labels to set and to take away."""

    model_config = ConfigDict(extra="forbid")
    devices: list[Annotated[str, Field(max_length=100)]] = Field(min_length=1, max_length=_MOST_LISTED)
    set: dict[str, str] = Field(default_factory=dict, max_length=MOST_LABELS)
    remove: list[str] = Field(default_factory=list, max_length=MOST_LABELS)


@router.post("/devices/labels")
def label_devices(body: LabelRequest, actor: OperatorDep, fleet: FleetDep) -> list[dict[str, Any]]:
    """Set labels of devices, and take others away; all of it or nothing."""
    with fleet.store.write() as work:
        known = [find_device(work, device_id) for device_id in dict.fromkeys(body.devices)]
        labelled = label(work, known, body.set, body.remove, now=fleet.clock(), actor=actor)
    fleet.changes.note()
    return [device_shape(fleet, device) for device in labelled]


@router.post("/devices/{device_id}/accept")
def accept_device(device_id: str, actor: OperatorDep, fleet: FleetDep) -> dict[str, Any]:
    """Let a device in."""
    with fleet.store.write() as work:
        known = find_device(work, device_id)
        device = accept(work, fleet.authority, known, now=fleet.clock(), days=terms(fleet).days, actor=actor)
    return _changed(fleet, device)


@router.post("/devices/{device_id}/reject")
def reject_device(device_id: str, actor: OperatorDep, fleet: FleetDep) -> dict[str, Any]:
    """Refuse a device."""
    with fleet.store.write() as work:
        device = reject(work, find_device(work, device_id), now=fleet.clock(), actor=actor)
    return _changed(fleet, device)


@router.post("/devices/{device_id}/revoke")
def revoke_device(device_id: str, actor: OperatorDep, fleet: FleetDep) -> dict[str, Any]:
    """Refuse a device for good. It is refused here even where the broker cannot be told; ``broker`` says."""
    with fleet.store.write() as work:
        device = revoke(work, find_device(work, device_id), now=fleet.clock(), actor=actor)
    fleet.nudge()
    try:
        told = fleet.shut_out()
    except UnavailableError as error:
        told = f"the broker's lists were not written: {error}"
    return _changed(fleet, device) | {"broker": told}


@router.get("/broker/lists")
def broker_lists(fleet: FleetDep) -> dict[str, Any]:
    """Who is shut out, as files for a broker on another machine."""
    now = fleet.clock()
    with fleet.store.read() as work:
        shut_out = work.devices.shut_out(now=now)
    at = dt.datetime.fromtimestamp(now, dt.timezone.utc)
    names = sorted({item.device_id for item in shut_out})
    return {
        "shut_out": names,
        "crl_pem": fleet.authority.revocation_list((item.serial for item in shut_out), at=at),
        "acl": access_rules(names),
    }


def _changed(fleet: Fleet, device: Device) -> dict[str, Any]:
    fleet.changes.note()
    return device_shape(fleet, device)
