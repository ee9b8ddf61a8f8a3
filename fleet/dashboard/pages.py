"""The dashboard's routes: each page renders what the API answers, and is rendered again when something changed.

Nothing here changes anything. What a page shows is put together in :mod:`fleet.dashboard.views`, and written by
:mod:`fleet.dashboard.render`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from fleet.api.deps import Fleet, FleetDep, reader
from fleet.api.ops import find_device
from fleet.api.rollouts import sentences
from fleet.api.shapes import device_json, release_json, rollout_json
from fleet.changes import Changes
from fleet.dashboard import views
from fleet.dashboard.render import page as _page
from fleet.rollouts.orders import get
from fleet.store.work import Work

STATIC = Path(__file__).parent / "static"
router = APIRouter(dependencies=[Depends(reader)], include_in_schema=False)

_PAUSE_S = 0.5
_HEARTBEAT_ROUNDS = 30
_PLOTTED_WINDOWS = 60
_MOST_SPARKLINES = 60
_EVENTS = 12
_NEWEST = 3


@router.get("/", response_class=HTMLResponse)
def overview(request: Request, fleet: FleetDep) -> HTMLResponse:
    """Devices online, what the fleet does, rollouts under way, latest events."""
    with fleet.store.read() as work:
        devices = _devices(fleet, work)
        context = {
            "totals": views.totals(devices),
            "devices": devices,
            "sparklines": _sparklines(work, devices),
            "rollouts": _rollouts(fleet, work, _NEWEST),
            "events": views.events(work.events.latest(_EVENTS)),
        }
    return _page(request, fleet, "overview.html", "Overview", context)


@router.get("/devices", response_class=HTMLResponse)
def devices(request: Request, fleet: FleetDep) -> HTMLResponse:
    """All devices."""
    with fleet.store.read() as work:
        found = _devices(fleet, work)
        context = {"devices": found, "sparklines": _sparklines(work, found), "totals": views.totals(found)}
    return _page(request, fleet, "devices.html", "Devices", context)


@router.get("/devices/{device_id}", response_class=HTMLResponse)
def device(request: Request, device_id: str, fleet: FleetDep) -> HTMLResponse:
    """One device."""
    with fleet.store.read() as work:
        known = find_device(work, device_id)
        recent = work.windows.latest(device_id, _PLOTTED_WINDOWS)
        context = {
            "device": _shape(fleet, known),
            "facts": (known.twin or {}).get("facts") or {},
            "expressions": views.expression_bars(recent),
            "last": recent[0] if recent else None,
            "events": views.events(work.events.latest(_EVENTS, device_id=device_id)),
        }
    return _page(request, fleet, "device.html", device_id, context)


@router.get("/releases", response_class=HTMLResponse)
def releases(request: Request, fleet: FleetDep) -> HTMLResponse:
    """All releases with what was measured of their variants."""
    with fleet.store.read() as work:
        found = [release_json(release) for release in work.releases.all()]
        running = views.running_counts(_devices(fleet, work))
    return _page(request, fleet, "releases.html", "Releases", {"releases": found, "running": running})


@router.get("/rollouts", response_class=HTMLResponse)
def rollouts(request: Request, fleet: FleetDep) -> HTMLResponse:
    """All rollouts with their waves."""
    with fleet.store.read() as work:
        context = {"rollouts": _rollouts(fleet, work)}
    return _page(request, fleet, "rollouts.html", "Rollouts", context)


@router.get("/rollouts/{rollout_id}", response_class=HTMLResponse)
def rollout(request: Request, rollout_id: int, fleet: FleetDep) -> HTMLResponse:
    """One rollout: its waves, devices, verdict figures, and what it waits for."""
    with fleet.store.read() as work:
        context = {
            "rollout": rollout_json(get(work, rollout_id), work.devices.views(), now=fleet.clock()),
            "sentences": sentences(work, rollout_id, fleet.clock()),
            "commands": views.commands(get(work, rollout_id).view.state),
        }
    return _page(request, fleet, "rollout.html", f"Rollout {rollout_id}", context)


@router.get("/live")
def live(fleet: FleetDep) -> StreamingResponse:
    """Server-sent events: ``changed`` whenever a page should be looked at again."""
    return StreamingResponse(
        _changes(fleet.changes), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _changes(changes: Changes) -> AsyncIterator[str]:
    seen, quiet = changes.count, 0
    yield "retry: 2000\n\n"
    while not changes.closed:
        await asyncio.sleep(_PAUSE_S)
        quiet += 1
        if changes.count != seen:
            seen, quiet = changes.count, 0
            yield f"event: changed\ndata: {seen}\n\n"
        elif quiet >= _HEARTBEAT_ROUNDS:
            quiet = 0
            yield ": still here\n\n"


def _devices(fleet: Fleet, work: Work) -> list[dict[str, Any]]:
    return [_shape(fleet, device) for device in work.devices.all()]


def _shape(fleet: Fleet, device: Any) -> dict[str, Any]:  # noqa: ANN401 - fleet.store.devices.Device
    shape = device_json(device, now=fleet.clock(), silent_after_s=fleet.settings.devices.silent_after_s)
    return views.present(shape | {"standing": views.standing(shape)})


def _rollouts(fleet: Fleet, work: Work, most: int | None = None) -> list[dict[str, Any]]:
    known, now = work.devices.views(), fleet.clock()
    return [rollout_json(rollout, known, now=now) for rollout in work.rollouts.all(most)]


def _sparklines(work: Work, devices: list[dict[str, Any]]) -> dict[str, str]:
    """Points of a small line of fps for each device; none for large fleets."""
    if len(devices) > _MOST_SPARKLINES:
        return {}
    return {device["id"]: views.sparkline(work.windows.latest(device["id"], 40)) for device in devices}
