"""What changed between two windows that a person may want to know. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mien.messages import Window

_NO_SOURCE = "none"
_MOST_NAMED = 5


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
    alerts = [*_limits(before, now), *_power_source(before, now)]
    if before and before.release and before.release == now.release:
        if before.frames and not now.frames:
            alerts.append(Alert(kind="frames_stopped", severity="error", message="no frame came in a whole window"))
        if not before.frames and now.frames:
            alerts.append(Alert(kind="frames_back", severity="info", message="frames come again"))
    return alerts


def _limits(before: Window | None, now: Window) -> list[Alert]:
    by = f" ({', '.join(now.alarms[:_MOST_NAMED])})" if now.alarms else ""
    alerts = []
    if now.throttled and not (before and before.throttled):
        message = f"the board slows its clocks down: too hot{by}"
        alerts.append(Alert(kind="throttled", severity="warning", message=message))
    if now.over_current and not (before and before.over_current):
        message = f"the board draws more current than allowed{by}"
        alerts.append(Alert(kind="over_current", severity="warning", message=message))
    return alerts


def _power_source(before: Window | None, now: Window) -> list[Alert]:
    if before is None or before.power.source == now.power.source:
        return []
    if now.power.source == _NO_SOURCE:
        message = f"power source {before.power.source} was lost: nothing measures power now"
        return [Alert(kind="power_source_lost", severity="warning", message=message)]
    message = f"power figures come from {now.power.source} instead of {before.power.source}"
    return [Alert(kind="power_source_changed", severity="info", message=message)]
