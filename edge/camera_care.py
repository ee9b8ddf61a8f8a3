"""Decides what a person is told about the cameras: one that went away, came back, or sends what is no picture. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge.telemetry.alerts import Alert

_FEWEST_BAD = 10
"""Broken pictures in one look-out that are worth an event."""
_LOOKOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSigns:
    """How one camera does at one moment."""

    away: bool = False
    """Lost and being opened again."""
    gone: str = ""
    """Why it is lost for good; empty while it is not."""
    bad_frames: int = 0
    """What came since the start and was no picture."""


@dataclass(slots=True)
class _Known:
    away_since_s: float | None = None
    told_gone: bool = False
    bad_frames: int = 0
    counted_from_s: float = 0.0


class CameraCare:
    """Follows the cameras of a device.

    Args:
        now_s: monotonic seconds.
    """

    def __init__(self, now_s: float) -> None:
        self._started_s = now_s
        self._known: dict[str, _Known] = {}

    def look(self, cameras: Mapping[str, CameraSigns], now_s: float) -> tuple[Alert, ...]:
        """What is new since the last look.

        Args:
            cameras: by name.
            now_s: monotonic seconds; never falls.
        """
        alerts: list[Alert] = []
        for name, signs in cameras.items():
            known = self._known.setdefault(name, _Known(counted_from_s=self._started_s))
            alerts += self._presence(name, signs, known, now_s)
            alerts += self._pictures(name, signs, known, now_s)
        return tuple(alerts)

    def _presence(self, name: str, signs: CameraSigns, known: _Known, now_s: float) -> list[Alert]:
        if signs.gone:
            told, known.told_gone = known.told_gone, True
            message = f"camera {name} is gone: {signs.gone}"
            return [] if told else [Alert(kind="camera_gone", severity="error", message=message[:500])]
        if signs.away and known.away_since_s is None:
            known.away_since_s = now_s
            return [Alert(kind="camera_lost", severity="warning", message=f"camera {name} gives no frames")]
        if not signs.away and known.away_since_s is not None:
            away_s, known.away_since_s = now_s - known.away_since_s, None
            return [Alert(kind="camera_back", severity="info", message=f"camera {name} is back after {away_s:.0f} s")]
        return []

    def _pictures(self, name: str, signs: CameraSigns, known: _Known, now_s: float) -> list[Alert]:
        if now_s - known.counted_from_s < _LOOKOUT_S:
            return []
        bad, known.bad_frames = signs.bad_frames - known.bad_frames, signs.bad_frames
        passed_s, known.counted_from_s = now_s - known.counted_from_s, now_s
        if bad < _FEWEST_BAD:
            return []
        message = f"camera {name} sent {bad} frames that are no pictures in {passed_s:.0f} s; check its cable and power"
        return [Alert(kind="bad_frames", severity="warning", message=message)]
