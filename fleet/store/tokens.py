"""Enrolment tokens in the store."""

from __future__ import annotations

from sqlalchemy.orm import Session

from fleet.identity.tokens import StoredToken
from fleet.store.models import TokenRow


class Tokens:
    """Keeps what tokens still allow."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, token: StoredToken, *, at: float) -> None:
        """Keep a new token."""
        self._session.add(
            TokenRow(
                id=token.id,
                secret_sha256=token.secret_sha256,
                group=token.group,
                uses_left=token.uses_left,
                expires_at=token.expires_at,
                created_at=at,
                review=token.review,
            )
        )

    def find(self, token_id: str) -> StoredToken | None:
        """A token by its id."""
        row = self._session.get(TokenRow, token_id)
        if row is None:
            return None
        return StoredToken(
            id=row.id,
            secret_sha256=row.secret_sha256,
            group=row.group,
            uses_left=row.uses_left,
            expires_at=row.expires_at,
            review=row.review,
        )

    def use(self, token_id: str) -> None:
        """Take one use off."""
        row = self._session.get(TokenRow, token_id, with_for_update=True)
        if row is not None:
            row.uses_left -= 1
