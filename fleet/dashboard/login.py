"""Logging in and out in a browser, and the page of the audit record.

A login changes something before there is a session, so no proof of a page can be asked for; instead the browser's own
word counts that the form was one of ours (``Sec-Fetch-Site``, ``Origin``).
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from fleet.api.deps import CallerDep, Fleet, FleetDep, ForgedError, cookie_name, door, operator
from fleet.api.people import address_of, audit_rows
from fleet.dashboard.render import page
from fleet.people.door import TooManyError, UnauthorizedError
from fleet.people.passwords import LONGEST
from fleet.store.people import User

router = APIRouter(include_in_schema=False)
_SHOWN = 200
_SEE_OTHER = 303


def from_our_page(request: Request) -> None:
    """Let through what a page of this service sent.

    Raises:
        ForgedError: a page of somebody else did.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours or site not in {"same-origin", "none"}:
        raise ForgedError("this login did not come from a page of this service", remedy="open /login and log in there")


_OURS = [Depends(from_our_page)]
_Text = Annotated[str, Form(max_length=LONGEST)]


@router.get("/login", response_class=HTMLResponse)
def login_page(request: Request, fleet: FleetDep, next: str = "/") -> HTMLResponse:  # noqa: A002 - the query's name
    """Where a person logs in."""
    return page(request, fleet, "login.html", "Log in", {"next": _inside(next), "name": "", "fault": ""})


@router.post("/login", dependencies=_OURS)
def log_in(
    request: Request,
    fleet: FleetDep,
    name: _Text,
    password: _Text,
    next: _Text = "/",  # noqa: A002
) -> Response:
    """Take name and password."""
    try:
        user = door(fleet).knock(name, password, address_of(request))
    except (UnauthorizedError, TooManyError) as error:
        context = {"next": _inside(next), "name": name[:32], "fault": f"{error.what}. {error.remedy}".strip()}
        answer = page(request, fleet, "login.html", "Log in", context)
        answer.status_code = 429 if isinstance(error, TooManyError) else 401
        return answer
    return _enter(request, fleet, user, _inside(next))


@router.get("/login/once", response_class=HTMLResponse)
def link_page(request: Request, fleet: FleetDep, code: str = "") -> HTMLResponse:
    """What a link shows: a button, so that a program that looks at links ahead uses none up."""
    return page(request, fleet, "login_once.html", "Log in", {"code": code[:100]})


@router.post("/login/once", dependencies=_OURS)
def log_in_by_link(request: Request, fleet: FleetDep, code: _Text) -> RedirectResponse:
    """Take a link's code."""
    return _enter(request, fleet, door(fleet).take_link(code), "/")


@router.post("/logout")
def log_out(fleet: FleetDep, actor: CallerDep) -> RedirectResponse:
    """End the session."""
    if actor.session is not None:
        with fleet.store.write() as work:
            work.sessions.end(actor.session)
            work.audit.note("person.logout", actor.name, at=fleet.clock(), actor=actor.name)
    answer = RedirectResponse("/login", status_code=_SEE_OTHER)
    answer.delete_cookie(cookie_name(fleet), secure=_secure(fleet), httponly=True, samesite="lax")
    return answer


@router.get("/audit", response_class=HTMLResponse, dependencies=[Depends(operator)])
def audit_page(request: Request, fleet: FleetDep) -> HTMLResponse:
    """Who did what."""
    return page(request, fleet, "audit.html", "Audit", {"entries": audit_rows(fleet, _SHOWN)})


def _enter(request: Request, fleet: Fleet, user: User, address: str) -> RedirectResponse:
    secret = door(fleet).open_session(user, address_of(request))
    answer = RedirectResponse(address, status_code=_SEE_OTHER)
    answer.set_cookie(
        cookie_name(fleet),
        secret,
        max_age=int(fleet.settings.people.session_s),
        secure=_secure(fleet),
        httponly=True,
        samesite="lax",
    )
    return answer


def _secure(fleet: Fleet) -> bool:
    return fleet.settings.http.scheme == "https"


def _inside(address: str) -> str:
    """An address of this service; anything else is the overview."""
    parts = urlsplit(address)
    odd = parts.scheme or parts.netloc or "\\" in address or not address.startswith("/") or address.startswith("//")
    return "/" if odd else address
