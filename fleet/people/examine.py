"""Verifying the audit record of a data folder, with or without a running service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.config import read_fleet
from fleet.paths import DataFolder
from fleet.people.anchor import read_anchors
from fleet.people.chain import Head, verify
from fleet.store.database import open_store
from mien.errors import TrustError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A record that is whole."""

    entries: int
    head: Head
    anchored: int
    """How many noted heads it was held against."""


def examine(data: Path | None, config: Path | None, copy: Path | None) -> Examined:
    """Verify a record.

    Args:
        data: the service's data folder; ``None`` is the settings' own.
        config: the service's settings.
        copy: an anchor that was kept elsewhere.

    Raises:
        TrustError: the record is not what was written; says the first broken entry.
        UnavailableError: there is no record, or no anchor where one was named.
    """
    settings = read_fleet(config, {"data": data})
    folder = DataFolder(settings.data)
    if settings.database_url is None and not (settings.data / "fleet.db").exists():
        raise UnavailableError(
            f"there is no fleet in {settings.data}", remedy="name the service's data folder with --data"
        )
    if copy is not None and not copy.exists():
        raise UnavailableError(f"there is no anchor {copy}")
    # The anchor is read first: entries that follow while the record is read do no harm.
    anchors = read_anchors(folder.audit_anchor) + (read_anchors(copy) if copy else [])
    store = open_store(settings.database, password_file=settings.database_password_file)
    try:
        with store.read() as work:
            verdict = verify(work.audit.chain(), anchors)
    finally:
        store.close()
    if not verdict.whole:
        where = f"entry {verdict.broken_at}" if verdict.broken_at else "its end"
        raise TrustError(
            f"the audit record is broken at {where}",
            found=verdict.why,
            wanted="every entry as it was written",
            remedy=f"{verdict.entries} entries before it are whole; see docs/runbooks/people.md",
        )
    return Examined(entries=verdict.entries, head=verdict.head, anchored=len(anchors))
