"""Which of two words of a device is the newer one. Pure.

The broker keeps the order of one topic for one subscriber, and one process takes what tells a device's state, so words
of one boot count as they arrive. What can come late all the same is settled here: a will of an earlier boot, and
windows from a spool or from another worker. A device's clock may be decades wrong, so it decides only between words
that have nothing better to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mien.messages import Status, Window

_WRONG_CLOCK_S = 86_400.0
"""A time so far in the future of the fleet's clock is a wrong clock's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWindow:
    """What has to be known of a device's last window to tell whether another one is newer."""

    sequence: float
    boot_id: str
    ended_at: float


def is_newer(window: Window, known: LastWindow | None, *, now: float) -> bool:
    """Whether a window is to be shown as the device's last instead of the known one.

    Numbers rise over restarts, so they decide. A device whose spool was lost begins anew with a lower number and
    another boot; then the time decides, unless the known one is of a clock that was ahead.

    Args:
        window: the one that came.
        known: the one that is shown; ``None`` when there is none.
        now: the fleet's clock, Unix seconds.
    """
    if known is None or window.sequence > known.sequence:
        return True
    if window.boot_id == known.boot_id:
        return window.sequence == known.sequence and window.ended_at >= known.ended_at
    if known.ended_at > now + _WRONG_CLOCK_S:
        return window.ended_at <= now + _WRONG_CLOCK_S
    return window.ended_at > known.ended_at


def is_stale(status: Status, known: Mapping[str, Any]) -> bool:
    """Whether a status is of an earlier boot than the known one: its will came late, or it was sent again.

    Args:
        status: the one that came.
        known: the one that is kept, with the boot before it; empty when there is none.
    """
    if status.boot_id == known.get("boot_id"):
        return False
    if status.boot_id == known.get("boot_before"):
        return True
    return status.state == "offline" and known.get("boot_id") is not None and known.get("at", 0) >= status.at


def with_boot_before(status: Status, known: Mapping[str, Any]) -> dict[str, Any]:
    """A status as it is kept: with the boot before it, whose words are stale from now on."""
    kept = status.model_dump(mode="json")
    same = known.get("boot_id") == status.boot_id
    return kept | {"boot_before": known.get("boot_before") if same else known.get("boot_id")}
