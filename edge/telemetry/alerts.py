"""What changed between two windows that a person may want to know. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mien.messages import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An event in the making."""

    kind: str
    severity: Literal["info", "warning", "error"]
    message: str


def alerts_between(before: Window | None, now: Window) -> list[Alert]:
    """Alerts of a new window; each is raised once, where its condition begins or ends.

    Args:
        before: the window before; ``None`` at the start.
        now: the new one.
    """
    alerts = []
    if now.throttled and not (before and before.throttled):
        alerts.append(Alert(kind="throttled", severity="warning", message="the board slows its clocks down: too hot"))
    if now.over_current and not (before and before.over_current):
        alerts.append(
            Alert(kind="over_current", severity="warning", message="the board draws more current than allowed")
        )
    if before and before.release and before.release == now.release:
        if before.frames and not now.frames:
            alerts.append(Alert(kind="frames_stopped", severity="error", message="no frame came in a whole window"))
        if not before.frames and now.frames:
            alerts.append(Alert(kind="frames_back", severity="info", message="frames come again"))
    return alerts
