"""What a fleet needs before it can serve, made at its first start: authority, keys, token, database."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass

from fleet.config import FleetSettings
from fleet.identity.ca import Authority, open_authority
from fleet.paths import DataFolder
from fleet.registry.publish import read_release, signed_releases
from fleet.registry.repository import Repository
from fleet.store.database import Store, open_store
from mien.files import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What lies on the disk."""

    authority: Authority
    repository: Repository
    store: Store
    operator_token: str


def prepare(settings: FleetSettings, now: dt.datetime) -> Foundation:
    """Open everything on the disk, and make what is not there.

    Raises:
        UnavailableError: the folder or the database cannot be used.
        TrustError: keys are there but cannot be read.
    """
    data = DataFolder(settings.data)
    data.create()
    authority = open_authority(data.ca)
    repository = Repository(data)
    with repository.locked():
        if not repository.exists():
            repository.create(now)
        repository.renew(now)
    store = open_store(settings.database, password_file=settings.database_password_file)
    read_registry(store, repository, at=now.timestamp())
    return Foundation(authority=authority, repository=repository, store=store, operator_token=operator_token(data))


def read_registry(store: Store, repository: Repository, *, at: float) -> int:
    """Take note of releases that were published while the service was down; how many were new."""
    with store.read() as work:
        missing = [ref for ref, _ in signed_releases(repository) if work.releases.find(str(ref)) is None]
    found = [read_release(repository, ref, at=at) for ref in missing]
    with store.write() as work:
        return sum(work.releases.put(release) for release in found)


def operator_token(data: DataFolder) -> str:
    """The token that operators show, made at the first call."""
    if not data.operator_token.exists():
        write_text(data.operator_token, secrets.token_urlsafe(32) + "\n", mode=0o600)
    return data.operator_token.read_text().strip()
