"""Signed releases in the store: a copy of what the registry holds, for pages and rollouts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.store.models import ReleaseRow
from mien.release import Manifest, version_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release that devices may be told to run."""

    ref: str
    manifest_sha256: str
    manifest: Manifest
    published_at: float


class Releases:
    """Keeps releases."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, release: Release) -> bool:
        """Keep a release; whether it was new."""
        if self._session.get(ReleaseRow, release.ref) is not None:
            return False
        self._session.add(
            ReleaseRow(
                ref=release.ref,
                name=release.manifest.name,
                version=release.manifest.version,
                manifest_sha256=release.manifest_sha256,
                manifest=release.manifest.model_dump(mode="json"),
                published_at=release.published_at,
            )
        )
        return True

    def find(self, ref: str) -> Release | None:
        """A release by ``name@version``."""
        row = self._session.get(ReleaseRow, ref)
        return _release(row) if row else None

    def all(self) -> list[Release]:
        """Every release, newest version first within a name."""
        found = [_release(row) for row in self._session.scalars(select(ReleaseRow))]
        newest_first = sorted(found, key=lambda release: version_key(release.manifest.version), reverse=True)
        return sorted(newest_first, key=lambda release: release.manifest.name)


def _release(row: ReleaseRow) -> Release:
    return Release(
        ref=row.ref,
        manifest_sha256=row.manifest_sha256,
        manifest=Manifest.model_validate(row.manifest),
        published_at=row.published_at,
    )
