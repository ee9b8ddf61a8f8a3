"""Routes for devices: enrolment, and the signed question whether they are still accepted."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fleet.api.deps import DeviceDep, Fleet, FleetDep
from fleet.identity.enrol import enrol

router = APIRouter(prefix="/api/device/v1", tags=["device"])


class EnrolRequest(BaseModel):
    """What a device sends to enrol."""

    token: str = Field(max_length=1000)
    csr_pem: str = Field(max_length=20_000)
    device_id: str | None = Field(default=None, max_length=100)


@router.get("/ca")
def authority(fleet: FleetDep) -> dict[str, str]:
    """The fleet's authority, which a device holds against its token's fingerprint before it shows the token."""
    return {"ca_pem": fleet.authority.pem}


@router.post("/enroll", status_code=201)
def enroll(body: EnrolRequest, fleet: FleetDep) -> dict[str, Any]:
    """Exchange a token and a certificate request for an identity."""
    with fleet.store.write() as work:
        enrolled = enrol(work, fleet.authority, body.token, body.csr_pem, wanted_id=body.device_id, now=fleet.clock())
    fleet.changes.note()
    return {
        "device_id": enrolled.device_id,
        "group": enrolled.group,
        "certificate_pem": enrolled.certificate_pem,
        "ca_pem": fleet.authority.pem,
        "mqtt": _mqtt(fleet),
        "tuf": {
            "root": base64.b64encode(fleet.repository.first_root()).decode(),
            "metadata_url": "/tuf/metadata/",
            "targets_url": "/tuf/targets/",
        },
    }


@router.get("/session")
def session(device: DeviceDep, fleet: FleetDep) -> dict[str, Any]:
    """Whether the device is accepted, and how it reaches the broker now."""
    return {
        "device_id": device.id,
        "state": device.state,
        "group": device.group,
        "now": fleet.clock(),
        "mqtt": _mqtt(fleet),
    }


def _mqtt(fleet: Fleet) -> dict[str, Any]:
    access = fleet.broker
    return {
        "host": access.host,
        "port": access.port,
        "tls": access.tls,
        "username": access.username,
        "password": access.password,
    }
