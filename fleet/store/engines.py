"""Engines that devices offered, and what the store knows of the updates in which they were built."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.engines.states import OPEN, EngineState
from fleet.errors import NotFoundError
from fleet.store.models import EngineRow, EventRow, ExecutionRow, RolloutRow
from mien.engines import REFUSED_EVENT, EngineRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedEngine:
    """An engine as the fleet knows it."""

    id: str
    """SHA-256 of the record as it was sent."""
    record: EngineRecord
    state: EngineState
    reason: str
    offered_at: float
    whole_at: float | None = None
    """When its last byte came."""
    decided_at: float | None = None
    decided_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildingUpdate:
    """The update in which an engine was built, as its rollout knows it."""

    device_id: str
    release: str
    manifest_sha256: str
    state: str
    built_engine: bool
    reference_agreement: float | None


class Engines:
    """Keeps engines."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, offered: OfferedEngine) -> None:
        """Keep a new one."""
        record = offered.record
        self._session.add(
            EngineRow(
                id=offered.id,
                device_id=record.device_id,
                release=str(record.release),
                path=record.path,
                engine_sha256=record.engine.sha256,
                size_bytes=sum(file.size_bytes for file in record.files.values()),
                record=record.model_dump(mode="json"),
                state=str(offered.state),
                reason=offered.reason,
                offered_at=offered.offered_at,
            )
        )

    def find(self, engine_id: str) -> OfferedEngine | None:
        """One by its whole id."""
        row = self._session.get(EngineRow, engine_id)
        return _offered(row) if row else None

    def named(self, beginning: str) -> OfferedEngine:
        """One by the beginning of its id.

        Raises:
            NotFoundError: none, or several.
        """
        ids = self._session.scalars(select(EngineRow.id).where(EngineRow.id.startswith(beginning, autoescape=True)))
        found = list(ids)
        if len(found) != 1:
            raise NotFoundError(
                f"'{beginning}' does not mean one engine",
                found=f"{len(found)} begin so",
                wanted="the beginning of one id, as 'mien fleet engines list' shows it",
            )
        return _offered(self._session.get_one(EngineRow, found[0]))

    def all(self, *, states: Collection[EngineState] = ()) -> list[OfferedEngine]:
        """Engines in these states, or in any, newest first."""
        chosen = select(EngineRow).order_by(EngineRow.offered_at.desc(), EngineRow.id)
        if states:
            chosen = chosen.where(EngineRow.state.in_([str(state) for state in states]))
        return [_offered(row) for row in self._session.scalars(chosen)]

    def at(self, path: str) -> list[OfferedEngine]:
        """All that were ever offered under a signed name."""
        return [_offered(row) for row in self._session.scalars(select(EngineRow).where(EngineRow.path == path))]

    def offered_since(self, device_id: str, since: float) -> int:
        """How many a device has offered."""
        mine = select(func.count()).where(EngineRow.device_id == device_id, EngineRow.offered_at >= since)
        return int(self._session.scalar(mine) or 0)

    def open_bytes(self) -> int:
        """Bytes that may lie in quarantine, by what records say."""
        chosen = select(func.sum(EngineRow.size_bytes)).where(EngineRow.state.in_([str(state) for state in OPEN]))
        return int(self._session.scalar(chosen) or 0)

    def whole(self, engine_id: str, *, at: float) -> None:
        """All bytes are here."""
        row = self._session.get_one(EngineRow, engine_id)
        row.whole_at, row.state = at, str(EngineState.CHECKING)

    def settle(self, engine_id: str, state: EngineState, reason: str, *, at: float, by: str | None = None) -> None:
        """Note what was decided, and by whom if it was a person."""
        row = self._session.get_one(EngineRow, engine_id)
        row.state, row.reason, row.decided_at, row.decided_by = str(state), reason, at, by

    def update_of(self, record: EngineRecord) -> BuildingUpdate | None:
        """The update that a record names; ``None`` when no rollout made it."""
        found = self._session.execute(
            select(ExecutionRow, RolloutRow)
            .join(RolloutRow, RolloutRow.id == ExecutionRow.rollout_id)
            .where(ExecutionRow.deployment_id == record.deployment_id)
        ).first()
        if found is None:
            return None
        execution, rollout = found
        report: Mapping[str, Any] = execution.report or {}
        return BuildingUpdate(
            device_id=execution.device_id,
            release=rollout.release,
            manifest_sha256=rollout.manifest_sha256,
            state=execution.state,
            built_engine=bool(report.get("built_engine")),
            reference_agreement=(report.get("probe") or {}).get("reference_agreement"),
        )

    def refusals(self, engine_sha256: str, since: float) -> set[str]:
        """Devices to which a signed engine was of no use, by their own words."""
        rows = self._session.execute(
            select(EventRow.device_id, EventRow.details).where(
                EventRow.kind == REFUSED_EVENT, EventRow.received_at >= since
            )
        )
        return {device for device, details in rows if device and details.get("engine") == engine_sha256}


def _offered(row: EngineRow) -> OfferedEngine:
    return OfferedEngine(
        id=row.id,
        record=EngineRecord.model_validate(row.record),
        state=EngineState(row.state),
        reason=row.reason,
        offered_at=row.offered_at,
        whole_at=row.whole_at,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
    )
