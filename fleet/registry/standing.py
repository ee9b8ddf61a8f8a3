"""How the registry's keys and signatures stand: who may sign, where the keys are, and what runs out when.

Reads the repository; changes nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from fleet.registry.keys import ENGINES, OFFLINE, is_encrypted
from fleet.registry.repository import Repository
from fleet.registry.roles import LIFETIMES, engines_role

State = Literal["ok", "soon", "expired"]
_ONLINE_RESERVE = 4
"""An online role that has less than this part of its life left was not renewed when it should have been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStanding:
    """One key of one role."""

    role: str
    keyid: str
    threshold: int
    keys: int
    """How many the role has."""
    expires: dt.datetime
    """When the role's metadata runs out; a key itself does not."""
    place: Path | None
    """Its private half; ``None`` when it is not on this machine, as should be for offline keys."""
    encrypted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStanding:
    """The metadata of one role."""

    role: str
    version: int
    expires: dt.datetime
    state: State
    who: str
    """Who renews it, or the command that does."""


def keys_of_registry(repository: Repository) -> list[KeyStanding]:
    """Every key that may sign, by role."""
    shelf = repository.shelf
    root, targets = shelf.root(), shelf.targets()
    expires = {role: standing.expires for role, standing in _versions(repository).items()}
    roles = {name: (role.keyids, role.threshold) for name, role in root.roles.items()}
    engines = engines_role(targets)
    if engines is not None:
        roles[ENGINES] = (engines.keyids, engines.threshold)
    found = []
    for role, (keyids, threshold) in roles.items():
        folder = repository.offline if role in OFFLINE else repository.online
        for keyid in keyids:
            place = folder.find(role, keyid)
            found.append(
                KeyStanding(
                    role=role,
                    keyid=keyid,
                    threshold=threshold,
                    keys=len(keyids),
                    expires=expires[role],
                    place=place,
                    encrypted=place is not None and is_encrypted(place),
                )
            )
    return found


def roles_of_registry(repository: Repository, now: dt.datetime, within: dt.timedelta) -> list[RoleStanding]:
    """Every role's metadata.

    Args:
        repository: whose.
        now: the moment.
        within: how long before its end an offline role is called soon.
    """
    return [
        RoleStanding(
            role=role,
            version=signed.version,
            expires=signed.expires,
            state=state_of(role, signed.expires, now, within),
            who=f"mien fleet keys renew {role}" if role in OFFLINE else "the service, by itself",
        )
        for role, signed in _versions(repository).items()
    ]


def state_of(role: str, expires: dt.datetime, now: dt.datetime, within: dt.timedelta) -> State:
    """What to call the time that a role has left."""
    if expires <= now:
        return "expired"
    reserve = within if role in OFFLINE else LIFETIMES[role] / _ONLINE_RESERVE
    return "soon" if expires - now < reserve else "ok"


def _versions(repository: Repository) -> dict[str, Root | Targets | Snapshot | Timestamp]:
    shelf = repository.shelf
    engines = shelf.engines()
    found: dict[str, Root | Targets | Snapshot | Timestamp] = {
        Root.type: shelf.root(),
        Targets.type: shelf.targets(),
        Snapshot.type: shelf.snapshot(),
        Timestamp.type: shelf.timestamp(),
    }
    return found | ({ENGINES: engines.signed} if engines is not None else {})
