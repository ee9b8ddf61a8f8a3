"""Who may sign what, as signed statements: builds the next root and targets from the present ones. Touches no disk.

``engines`` is delegated by targets and trusted for paths below ``engines/`` alone, whatever its key signs.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Key, Role, Root, Snapshot, Targets, Timestamp

from fleet.registry.keys import ENGINES
from mien.errors import ConfigError

LIFETIMES = {
    Root.type: dt.timedelta(days=365),
    Targets.type: dt.timedelta(days=365),
    ENGINES: dt.timedelta(days=30),
    Snapshot.type: dt.timedelta(days=7),
    Timestamp.type: dt.timedelta(days=1),
}
"""How long signed metadata is valid. A device that sees nothing newer for so long knows that it is being held back."""

TOP = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
ENGINE_PATHS = ("engines/*/*/*/*",)
"""``engines/{name}/{version}/{hardware class}/{file}``: a star stands for one part of a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKeys:
    """The keys of a role, and how many of them must sign."""

    keys: tuple[SSlibKey, ...]
    threshold: int = 1


def check_threshold(role: str, threshold: int, count: int) -> None:
    """See that so many keys can meet a threshold.

    Raises:
        ConfigError: fewer keys than must sign, or nobody must.
    """
    if not 1 <= threshold <= count:
        raise ConfigError(
            f"a threshold of {threshold} does not fit {count} {role} key{'s' if count != 1 else ''}",
            wanted=f"a threshold from 1 to {count}" if count else "at least one key",
            remedy="choose another threshold, or name more keys",
        )


def role_keys(role: str, keys: Sequence[SSlibKey], threshold: int) -> RoleKeys:
    """Keys and threshold of a role, each key once.

    Raises:
        ConfigError: they make no sense together.
    """
    different = {key.keyid: key for key in keys}
    check_threshold(role, threshold, len(different))
    return RoleKeys(keys=tuple(different.values()), threshold=threshold)


def first_root(keys: Mapping[str, RoleKeys], now: dt.datetime) -> Root:
    """The root that devices get when they enrol."""
    root = Root(expires=now + LIFETIMES[Root.type], consistent_snapshot=True)
    for role in TOP:
        _set(root, role, keys[role])
    return root


def next_root(root: Root, keys: Mapping[str, RoleKeys], expires: dt.datetime) -> Root:
    """The root after this one, with other keys for some roles."""
    following = copy.deepcopy(root)
    following.version += 1
    following.expires = expires
    for role, wanted in keys.items():
        for keyid in list(following.roles[role].keyids):
            following.revoke_key(keyid, role)
        _set(following, role, wanted)
    return following


def first_targets(engines: RoleKeys, now: dt.datetime) -> Targets:
    """No releases yet, and the delegation."""
    return delegating(Targets(expires=now + LIFETIMES[Targets.type]), engines)


def next_targets(targets: Targets, expires: dt.datetime) -> Targets:
    """The same releases in the next version."""
    following = copy.deepcopy(targets)
    following.version += 1
    following.expires = expires
    return following


def delegating(targets: Targets, engines: RoleKeys) -> Targets:
    """The same with these keys for engines."""
    role = DelegatedRole(
        ENGINES, [key.keyid for key in engines.keys], engines.threshold, terminating=True, paths=list(ENGINE_PATHS)
    )
    keys: dict[str, Key] = {key.keyid: key for key in engines.keys}
    targets.delegations = Delegations(keys, {ENGINES: role})
    return targets


def engines_role(targets: Targets) -> DelegatedRole | None:
    """The delegation; a registry that an earlier version made has none."""
    roles = targets.delegations.roles if targets.delegations is not None else None
    return roles.get(ENGINES) if roles else None


def keys_of(role: Role, delegator: Root | Targets) -> RoleKeys:
    """The public keys of a role as its delegator names them."""
    keys = (delegator.get_key(keyid) for keyid in role.keyids)
    return RoleKeys(keys=tuple(key for key in keys if isinstance(key, SSlibKey)), threshold=role.threshold)


def _set(root: Root, role: str, wanted: RoleKeys) -> None:
    for key in wanted.keys:
        root.add_key(key, role)
    root.roles[role].threshold = wanted.threshold
