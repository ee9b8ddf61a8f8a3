"""Where a device stands with its fleet, as one table.

Rules of this file: every transition stands in ``TRANSITIONS`` and nowhere else; nothing here touches a store or a
clock; an event that a state does not know is refused with the events that it does.

    unknown → pending → accepted → revoked, the plain way of a device that a person looks at;
    a token that needs no review, or a serial number on the list, leaves out ``pending``;
    ``revoked`` is an end: such a device gets a new key, and with it a new name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from fleet.errors import ConflictError


class _Word(str, Enum):
    """A member is its own text, as ``enum.StrEnum`` is from Python 3.11 on."""

    __str__ = str.__str__


class MemberState(_Word):
    """Where a device stands."""

    UNKNOWN = "unknown"
    """Never kept: what a device is before the fleet hears of it."""
    PREAUTHORISED = "preauthorised"
    """Its serial number is on the list; the device has not asked yet."""
    PENDING = "pending"
    """It asked with a good token; a person decides."""
    ACCEPTED = "accepted"
    """It has a certificate, and its messages count."""
    REJECTED = "rejected"
    """A person said no; that can be changed."""
    REVOKED = "revoked"
    """It was accepted once and never will be again."""


class MemberEvent(_Word):
    """What happened."""

    LIST = "list"
    """An operator put its serial number on the list."""
    ASK = "ask"
    """It showed a token that needs review, and is on no list."""
    ADMIT = "admit"
    """It showed a token that needs no review, or is on the list."""
    ACCEPT = "accept"
    """An operator said yes."""
    REJECT = "reject"
    """An operator said no."""
    RENEW = "renew"
    """It asked for a new certificate with the key that it has."""
    REVOKE = "revoke"
    """An operator took its identity away."""


_S, _E = MemberState, MemberEvent

TRANSITIONS: Mapping[MemberState, Mapping[MemberEvent, MemberState]] = MappingProxyType(
    {
        _S.UNKNOWN: {_E.LIST: _S.PREAUTHORISED, _E.ASK: _S.PENDING, _E.ADMIT: _S.ACCEPTED},
        _S.PREAUTHORISED: {_E.LIST: _S.PREAUTHORISED, _E.ADMIT: _S.ACCEPTED, _E.REJECT: _S.REJECTED},
        _S.PENDING: {_E.ASK: _S.PENDING, _E.ACCEPT: _S.ACCEPTED, _E.REJECT: _S.REJECTED},
        _S.ACCEPTED: {_E.ADMIT: _S.ACCEPTED, _E.RENEW: _S.ACCEPTED, _E.REVOKE: _S.REVOKED},
        _S.REJECTED: {_E.LIST: _S.PREAUTHORISED, _E.ACCEPT: _S.ACCEPTED, _E.REJECT: _S.REJECTED},
        _S.REVOKED: {_E.REVOKE: _S.REVOKED},
    }
)


def advance(state: MemberState, event: MemberEvent) -> MemberState:
    """The state that follows.

    Raises:
        ConflictError: the state does not know this event.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError as error:
        raise ConflictError(
            f"a device that is {state} cannot take '{event}'",
            found=f"state {state}",
            wanted=f"{' or '.join(TRANSITIONS[state])} in this state",
            remedy="see 'mien fleet devices'",
        ) from error


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {_S.UNKNOWN}"]
    for state, events in TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {event}" for event, target in events.items()]
    return "\n".join(lines) + "\n"
