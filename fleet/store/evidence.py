"""What verdicts are founded on: windows with the moment they came, hardware classes, and what probes found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.rollouts.analysis_evidence import Arrived
from fleet.store.models import DeviceRow, WindowRow
from mien.messages import Window

_MOST_NAMED = 500
"""Devices named in one query: databases bound the number of parameters."""


class Evidence:
    """Reads windows and facts of chosen devices."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def windows(
        self, device_ids: Collection[str], received_at: float, *, before: float, most: int | None = None
    ) -> list[Arrived]:
        """Windows which arrived in a span of the fleet's time, in the order of their arrival.

        Args:
            device_ids: whose windows.
            received_at: the span's begin.
            before: its end.
            most: about how many to read; of more, every second, third … is taken.
        """
        found: list[Arrived] = []
        for some in _parts(device_ids):
            mine = (
                WindowRow.device_id.in_(some),
                WindowRow.received_at >= received_at,
                WindowRow.received_at < before,
            )
            step = 1
            if most is not None:
                count = self._session.scalar(select(func.count()).select_from(WindowRow).where(*mine)) or 0
                step = max(1, count * len(device_ids) // max(1, most * len(some)))
            chosen = (
                select(WindowRow.device_id, WindowRow.received_at, WindowRow.payload)
                .where(*mine, WindowRow.id % step == 0)
                .order_by(WindowRow.id)
            )
            found += [
                Arrived(device_id=device_id, at=at, window=Window.model_validate(payload))
                for device_id, at, payload in self._session.execute(chosen)
            ]
        return found

    def hardware(self, device_ids: Collection[str]) -> dict[str, str]:
        """The hardware class of each device; empty where it has not said one."""
        return {
            device_id: str((twin or {}).get("hardware_class") or "")
            for some in _parts(device_ids)
            for device_id, twin in self._session.execute(
                select(DeviceRow.id, DeviceRow.twin).where(DeviceRow.id.in_(some))
            )
        }

    def agreements(self, device_ids: Collection[str]) -> Mapping[str, tuple[str, float]]:
        """The release that each device last probed and kept, and its agreement with that release's own reference."""
        found: dict[str, tuple[str, float]] = {}
        for some in _parts(device_ids):
            rows = self._session.execute(select(DeviceRow.id, DeviceRow.update_state).where(DeviceRow.id.in_(some)))
            for device_id, report in rows:
                agreement = ((report or {}).get("probe") or {}).get("reference_agreement")
                if agreement is not None and report["state"] in {"committed", "idle"}:
                    release = report["release"]
                    found[device_id] = (f"{release['name']}@{release['version']}", float(agreement))
        return found


def _parts(device_ids: Collection[str]) -> Iterator[list[str]]:
    rest = iter(sorted(device_ids))
    while some := list(islice(rest, _MOST_NAMED)):
        yield some
