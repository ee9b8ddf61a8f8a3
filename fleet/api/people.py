"""Routes about people: logging in for the command line, users, API tokens, the record of who did what."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from fleet.api.deps import AdminDep, CallerDep, Fleet, FleetDep, door, operator
from fleet.people import members, passwords
from fleet.people.door import new_token
from fleet.people.roles import LOCAL, Role
from fleet.store.people import ApiToken, User
from mien.errors import ConfigError

router = APIRouter(prefix="/api/v1", tags=["people"])
_DAY_S = 86_400.0
_LINK_S = 600.0
_Limit = Annotated[int, Query(ge=1, le=1000)]
_Name = Annotated[str, Field(max_length=64)]
_Password = Annotated[str, Field(max_length=passwords.LONGEST)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class LoginRequest(_Body):
    """A person at a command line."""

    name: _Name
    password: _Password
    label: str = Field(default="command line", min_length=1, max_length=64)
    ttl_s: float = Field(default=_DAY_S / 2, ge=60, le=90 * _DAY_S)


class UserRequest(_Body):
    """A person to let in; without a password, by links alone until one is set."""

    name: _Name
    role: Role
    password: _Password | None = None


class RoleRequest(_Body):
    """Another role."""

    role: Role


class PasswordRequest(_Body):
    """Another password."""

    password: _Password


class ApiTokenRequest(_Body):
    """A token to make; for oneself if nobody is named."""

    label: str = Field(min_length=1, max_length=64)
    role: Role = Role.VIEWER
    user: _Name | None = None
    ttl_s: float = Field(default=90 * _DAY_S, ge=60, le=400 * _DAY_S)


@router.post("/login", status_code=201)
def login(body: LoginRequest, request: Request, fleet: FleetDep) -> dict[str, Any]:
    """Exchange name and password for an API token with the person's own role."""
    user = door(fleet).knock(body.name, body.password, address_of(request))
    text, kept = new_token(user.name, body.label, user.role, now=fleet.clock(), ttl_s=body.ttl_s)
    with fleet.store.write() as work:
        work.api_tokens.add(kept)
        work.audit.note("person.login", user.name, at=fleet.clock(), actor=user.name, token=kept.id)
    return token_json(kept) | {"token": text}


@router.get("/me")
def me(actor: CallerDep) -> dict[str, Any]:
    """Who asks."""
    return {"name": actor.name, "role": str(actor.role)}


@router.get("/users")
def users(_admin: AdminDep, fleet: FleetDep) -> list[dict[str, Any]]:
    """Everybody."""
    with fleet.store.read() as work:
        return [user_json(user) for user in work.people.all()]


@router.post("/users", status_code=201)
def add_user(body: UserRequest, actor: AdminDep, fleet: FleetDep) -> dict[str, Any]:
    """Let a person in."""
    members.check_name(body.name)
    if body.password is not None:
        passwords.check_new(body.password, body.name)
    kept = passwords.hashed(body.password or secrets.token_urlsafe(32))
    with fleet.store.write() as work:
        return user_json(members.add(work, body.name, body.role, kept, now=fleet.clock(), actor=actor))


@router.post("/users/{name}/role")
def change_role(name: str, body: RoleRequest, actor: AdminDep, fleet: FleetDep) -> dict[str, Any]:
    """Change what a person may do."""
    with fleet.store.write() as work:
        return user_json(members.set_role(work, name, body.role, now=fleet.clock(), actor=actor))


@router.post("/users/{name}/password")
def change_password(name: str, body: PasswordRequest, actor: AdminDep, fleet: FleetDep) -> dict[str, Any]:
    """Give a person another password."""
    passwords.check_new(body.password, name)
    kept = passwords.hashed(body.password)
    with fleet.store.write() as work:
        return user_json(members.set_password(work, name, kept, now=fleet.clock(), actor=actor))


@router.post("/users/{name}/remove")
def remove_user(name: str, actor: AdminDep, fleet: FleetDep) -> dict[str, Any]:
    """Let a person in no more."""
    with fleet.store.write() as work:
        return user_json(members.remove(work, name, now=fleet.clock(), actor=actor))


@router.post("/users/{name}/login-link", status_code=201)
def login_link(name: str, actor: AdminDep, fleet: FleetDep) -> dict[str, Any]:
    """A code that lets a person in once, within minutes: ``/login/once?code=…``."""
    now = fleet.clock()
    with fleet.store.write() as work:
        code = members.login_link(work, name, now=now, ttl_s=_LINK_S, actor=actor)
    return {"code": code, "path": f"/login/once?code={code}", "expires_at": now + _LINK_S}


@router.get("/api-tokens")
def api_tokens(actor: CallerDep, fleet: FleetDep) -> list[dict[str, Any]]:
    """One's own tokens; an admin's list holds everybody's."""
    owner = None if actor.role.covers(Role.ADMIN) else actor.name
    with fleet.store.read() as work:
        return [token_json(token) for token in work.api_tokens.all(owner)]


@router.post("/api-tokens", status_code=201)
def make_api_token(body: ApiTokenRequest, actor: CallerDep, fleet: FleetDep) -> dict[str, Any]:
    """Make a token; its text is shown once."""
    owner = body.user or actor.name
    if owner == LOCAL:
        raise ConfigError("a token acts for a person", wanted="a user's name", remedy="name one with --user")
    with fleet.store.write() as work:
        text, kept = members.make_token(work, actor, owner, body.label, body.role, now=fleet.clock(), ttl_s=body.ttl_s)
    return token_json(kept) | {"token": text}


@router.post("/api-tokens/{token_id}/revoke")
def revoke_api_token(token_id: str, actor: CallerDep, fleet: FleetDep) -> dict[str, Any]:
    """Let a token count no more."""
    with fleet.store.write() as work:
        return token_json(members.revoke_token(work, actor, token_id, now=fleet.clock()))


@router.get("/audit", dependencies=[Depends(operator)])
def audit(fleet: FleetDep, limit: _Limit = 100) -> list[dict[str, Any]]:
    """Who did what, newest first."""
    return audit_rows(fleet, limit)


def audit_rows(fleet: Fleet, limit: int) -> list[dict[str, Any]]:
    """The last entries of the record, newest first."""
    with fleet.store.read() as work:
        return [
            {
                "at": entry.at,
                "actor": entry.actor,
                "action": entry.action,
                "subject": entry.subject,
                "details": dict(entry.details),
            }
            for entry in work.audit.latest(limit)
        ]


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else "?"


def user_json(user: User) -> dict[str, Any]:
    """A person, without what their password is kept as."""
    return {
        "name": user.name,
        "role": str(user.role),
        "created_at": user.created_at,
        "changed_at": user.changed_at,
    }


def token_json(token: ApiToken) -> dict[str, Any]:
    """A token without its secret."""
    return {
        "id": token.id,
        "user": token.user,
        "label": token.label,
        "role": str(token.role),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "used_at": token.used_at,
        "revoked_at": token.revoked_at,
    }
