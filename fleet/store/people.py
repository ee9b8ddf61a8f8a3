"""People and what lets them in: sessions, API tokens, login links, and the attempts that count against a login."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session as Database

from fleet.errors import NotFoundError
from fleet.people.roles import Role
from fleet.store.models import ApiTokenRow, LoginAttemptRow, LoginLinkRow, SessionRow, UserRow


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person."""

    name: str
    role: Role
    password_hash: str
    created_at: float
    changed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser that is logged in."""

    id: str
    user: str
    created_at: float
    seen_at: float
    expires_at: float
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token for programs, without its secret."""

    id: str
    user: str
    label: str
    role: Role
    secret_sha256: str
    created_at: float
    expires_at: float
    used_at: float | None = None
    revoked_at: float | None = None


class People:
    """Keeps people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> User | None:
        """A person, if there is one of this name."""
        row = self._database.get(UserRow, name)
        return None if row is None else _user(row)

    def get(self, name: str) -> User:
        """A person.

        Raises:
            NotFoundError: there is none of this name.
        """
        found = self.find(name)
        if found is None:
            raise NotFoundError(f"there is no user '{name[:40]}'", remedy="see 'mien fleet user list'")
        return found

    def all(self) -> list[User]:
        """Everybody, by name."""
        return [_user(row) for row in self._database.scalars(select(UserRow).order_by(UserRow.name))]

    def put(self, user: User) -> None:
        """Keep a person as given."""
        self._database.merge(
            UserRow(
                name=user.name,
                role=str(user.role),
                password_hash=user.password_hash,
                created_at=user.created_at,
                changed_at=user.changed_at,
            )
        )
        self._database.flush()

    def remove(self, name: str) -> None:
        """Delete a person and all that lets them in."""
        self.log_out(name)
        self._database.execute(delete(ApiTokenRow).where(ApiTokenRow.user_name == name))
        self._database.execute(delete(UserRow).where(UserRow.name == name))

    def log_out(self, name: str) -> int:
        """End all sessions and unused links of a person; how many sessions."""
        self._database.execute(delete(LoginLinkRow).where(LoginLinkRow.user_name == name))
        mine = list(self._database.scalars(select(SessionRow.id).where(SessionRow.user_name == name)))
        self._database.execute(delete(SessionRow).where(SessionRow.user_name == name))
        return len(mine)


class Sessions:
    """Keeps sessions and login links, each by the digest of its secret."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, session: Session) -> None:
        """Begin a session."""
        self._database.add(
            SessionRow(
                id=session.id,
                user_name=session.user,
                created_at=session.created_at,
                seen_at=session.seen_at,
                expires_at=session.expires_at,
                address=session.address[:64],
            )
        )

    def find(self, session_id: str) -> Session | None:
        """A session, if it is there."""
        row = self._database.get(SessionRow, session_id)
        if row is None:
            return None
        return Session(
            id=row.id,
            user=row.user_name,
            created_at=row.created_at,
            seen_at=row.seen_at,
            expires_at=row.expires_at,
            address=row.address,
        )

    def seen(self, session_id: str, at: float) -> None:
        """Note that it was used."""
        self._database.execute(update(SessionRow).where(SessionRow.id == session_id).values(seen_at=at))

    def end(self, session_id: str) -> None:
        """End it."""
        self._database.execute(delete(SessionRow).where(SessionRow.id == session_id))

    def forget(self, *, now: float, idle_s: float) -> None:
        """Delete sessions and links whose time is over."""
        over = or_(SessionRow.expires_at <= now, SessionRow.seen_at <= now - idle_s)
        self._database.execute(delete(SessionRow).where(over))
        self._database.execute(delete(LoginLinkRow).where(LoginLinkRow.expires_at <= now))

    def add_link(self, link_id: str, user: str, *, expires_at: float) -> None:
        """Keep a link."""
        self._database.add(LoginLinkRow(id=link_id, user_name=user, expires_at=expires_at))

    def take_link(self, link_id: str, *, now: float) -> str | None:
        """Use a link up; whose it was, unless it is unknown or its time is over."""
        row = self._database.get(LoginLinkRow, link_id)
        if row is None:
            return None
        self._database.delete(row)
        return row.user_name if row.expires_at > now else None


class ApiTokens:
    """Keeps tokens for programs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: ApiToken) -> None:
        """Keep a token."""
        self._database.add(
            ApiTokenRow(
                id=token.id,
                user_name=token.user,
                label=token.label,
                role=str(token.role),
                secret_sha256=token.secret_sha256,
                created_at=token.created_at,
                expires_at=token.expires_at,
                used_at=token.used_at,
                revoked_at=token.revoked_at,
            )
        )

    def find(self, token_id: str) -> ApiToken | None:
        """A token, if there is one with this id."""
        row = self._database.get(ApiTokenRow, token_id)
        return None if row is None else _token(row)

    def all(self, user: str | None = None) -> list[ApiToken]:
        """All tokens, newest first; of one person if one is named."""
        chosen = select(ApiTokenRow).order_by(ApiTokenRow.created_at.desc(), ApiTokenRow.id)
        if user is not None:
            chosen = chosen.where(ApiTokenRow.user_name == user)
        return [_token(row) for row in self._database.scalars(chosen)]

    def used(self, token_id: str, at: float) -> None:
        """Note that it was used."""
        self._database.execute(update(ApiTokenRow).where(ApiTokenRow.id == token_id).values(used_at=at))

    def revoke(self, token: ApiToken, at: float) -> ApiToken:
        """Let it count no more."""
        self._database.execute(update(ApiTokenRow).where(ApiTokenRow.id == token.id).values(revoked_at=at))
        return replace(token, revoked_at=at)


class LoginAttempts:
    """Counts attempts to log in that did not succeed, across restarts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, account: str, address: str, at: float) -> None:
        """Count one."""
        self._database.add(LoginAttemptRow(account=account[:64], address=address[:64], at=at))

    def count(self, *, account: str, address: str) -> tuple[int, int]:
        """How many there are for an account, and from an address."""
        of_account = LoginAttemptRow.account == account[:64]
        from_address = LoginAttemptRow.address == address[:64]
        counts = [
            self._database.scalar(select(func.count()).select_from(LoginAttemptRow).where(which)) or 0
            for which in (of_account, from_address)
        ]
        return counts[0], counts[1]

    def forgive(self, account: str, address: str) -> None:
        """Forget those for an account from an address which then succeeded."""
        mine = (LoginAttemptRow.account == account[:64], LoginAttemptRow.address == address[:64])
        self._database.execute(delete(LoginAttemptRow).where(*mine))

    def forget_before(self, at: float) -> None:
        """Delete what counts no more."""
        self._database.execute(delete(LoginAttemptRow).where(LoginAttemptRow.at < at))


def _user(row: UserRow) -> User:
    return User(
        name=row.name,
        role=Role(row.role),
        password_hash=row.password_hash,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def _token(row: ApiTokenRow) -> ApiToken:
    return ApiToken(
        id=row.id,
        user=row.user_name,
        label=row.label,
        role=Role(row.role),
        secret_sha256=row.secret_sha256,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
    )
