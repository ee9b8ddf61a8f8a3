"""Logging in and being recognised: passwords, sessions of browsers, tokens of programs, links that count once.

Secrets are long and random, so their SHA-256 is enough to keep; passwords are not, see :mod:`fleet.people.passwords`.
An attempt is counted before the password is looked at, so that many at once cannot pass the limit together.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from fleet.config import PeopleSettings
from fleet.people import passwords
from fleet.people.roles import Actor, Role, lesser
from fleet.store.database import Store
from fleet.store.people import ApiToken, Session, User
from fleet.store.work import Work
from mien.errors import TrustError

TOKEN_PREFIX = "mien_"  # noqa: S105 - what tokens begin with
_TOKEN = re.compile(r"mien_(?P<id>[0-9a-f]{12})_(?P<secret>[\w-]{20,100})", re.ASCII)
_NOTE_USE_EVERY_S = 60.0
_MAY_BE_A_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class UnauthorizedError(TrustError):
    """Nobody that is known asks."""


class TooManyError(TrustError):
    """Too many attempts to log in."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            "too many attempts to log in",
            wanted=f"at most so many in {wait_s / 60:.0f} minutes",
            remedy="wait, then try again; an admin with the service's data folder is not held up",
        )
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where people come in."""

    store: Store
    terms: PeopleSettings
    clock: Callable[[], float]

    def knock(self, name: str, password: str, address: str) -> User:
        """The person of this name and password.

        Raises:
            UnauthorizedError: there is none; the same whether the name or the password is wrong.
            TooManyError: too many attempts for this account, or from this address.
        """
        now, account = self.clock(), name.strip().casefold()
        with self.store.write() as work:
            self._count(work, account, address, now)
            user = work.people.find(account)
        right = passwords.fits(password, user.password_hash if user else None)
        with self.store.write() as work:
            if user is None or not right or work.people.find(account) != user:
                shown = account if _MAY_BE_A_NAME.fullmatch(account) else "?"
                work.audit.note("person.login_failed", shown, at=now, actor="nobody", address=address)
            else:
                work.attempts.forgive(account, address)
                return user
        raise UnauthorizedError("name or password is wrong")

    def _count(self, work: Work, account: str, address: str, now: float) -> None:
        work.attempts.forget_before(now - self.terms.attempts_window_s)
        of_account, from_address = work.attempts.count(account=account, address=address)
        if of_account >= self.terms.attempts_per_account or from_address >= self.terms.attempts_per_address:
            raise TooManyError(self.terms.attempts_window_s)
        work.attempts.add(account, address, now)

    def open_session(self, user: User, address: str) -> str:
        """Begin a session; the secret for its cookie."""
        now, secret = self.clock(), secrets.token_urlsafe(32)
        with self.store.write() as work:
            work.sessions.forget(now=now, idle_s=self.terms.session_idle_s)
            begun = Session(
                id=digest(secret),
                user=user.name,
                created_at=now,
                seen_at=now,
                expires_at=now + self.terms.session_s,
                address=address,
            )
            work.sessions.add(begun)
            work.audit.note("person.login", user.name, at=now, actor=user.name, address=address)
        return secret

    def take_link(self, code: str) -> User:
        """The person whom a link lets in; it counts once.

        Raises:
            UnauthorizedError: it was used, its time is over, or there never was one.
        """
        with self.store.write() as work:
            name = work.sessions.take_link(digest(code), now=self.clock())
            user = work.people.find(name) if name else None
        if user is None:
            raise UnauthorizedError("this link lets nobody in", remedy="a link counts once; ask for another one")
        return user

    def by_session(self, secret: str, *, used: bool) -> Actor | None:
        """Whose session this is, unless it has ended.

        Args:
            secret: of the cookie.
            used: whether a person is at it, rather than a page that looks for news by itself.
        """
        now, session_id = self.clock(), digest(secret)
        with self.store.read() as work:
            session = work.sessions.find(session_id)
            user = work.people.find(session.user) if session else None
        if session is None or user is None:
            return None
        if now >= session.expires_at or now - session.seen_at >= self.terms.session_idle_s:
            return None
        if used and now - session.seen_at >= min(_NOTE_USE_EVERY_S, self.terms.session_idle_s / 10):
            with self.store.write() as work:
                work.sessions.seen(session_id, now)
        return Actor(name=user.name, role=user.role, session=session_id, csrf=csrf_of(secret))

    def by_token(self, text: str) -> Actor | None:
        """Whose API token this is, unless it counts no more."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        now = self.clock()
        with self.store.read() as work:
            token = work.api_tokens.find(match["id"])
            user = work.people.find(token.user) if token else None
        if token is None or user is None or not hmac.compare_digest(digest(match["secret"]), token.secret_sha256):
            return None
        if token.revoked_at is not None or now >= token.expires_at:
            return None
        if token.used_at is None or now - token.used_at >= _NOTE_USE_EVERY_S:
            with self.store.write() as work:
                work.api_tokens.used(token.id, now)
        return Actor(name=user.name, role=lesser(user.role, token.role))


def new_token(user: str, label: str, role: Role, *, now: float, ttl_s: float) -> tuple[str, ApiToken]:
    """A token's text, to be shown once, and what is kept of it."""
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    kept = ApiToken(
        id=token_id,
        user=user,
        label=label,
        role=role,
        secret_sha256=digest(secret),
        created_at=now,
        expires_at=now + ttl_s,
    )
    return f"{TOKEN_PREFIX}{token_id}_{secret}", kept


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_of(secret: str) -> str:
    """What a page of a session carries, so that its requests can be told from those of a strange page."""
    return hashlib.sha256(b"csrf " + secret.encode()).hexdigest()
