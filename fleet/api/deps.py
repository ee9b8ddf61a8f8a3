"""What the routes share: the fleet's parts, and who is asking."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from fleet.broker.interface import BrokerAccess
from fleet.changes import Changes
from fleet.config import FleetSettings
from fleet.engines.desk import EngineDesk
from fleet.identity.ca import Authority
from fleet.identity.members import Terms, expired
from fleet.identity.membership import MemberState
from fleet.identity.signatures import check_signature, read_signature
from fleet.ingest.pipeline import Ingest
from fleet.people.roles import LOCAL
from fleet.registry.repository import Repository
from fleet.store.database import Store
from fleet.store.devices import Device
from mien.errors import TrustError
from mien.hosts import is_loopback

_DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The parts that routes use."""

    settings: FleetSettings
    store: Store
    authority: Authority
    repository: Repository
    ingest: Ingest
    engines: EngineDesk
    """Takes engines that devices built."""
    broker: BrokerAccess
    """How devices reach the broker."""
    changes: Changes
    nudge: Callable[[], None]
    """Asks the rollout loop to look at once."""
    shut_out: Callable[[], str]
    """Has the broker refuse revoked devices; says how that went."""
    is_connected: Callable[[], bool]
    clock: Callable[[], float]
    operator_token: str


class UnauthorizedError(TrustError):
    """The operator token is missing or wrong."""


def fleet_of(request: Request) -> Fleet:
    """The parts, from the application."""
    fleet: Fleet = request.app.state.fleet
    return fleet


FleetDep = Annotated[Fleet, Depends(fleet_of)]


def operator(fleet: FleetDep, authorization: Annotated[str | None, Header()] = None) -> str:
    """Let operators pass; their name.

    Raises:
        UnauthorizedError: no token, or a wrong one.
    """
    given = (authorization or "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), fleet.operator_token.encode()):
        raise UnauthorizedError(
            "this needs the operator token",
            found="another token" if given else "none",
            remedy="name the service's data folder with --data, or set MIEN_FLEET_TOKEN",
        )
    return LOCAL


def reader(request: Request, fleet: FleetDep, authorization: Annotated[str | None, Header()] = None) -> str:
    """Let operators pass, and callers on this machine unless the settings say otherwise; their name.

    Raises:
        UnauthorizedError: somebody else without the token.
    """
    local = request.client is not None and is_loopback(request.client.host)
    if not (fleet.settings.http.open_reads and local and is_loopback(fleet.settings.http.host)):
        return operator(fleet, authorization)
    return LOCAL


ViewerDep = Annotated[str, Depends(reader)]
"""The name of somebody who may look."""
OperatorDep = Annotated[str, Depends(operator)]
"""The name of somebody who may change devices and rollouts."""
AdminDep = Annotated[str, Depends(operator)]
"""The name of somebody who may decide about people."""


def signer(
    request: Request,
    fleet: FleetDep,
    signature_input: Annotated[str | None, Header()] = None,
    signature: Annotated[str | None, Header()] = None,
) -> Device:
    """The accepted device that signed the request, even with a certificate that has expired.

    Raises:
        TrustError: not signed, unknown, or not accepted.
    """
    signed = read_signature(request.method, request.url.path, signature_input=signature_input, signature=signature)
    with fleet.store.read() as work:
        known = work.devices.find(signed.device_id)
    if known is None:
        raise TrustError(
            f"device '{signed.device_id}' is not known here", remedy="enrol it: mien edge enroll TOKEN@URL"
        )
    if known.certificate_pem is None:
        raise TrustError(
            f"device '{known.id}' has no certificate",
            found=f"state {known.state}",
            wanted=f"state {MemberState.ACCEPTED}",
            remedy="ask the fleet's operator to let it in: mien fleet device accept",
        )
    check_signature(signed, known.certificate_pem, now=fleet.clock())
    if known.state is not MemberState.ACCEPTED:
        raise TrustError(
            f"the identity of {known.id} was {known.state}",
            found=f"state {known.state}",
            wanted=f"state {MemberState.ACCEPTED}",
            remedy="ask the fleet's operator; a new token enrols the device anew under another name",
        )
    return known


SignerDep = Annotated[Device, Depends(signer)]


def device(known: SignerDep, fleet: FleetDep) -> Device:
    """The accepted device that signed the request.

    Raises:
        TrustError: as :func:`signer`, or its certificate has expired.
    """
    now = fleet.clock()
    if known.certificate_expires_at is None or known.certificate_expires_at < now:
        raise expired(known, now, grace_s=terms(fleet).grace_s)
    return known


def terms(fleet: Fleet) -> Terms:
    """How long certificates are good and may be renewed here."""
    given = fleet.settings.devices
    return Terms(days=given.certificate_days, grace_s=given.grace_days * _DAY_S)


DeviceDep = Annotated[Device, Depends(device)]
