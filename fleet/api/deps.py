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
from fleet.people.door import TOKEN_PREFIX, Door, UnauthorizedError
from fleet.people.roles import LOCAL, Actor, Role
from fleet.registry.repository import Repository
from fleet.store.database import Store
from fleet.store.devices import Device
from mien.errors import TrustError

_DAY_S = 86400
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf"


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


def fleet_of(request: Request) -> Fleet:
    """The parts, from the application."""
    fleet: Fleet = request.app.state.fleet
    return fleet


FleetDep = Annotated[Fleet, Depends(fleet_of)]


class ForgedError(TrustError):
    """A browser sent a request that none of our pages made."""


def door(fleet: Fleet) -> Door:
    """Where people come in."""
    return Door(store=fleet.store, terms=fleet.settings.people, clock=fleet.clock)


def cookie_name(fleet: Fleet) -> str:
    """Of a session. Browsers keep ``__Host-`` to https and to this host; a port of its own keeps services apart."""
    http = fleet.settings.http
    return f"__Host-mien-{http.port}" if http.scheme == "https" else f"mien-{http.port}"


async def sent_proof(request: Request) -> str:
    """What a page of ours sends along when it changes something: a header, or a field of its form."""
    told = request.headers.get(CSRF_HEADER, "")
    if not told and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        told = str((await request.form()).get(CSRF_FIELD, ""))
    return told


def caller(
    request: Request,
    fleet: FleetDep,
    proof: Annotated[str, Depends(sent_proof)],
    authorization: Annotated[str | None, Header()] = None,
) -> Actor:
    """Who asks: by the data folder's token, an API token, or a browser's session.

    Raises:
        UnauthorizedError: nobody that is known.
        ForgedError: a browser's request to change something that did not come from a page of ours.
    """
    if authorization is not None:
        request.state.actor = _bearer(fleet, authorization.removeprefix("Bearer "))
    else:
        request.state.actor = _browser(request, fleet, proof)
    actor: Actor = request.state.actor
    return actor


def _browser(request: Request, fleet: Fleet, proof: str) -> Actor:
    secret = request.cookies.get(cookie_name(fleet))
    by_itself = request.method in _READS and (request.url.path == "/live" or "hx-request" in request.headers)
    actor = door(fleet).by_session(secret, used=not by_itself) if secret else None
    if actor is None:
        raise UnauthorizedError(
            "this needs a login",
            found="a session that has ended" if secret else "none",
            remedy="log in: mien fleet login; on the service's machine name its data folder with --data",
        )
    if request.method not in _READS and not hmac.compare_digest(proof.encode(), (actor.csrf or "").encode()):
        raise ForgedError("this request did not come from a page of this service", remedy="load the page again")
    return actor


def _bearer(fleet: Fleet, given: str) -> Actor:
    if hmac.compare_digest(given.encode(), fleet.operator_token.encode()):
        return Actor(name=LOCAL, role=Role.ADMIN)
    actor = door(fleet).by_token(given)
    if actor is None:
        raise UnauthorizedError(
            "this token lets nobody in",
            found="an API token that is revoked, too old or not known here"
            if given.startswith(TOKEN_PREFIX)
            else "another token",
            remedy="log in again: mien fleet login; or name the service's data folder with --data",
        )
    return actor


CallerDep = Annotated[Actor, Depends(caller)]


def _at_least(actor: Actor, wanted: Role) -> str:
    if not actor.role.covers(wanted):
        raise TrustError(
            f"this is not for a {actor.role}",
            found=f"{actor.name}, {actor.role}",
            wanted=" or ".join(str(role) for role in Role if role.covers(wanted)),
            remedy="ask an admin: mien fleet user role",
        )
    return actor.name


def reader(actor: CallerDep) -> str:
    """Let viewers and those above pass; their name."""
    return _at_least(actor, Role.VIEWER)


def operator(actor: CallerDep) -> str:
    """Let operators and admins pass; their name.

    Raises:
        TrustError: a viewer.
    """
    return _at_least(actor, Role.OPERATOR)


def admin(actor: CallerDep) -> str:
    """Let admins pass; their name.

    Raises:
        TrustError: somebody else.
    """
    return _at_least(actor, Role.ADMIN)


ViewerDep = Annotated[str, Depends(reader)]
"""The name of somebody who may look."""
OperatorDep = Annotated[str, Depends(operator)]
"""The name of somebody who may change devices and rollouts."""
AdminDep = Annotated[str, Depends(admin)]
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
