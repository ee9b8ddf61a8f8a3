"""Decides whether the device does its work: a model is loaded and answers, and frames flow. Pure."""

from __future__ import annotations

from edge.api.interface import ModelCard
from edge.api.state import Snapshot

_LATE_WINDOWS = 3.0
"""So many lengths of a window may pass without a new one."""
_LEAST_LATE_S = 5.0


def reasons_against(now: Snapshot, card: ModelCard | None) -> tuple[str, ...]:
    """Why the device is not ready; empty when it is.

    One camera of several may be away: the others do their work.
    """
    found = [] if card is not None else ["no model is loaded"]
    if now.trouble:
        found.append(now.trouble)
    away = [camera for camera in now.cameras if camera.state != "live"]
    if away and len(away) == len(now.cameras):
        found += [_away(camera.name, camera.state, camera.detail) for camera in away]
    if now.window is None:
        found.append("no telemetry window has ended yet")
        return tuple(found)
    late_s = max(_LATE_WINDOWS * (now.window.ended_at - now.window.started_at), _LEAST_LATE_S)
    if now.window_age_s is not None and now.window_age_s > late_s:
        found.append(f"the last telemetry window ended {now.window_age_s:.0f} s ago")
    if not now.window.frames:
        found.append("no frame went through the model in the last window")
    return tuple(found)


def _away(name: str, state: str, detail: str) -> str:
    return f"camera {name} is {state}{f': {detail}' if detail else ''}"
