"""Puts together what the live page and ``/status.json`` show. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.api.interface import CameraStatus, ModelCard, Pulse
from edge.api.state import Snapshot
from mien.messages import Event, Window

_MOST_EVENTS = 12
_SHOWN_WINDOWS = 180


def status_json(now: Snapshot, card: ModelCard | None, reasons: Sequence[str]) -> dict[str, Any]:
    """The answer to ``/status.json``."""
    return {
        "device_id": now.device_id,
        "ready": not reasons,
        "reasons": list(reasons),
        "started_at": now.started_at,
        "at": now.at,
        "model": model_json(card),
        "window": now.window.model_dump(mode="json", exclude_none=True) if now.window else None,
        "frames": now.pulse.frames if now.pulse else now.totals.frames,
        "dropped": now.totals.dropped,
        "spool": now.spooled,
        "spool_lost": now.spool_lost,
        "cameras": [camera_json(camera) for camera in now.cameras],
        "broker": {"connected": now.broker.connected, "detail": now.broker.detail} if now.broker else None,
        "limits": {"step": now.limits.step, "detail": now.limits.detail} if now.limits else None,
        "update": _update_json(now),
    }


def beat_json(
    now: Snapshot, card: ModelCard | None, reasons: Sequence[str], events: Sequence[Event], before: Pulse | None
) -> dict[str, Any]:
    """What the page is told every second: the status without its window, figures of now, and the last events.

    Args:
        now: everything at this moment.
        card: the model that runs.
        reasons: against being ready.
        events: oldest first.
        before: the pulse a moment ago, for the frame rate.
    """
    shown = status_json(now, card, reasons)
    del shown["window"]
    return shown | {"figures": _figures(now, before), "events": [_event_json(e) for e in events[-_MOST_EVENTS:][::-1]]}


def plotted(windows: Sequence[Window]) -> list[dict[str, float | None]]:
    """The last windows as points of the page's plots, oldest first."""
    return [_point(window) for window in windows[-_SHOWN_WINDOWS:]]


def expressions(windows: Sequence[Window], *, seconds: float = 60.0) -> dict[str, int]:
    """Detections by label over the last windows, as many as make up ``seconds``."""
    found: dict[str, int] = {}
    since = windows[-1].ended_at - seconds if windows else 0.0
    for window in windows:
        if window.ended_at > since:
            for label, count in window.expressions.items():
                found[label] = found.get(label, 0) + count
    return found


def model_json(card: ModelCard | None) -> dict[str, Any] | None:
    """The model that runs."""
    if card is None:
        return None
    return {
        "release": f"{card.name}@{card.version}",
        "precision": card.precision,
        "runtime": f"{card.runtime} {card.runtime_version}",
        "input": list(card.input),
        "labels": list(card.labels),
    }


def camera_json(camera: CameraStatus) -> dict[str, Any]:
    """How a camera does."""
    return {
        "name": camera.name,
        "state": camera.state,
        "detail": camera.detail,
        "size": [camera.width, camera.height] if camera.width and camera.height else None,
        "frames": camera.frames,
        "dropped": camera.dropped,
        "reconnects": camera.reconnects,
        "bad_frames": camera.bad_frames,
    }


def _figures(now: Snapshot, before: Pulse | None) -> dict[str, Any]:
    window, pulse = now.window, now.pulse
    latency = window.latency_ms.get("total") if window else None
    fps = window.fps if window else None
    if pulse and before and pulse.at_s > before.at_s and pulse.frames >= before.frames:
        fps = (pulse.frames - before.frames) / (pulse.at_s - before.at_s)
    heat = pulse.temperature_c if pulse and pulse.temperature_c else (window.temperature_c if window else {})
    live_w = pulse.power_w if pulse else None
    return {
        "fps": fps,
        "latency_p95_ms": latency.p95 if latency else None,
        "power_w": live_w if live_w is not None else (window.power.total_w if window else None),
        "power_source": pulse.power_source if pulse else (window.power.source if window else "none"),
        "energy_per_inference_j": window.power.energy_per_inference_j if window else None,
        "temperature_c": max(heat.values()) if heat else None,
        "hottest": max(heat, key=lambda name: heat[name]) if heat else None,
        "faces": pulse.faces if pulse else None,
        "throttled": bool(window and window.throttled),
        "over_current": bool(window and window.over_current),
    }


def _point(window: Window) -> dict[str, float | None]:
    latency = window.latency_ms.get("total")
    return {
        "from": window.started_at,
        "at": window.ended_at,
        "fps": window.fps,
        "latency": latency.p95 if latency else None,
        "power": window.power.total_w,
        "temperature": max(window.temperature_c.values()) if window.temperature_c else None,
    }


def _event_json(event: Event) -> dict[str, Any]:
    return {"at": event.at, "kind": event.kind, "severity": event.severity, "message": event.message}


def _update_json(now: Snapshot) -> dict[str, Any] | None:
    if now.update is None:
        return None
    return {
        "release": now.update.release,
        "state": now.update.state,
        "message": now.update.message,
        "percent": now.update.percent,
    }
