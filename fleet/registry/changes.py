"""What a person may change about the registry's keys: replace a role's keys, or sign offline metadata anew."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from fleet.registry.keys import ENGINES, OFFLINE, short
from fleet.registry.pending import Change
from fleet.registry.repository import Repository
from fleet.registry.roles import (
    LIFETIMES,
    TOP,
    RoleKeys,
    check_threshold,
    delegating,
    engines_role,
    keys_of,
    next_root,
    next_targets,
    role_keys,
)
from mien.errors import ConfigError

ROTATABLE = (*TOP, ENGINES)


def present_keys(repository: Repository, role: str) -> RoleKeys:
    """A role's keys now; a role that is not there yet has none.

    Raises:
        ConfigError: there is no such role.
    """
    if role not in ROTATABLE:
        raise ConfigError(f"there is no role {role}", wanted=", ".join(ROTATABLE))
    if role != ENGINES:
        root = repository.shelf.root()
        return keys_of(root.roles[role], root)
    targets = repository.shelf.targets()
    engines = engines_role(targets)
    return keys_of(engines, targets) if engines is not None else RoleKeys(keys=())


def replacement(
    repository: Repository,
    role: str,
    *,
    keep: Sequence[str] = (),
    public: Sequence[SSlibKey] = (),
    make: int | None = None,
    threshold: int | None = None,
) -> RoleKeys:
    """The keys that a role will have, new ones made here.

    Args:
        repository: whose role it is.
        role: the role.
        keep: beginnings of ids of present keys that stay.
        public: keys that others made; offline roles only.
        make: how many are made here; by default as many as are neither kept nor given.
        threshold: how many must sign; by default as now.

    Raises:
        ConfigError: a kept key is not there, an online key would not be here, or the threshold does not fit.
    """
    now = present_keys(repository, role)
    if public and role not in OFFLINE:
        raise ConfigError(
            f"the {role} key must be made here, where it is used",
            wanted="no --public",
            remedy=f"mien fleet keys rotate {role}",
        )
    kept = [_kept(now, role, beginning) for beginning in keep]
    count = max(max(len(now.keys), 1) - len(kept) - len(public) if make is None else make, 0)
    wanted = now.threshold if threshold is None else threshold
    check_threshold(role, wanted, len(kept) + len(public) + count)
    folder = repository.offline if role in OFFLINE else repository.online
    return role_keys(role, [*kept, *public, *(folder.make(role) for _ in range(count))], wanted)


def rotate(repository: Repository, keys: Mapping[str, RoleKeys], now: dt.datetime) -> None:
    """Replace the keys of some roles, in one change. The caller holds the lock.

    Raises:
        TrustError: signatures of keys that are not here are needed; the change waits for them.
    """
    top = {role: wanted for role, wanted in keys.items() if role in TOP}
    targets = None
    if ENGINES in keys or Targets.type in keys:
        targets = next_targets(repository.shelf.targets(), now + LIFETIMES[Targets.type])
        if ENGINES in keys:
            targets = delegating(targets, keys[ENGINES])
    root = next_root(repository.shelf.root(), top, now + LIFETIMES[Root.type]) if top else None
    repository.propose(_change(root, targets), now)


def renew(repository: Repository, roles: Collection[str], now: dt.datetime, lifetime: dt.timedelta) -> None:
    """Sign root, targets or both anew. The caller holds the lock.

    Raises:
        ConfigError: a role is not one that a person renews.
        TrustError: signatures of keys that are not here are needed; the change waits for them.
    """
    wrong = sorted(set(roles) - set(OFFLINE))
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)} is not renewed by hand",
            wanted=" or ".join(OFFLINE),
            remedy="the service renews what it has the keys of, every minute that it runs",
        )
    root = next_root(repository.shelf.root(), {}, now + lifetime) if Root.type in roles else None
    targets = next_targets(repository.shelf.targets(), now + lifetime) if Targets.type in roles else None
    repository.propose(_change(root, targets), now)


def _change(root: Root | None, targets: Targets | None) -> Change:
    return Change(
        root=Metadata(root) if root is not None else None, targets=Metadata(targets) if targets is not None else None
    )


def _kept(now: RoleKeys, role: str, beginning: str) -> SSlibKey:
    found = [key for key in now.keys if key.keyid.startswith(beginning)]
    if len(found) != 1:
        raise ConfigError(
            f"'{beginning}' does not mean one {role} key",
            wanted=f"the beginning of one of {short([key.keyid for key in now.keys])}",
            remedy="see them with: mien fleet keys list",
        )
    return found[0]
