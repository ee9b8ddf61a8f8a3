"""Routes for devices: enrolment, renewal, and the signed question whether they are still accepted."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from fleet.api.deps import DeviceDep, Fleet, FleetDep, SignerDep, terms
from fleet.identity.enrol import Asked, enrol
from fleet.identity.members import renew

router = APIRouter(prefix="/api/device/v1", tags=["device"])
_WAITS = 202


class EnrolRequest(BaseModel):
    """What a device sends to enrol."""

    token: str = Field(max_length=1000)
    csr_pem: str = Field(max_length=20_000)
    device_id: str | None = Field(default=None, max_length=100)
    serial_number: str | None = Field(default=None, max_length=100)


@router.get("/ca")
def authority(fleet: FleetDep) -> dict[str, str]:
    """The fleet's authority, which a device holds against its token's fingerprint before it shows the token."""
    return {"ca_pem": fleet.authority.pem}


@router.post("/enroll", status_code=201)
def enroll(body: EnrolRequest, fleet: FleetDep, response: Response) -> dict[str, Any]:
    """Exchange a token and a certificate request for an identity; 202 while a person has not decided."""
    asked = Asked(token=body.token, csr_pem=body.csr_pem, wanted_id=body.device_id, serial_number=body.serial_number)
    with fleet.store.write() as work:
        enrolled = enrol(work, fleet.authority, asked, now=fleet.clock(), days=terms(fleet).days)
    fleet.changes.note()
    told = {"device_id": enrolled.device_id, "group": enrolled.group, "state": enrolled.state.value}
    if enrolled.certificate_pem is None:
        response.status_code = _WAITS
        return told
    return told | {
        "certificate_pem": enrolled.certificate_pem,
        "ca_pem": fleet.authority.pem,
        "mqtt": _mqtt(fleet),
        "tuf": {
            "root": base64.b64encode(fleet.repository.first_root()).decode(),
            **_registry(fleet),
        },
    }


@router.post("/renew")
def renew_certificate(signer: SignerDep, fleet: FleetDep) -> dict[str, Any]:
    """A new certificate for the same key when it is due, else the one that the device has; see ADR 3 on replays."""
    with fleet.store.write() as work:
        device = renew(work, fleet.authority, work.devices.get(signer.id), terms(fleet), now=fleet.clock())
    return {"device_id": device.id, "certificate_pem": device.certificate_pem}


@router.get("/session")
def session(device: DeviceDep, fleet: FleetDep) -> dict[str, Any]:
    """Whether the device is accepted, and how it reaches the broker now."""
    return {
        "device_id": device.id,
        "state": device.state.value,
        "group": device.group,
        "now": fleet.clock(),
        "mqtt": _mqtt(fleet),
        "registry": _registry(fleet),
    }


def _registry(fleet: Fleet) -> dict[str, str]:
    """Where signed releases are: with this service, or where the settings say."""
    base = (fleet.settings.registry.url or "/tuf").rstrip("/")
    return {"metadata_url": f"{base}/metadata/", "targets_url": f"{base}/targets/"}


def _mqtt(fleet: Fleet) -> dict[str, Any]:
    access = fleet.broker
    return {
        "host": access.host,
        "port": access.port,
        "tls": access.tls,
        "username": access.username,
        "password": access.password,
    }
