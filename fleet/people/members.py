"""What admins decide about people: adding, roles, passwords, tokens, removal; each with its entry in the record."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace

from fleet.errors import ConflictError, NotFoundError
from fleet.people.door import digest, new_token
from fleet.people.roles import LOCAL, Actor, Role
from fleet.store.people import ApiToken, User
from fleet.store.work import Work
from mien.errors import ConfigError, TrustError

_NAME = re.compile(r"[a-z][a-z0-9._-]{1,31}")
_RESERVED = frozenset({LOCAL, "planner", "fleet", "device", "nobody", "system"})


def check_name(name: str) -> None:
    """Refuse a name that cannot be a person's.

    Raises:
        ConfigError: it has other characters, or the record uses it for something else.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ConfigError(
            f"'{name[:40]}' cannot be a user's name",
            wanted="2 to 32 of a-z, 0-9, '.', '_' and '-', a letter first, and none of " + ", ".join(sorted(_RESERVED)),
        )


def add(work: Work, name: str, role: Role, password_hash: str, *, now: float, actor: str) -> User:
    """Let a person in.

    Raises:
        ConflictError: the name is taken.
    """
    check_name(name)
    if work.people.find(name) is not None:
        raise ConflictError(f"there is a user '{name}' already", remedy="mien fleet user role or password changes it")
    user = User(name=name, role=role, password_hash=password_hash, created_at=now, changed_at=now)
    work.people.put(user)
    work.audit.note("user.add", name, at=now, actor=actor, role=str(role))
    return user


def set_role(work: Work, name: str, role: Role, *, now: float, actor: str) -> User:
    """Change what a person may do; they log in again."""
    user = work.people.get(name)
    changed = replace(user, role=role, changed_at=now)
    work.people.put(changed)
    ended = work.people.log_out(name)
    work.audit.note("user.role", name, at=now, actor=actor, was=str(user.role), role=str(role), sessions_ended=ended)
    return changed


def set_password(work: Work, name: str, password_hash: str, *, now: float, actor: str) -> User:
    """Change a password; browsers logged in with the old one no longer are. API tokens stay, a command line's too."""
    changed = replace(work.people.get(name), password_hash=password_hash, changed_at=now)
    work.people.put(changed)
    ended = work.people.log_out(name)
    work.audit.note("user.password", name, at=now, actor=actor, sessions_ended=ended)
    return changed


def remove(work: Work, name: str, *, now: float, actor: str) -> User:
    """Let a person in no more, by no session, token or link."""
    user = work.people.get(name)
    work.people.remove(name)
    work.audit.note("user.remove", name, at=now, actor=actor, role=str(user.role))
    return user


def login_link(work: Work, name: str, *, now: float, ttl_s: float, actor: str) -> str:
    """A code that lets a person in once."""
    work.people.get(name)
    code = secrets.token_urlsafe(32)
    work.sessions.add_link(digest(code), name, expires_at=now + ttl_s)
    work.audit.note("user.login_link", name, at=now, actor=actor, ttl_s=ttl_s)
    return code


def make_token(
    work: Work, asker: Actor, owner: str, label: str, role: Role, *, now: float, ttl_s: float
) -> tuple[str, ApiToken]:
    """A token for programs that acts in its owner's name.

    Raises:
        TrustError: it would be somebody else's, or may do more than its owner.
        NotFoundError: there is no such person.
    """
    user = work.people.get(owner)
    _own_or_admin(asker, owner)
    if not user.role.covers(role) or not asker.role.covers(role):
        raise TrustError(
            "a token may not do more than whom it acts for", found=f"role {role}", wanted=f"{user.role} or less"
        )
    text, kept = new_token(owner, label, role, now=now, ttl_s=ttl_s)
    work.api_tokens.add(kept)
    work.audit.note("api_token.create", kept.id, at=now, actor=asker.name, owner=owner, role=str(role), label=label)
    return text, kept


def revoke_token(work: Work, asker: Actor, token_id: str, *, now: float) -> ApiToken:
    """Let a token count no more.

    Raises:
        NotFoundError: there is none with this id.
        TrustError: it is somebody else's.
    """
    token = work.api_tokens.find(token_id)
    if token is None:
        raise NotFoundError(f"there is no API token '{token_id[:40]}'", remedy="see 'mien fleet api-token list'")
    _own_or_admin(asker, token.user)
    if token.revoked_at is not None:
        return token
    work.audit.note("api_token.revoke", token.id, at=now, actor=asker.name, owner=token.user)
    return work.api_tokens.revoke(token, now)


def _own_or_admin(asker: Actor, owner: str) -> None:
    if asker.name != owner and not asker.role.covers(Role.ADMIN):
        raise TrustError(
            "tokens of other people are an admin's to decide about",
            found=f"{asker.name}, {asker.role}",
            wanted=f"{owner} or an {Role.ADMIN}",
        )
