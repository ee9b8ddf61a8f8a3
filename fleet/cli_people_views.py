"""How people and their tokens look in a terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from rich.markup import escape


def user_rows(users: Iterable[Mapping[str, Any]]) -> list[tuple[str | None, ...]]:
    """One row for each person."""
    return [(user["name"], user["role"], moment(user["created_at"]), moment(user["changed_at"])) for user in users]


def token_rows(tokens: Iterable[Mapping[str, Any]]) -> list[tuple[str | None, ...]]:
    """One row for each token."""
    return [
        (
            token["id"],
            token["user"],
            escape(token["label"]),
            token["role"],
            moment(token["expires_at"]),
            moment(token["used_at"]),
            moment(token["revoked_at"]),
        )
        for token in tokens
    ]


def moment(at: float | None) -> str | None:
    """A moment in UTC, to the minute."""
    return None if at is None else dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%d %H:%M")
