"""Events for people, and the audit record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from fleet.people.chain import Head, Link, digest
from fleet.store.models import AuditRow, EventRow
from mien.messages import Event

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event and whose it is; ``None`` is the fleet itself."""

    device_id: str | None
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, and when."""

    at: float
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]


class Events:
    """Keeps events, each once."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, arrived: Sequence[StoredEvent], *, at: float) -> int:
        """Keep events; those which are there already are left out. Returns how many were new."""
        fresh = {(item.device_id, item.event.event_id): item for item in arrived}
        ids = {event_id for _, event_id in fresh}
        known = self._session.execute(
            select(EventRow.device_id, EventRow.event_id).where(EventRow.event_id.in_(ids))
        ).all()
        for device_id, event_id in known:
            fresh.pop((device_id, event_id), None)
        self._session.add_all(
            EventRow(
                device_id=item.device_id,
                event_id=item.event.event_id,
                at=item.event.at,
                received_at=at,
                kind=item.event.kind,
                severity=item.event.severity,
                message=item.event.message,
                details=dict(item.event.details),
            )
            for item in fresh.values()
        )
        return len(fresh)

    def latest(self, limit: int, *, device_id: str | None = None) -> list[StoredEvent]:
        """The last events, newest first; of one device if one is named."""
        chosen = select(EventRow).order_by(EventRow.at.desc(), EventRow.id.desc()).limit(limit)
        if device_id is not None:
            chosen = chosen.where(EventRow.device_id == device_id)
        return [_event(row) for row in self._session.scalars(chosen)]

    def forget_before(self, at: float) -> None:
        """Delete what is older."""
        self._session.execute(delete(EventRow).where(EventRow.received_at < at))


class Audit:
    """Keeps who did what, in a chain: see :mod:`fleet.people.chain`. Whoever adds entries holds the database alone."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def note(self, action: str, subject: str, *, at: float, actor: str = "operator", **details: Any) -> None:  # noqa: ANN401
        """Add an entry."""
        prev = self.head().sha256
        told = json.loads(json.dumps(details))  # as it will be read again
        sha256 = digest(prev, at=at, actor=actor, action=action, subject=subject, details=told)
        row = AuditRow(
            at=at, actor=actor, action=action, subject=subject, details=told, prev_sha256=prev, sha256=sha256
        )
        self._session.add(row)
        self._session.flush()  # the next entry follows this one

    def head(self) -> Head:
        """The last entry."""
        last = select(AuditRow.id, AuditRow.sha256).order_by(AuditRow.id.desc()).limit(1)
        row = self._session.execute(last).first()
        return Head() if row is None else Head(id=row.id, sha256=row.sha256)

    def digest_of(self, entry_id: int) -> str | None:
        """The digest of an entry, if it is there."""
        return self._session.scalar(select(AuditRow.sha256).where(AuditRow.id == entry_id))

    def chain(self) -> Iterator[Link]:
        """All entries, oldest first."""
        rows = self._session.scalars(select(AuditRow).order_by(AuditRow.id).execution_options(yield_per=_CHUNK))
        for row in rows:
            yield Link(
                id=row.id,
                at=row.at,
                actor=row.actor,
                action=row.action,
                subject=row.subject,
                details=row.details,
                prev_sha256=row.prev_sha256,
                sha256=row.sha256,
            )

    def latest(self, limit: int) -> list[AuditEntry]:
        """The last entries, newest first."""
        rows = self._session.scalars(select(AuditRow).order_by(AuditRow.id.desc()).limit(limit))
        return [
            AuditEntry(at=row.at, actor=row.actor, action=row.action, subject=row.subject, details=row.details)
            for row in rows
        ]


def _event(row: EventRow) -> StoredEvent:
    return StoredEvent(
        device_id=row.device_id,
        event=Event(
            event_id=row.event_id,
            at=row.at,
            kind=row.kind,
            severity=row.severity,
            message=row.message,
            details=row.details,
        ),
    )
