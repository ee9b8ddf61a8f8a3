"""Roles and who acts: a viewer looks, an operator changes devices and rollouts, an admin decides about people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LOCAL = "operator"
"""The name in the record of whoever holds the data folder's token; it names no person."""


class Role(str, Enum):
    """What somebody may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def __str__(self) -> str:
        return self.value

    def covers(self, wanted: Role) -> bool:
        """Whether this role may do what another one may."""
        order = tuple(Role)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks, and with which role."""

    name: str
    role: Role
    session: str | None = None
    """Of a browser: digest of its session."""
    csrf: str | None = None
    """Of a browser: what its requests that change something carry besides the cookie."""


def lesser(one: Role, other: Role) -> Role:
    """The role that may do less."""
    return other if one.covers(other) else one
