"""Telemetry windows in the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Table, delete, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from fleet.store.bulk import insert_new
from fleet.store.models import WindowRow
from mien.messages import Window

_TABLE = cast("Table", WindowRow.__table__)
_COLUMNS = (
    "device_id",
    "window_id",
    "started_at",
    "ended_at",
    "received_at",
    "release",
    "fps",
    "latency_p95_ms",
    "power_w",
    "energy_per_inference_j",
    "confidence_mean",
    "payload",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWindow:
    """A window and whose it is."""

    device_id: str
    window: Window
    body: str | None = None
    """Its JSON as it was sent, kept as it is; ``None``: made from the window."""

    @property
    def text(self) -> str:
        """Its JSON."""
        return self.body if self.body is not None else self.window.model_dump_json()


class Windows:
    """Keeps windows, each once."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, arrived: Sequence[StoredWindow], *, at: float) -> int:
        """Keep windows; those which are there already are left out.

        Returns:
            How many were new.
        """
        rows = [_values(item, at) for item in arrived]
        return insert_new(self._session, _TABLE, _COLUMNS, rows, unique=2)

    def latest(self, device_id: str, limit: int) -> list[Window]:
        """The last windows of a device, newest first."""
        chosen = (
            select(WindowRow.payload)
            .where(WindowRow.device_id == device_id)
            .order_by(WindowRow.started_at.desc())
            .limit(limit)
        )
        return [Window.model_validate(payload) for payload in self._session.scalars(chosen)]

    def since(self, device_ids: Collection[str], received_at: float, *, before: float) -> list[StoredWindow]:
        """Windows of some devices which arrived in a span of time (the fleet's clock), oldest first."""
        if not device_ids:
            return []
        chosen = (
            select(WindowRow.device_id, WindowRow.payload)
            .where(WindowRow.device_id.in_(sorted(device_ids)))
            .where(WindowRow.received_at >= received_at, WindowRow.received_at < before)
            .order_by(WindowRow.started_at)
        )
        return [
            StoredWindow(device_id=device_id, window=Window.model_validate(payload))
            for device_id, payload in self._session.execute(chosen)
        ]

    def forget_before(self, received_at: float) -> int:
        """Delete what is older; the number of deleted rows."""
        done: CursorResult[Any] = self._session.execute(  # type: ignore[assignment]
            delete(WindowRow).where(WindowRow.received_at < received_at)
        )
        return done.rowcount


def _values(item: StoredWindow, at: float) -> tuple[Any, ...]:
    """A row's values, in the order of the columns."""
    window = item.window
    total, power = window.latency_ms.get("total"), window.power
    return (
        item.device_id,
        window.window_id,
        window.started_at,
        window.ended_at,
        at,
        str(window.release) if window.release else None,
        window.fps,
        total.p95 if total else None,
        power.total_w,
        power.energy_per_inference_j,
        window.confidence_mean,
        item.text,
    )
