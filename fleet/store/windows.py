"""Telemetry windows in the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from fleet.store.models import WindowRow
from mien.messages import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWindow:
    """A window and whose it is."""

    device_id: str
    window: Window


class Windows:
    """Keeps windows, each once."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, arrived: Sequence[StoredWindow], *, at: float) -> int:
        """Keep windows; those which are there already are left out.

        Returns:
            How many were new.
        """
        fresh: dict[tuple[str, str], StoredWindow] = {}
        for item in arrived:
            fresh.setdefault((item.device_id, item.window.window_id), item)
        for device_id, window_id in self._known(fresh):
            del fresh[device_id, window_id]
        self._session.add_all(_row(item, at) for item in fresh.values())
        return len(fresh)

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

    def _known(self, wanted: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        ids = {window_id for _, window_id in wanted}
        chosen = select(WindowRow.device_id, WindowRow.window_id).where(WindowRow.window_id.in_(ids))
        return [(device, window) for device, window in self._session.execute(chosen) if (device, window) in wanted]


def _row(item: StoredWindow, at: float) -> WindowRow:
    window = item.window
    total = window.latency_ms.get("total")
    return WindowRow(
        device_id=item.device_id,
        window_id=window.window_id,
        started_at=window.started_at,
        ended_at=window.ended_at,
        received_at=at,
        release=str(window.release) if window.release else None,
        fps=window.fps,
        latency_p95_ms=total.p95 if total else None,
        power_w=window.power.total_w,
        energy_per_inference_j=window.power.energy_per_inference_j,
        confidence_mean=window.confidence_mean,
        payload=window.model_dump(mode="json"),
    )
