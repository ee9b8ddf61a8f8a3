"""Whether the service works: for supervisors and load balancers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response, status

from fleet.api.deps import FleetDep
from mien import __version__

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz(fleet: FleetDep, response: Response) -> dict[str, Any]:
    """``ok`` while the database answers and the broker is connected; otherwise 503 with what is missing."""
    with fleet.store.read() as work:
        work.audit.head()  # one row: whoever asks, and however often, nothing is read that grows with the fleet
    connected = fleet.is_connected()
    if not connected:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return {
        "status": "ok" if connected else "the broker is not connected",
        "version": __version__,
        "broker_connected": connected,
        "ingest": dict(fleet.ingest.counts),
    }
