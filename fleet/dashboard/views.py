"""What pages show, computed from what the API answers. Pure: values in, values and text out."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleet.rollouts.states import RolloutState, allowed
from fleet.store.journal import StoredEvent
from mien.messages import Window

_KB = 1000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_SPARK_WIDTH, _SPARK_HEIGHT = 120.0, 28.0
_MEASURED = ("fps", "latency_p95_ms", "power_w", "energy_per_inference_j", "temperature_c", "confidence_mean")
_METRICS = {
    "fps": "frames per second",
    "latency_p95_ms": "latency p95, ms",
    "energy_per_inference_j": "energy per inference, J",
    "temperature_c": "hottest sensor, °C",
    "probe_agreement": "agreement of probes",
    "confidence": "mean confidence",
    "detections_per_frame": "detections per frame",
    "confidence_histogram": "confidences (PSI)",
    "expressions": "mix of expressions (PSI)",
}
_QUESTIONS = {
    "start": "Start this rollout?",
    "approve": "Approve it?",
    "deny": "Deny it? It ends. Devices that have the release keep it.",
    "pause": "Pause it? Devices finish what they began.",
    "resume": "Resume it? A wave that is judged is measured anew.",
    "force-next": "Count this wave as done, whatever its figures say?",
    "stop": "End it? Devices that have the release keep it.",
}
_TONES = {
    "good": {"online", "finished", "SUCCEEDED", "committed", "pass", "done", "accepted"},
    "busy": {"running", "soaking", "IN_PROGRESS", "QUEUED", "ready", "draft", "in_progress", "info", "preauthorised"},
    "warn": {"paused", "silent", "waiting_for_approval", "inconclusive", "warning", "throttled", "pending"},
    "bad": {"stopped", "stopping", "FAILED", "TIMED_OUT", "REJECTED", "error", "fail", "revoked", "failed", "rejected"},
}


def totals(devices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over the devices that are online; power names its sources, for a replay is no measurement."""
    online = [device for device in devices if device["online"] and device["state"] == "accepted"]
    measured = [device for device in online if device["power_w"] is not None]
    return {
        "devices": sum(1 for device in devices if device["state"] == "accepted"),
        "online": len(online),
        "fps": sum(device["fps"] or 0.0 for device in online),
        "power_w": sum(device["power_w"] for device in measured) if measured else None,
        "power_sources": ", ".join(sorted({device["power_source"] for device in measured})) or "none",
        "troubled": sum(1 for device in online if device["throttled"] or device["over_current"] or device["silent"]),
    }


def standing(device: Mapping[str, Any]) -> str:
    """One word for a device."""
    if device["state"] != "accepted":
        return str(device["state"])
    if not device["online"]:
        return "offline"
    if device["silent"]:
        return "silent"
    return "throttled" if device["throttled"] or device["over_current"] else "online"


def present(device: dict[str, Any]) -> dict[str, Any]:
    """A device without the figures of its past, when it is not there: what it did last is not what it does."""
    if device["standing"] not in {"offline", "revoked"}:
        return device
    return device | dict.fromkeys(_MEASURED)


def running_counts(devices: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many devices run each release."""
    return Counter(device["release"] for device in devices if device["release"])


def expression_bars(windows: Sequence[Window]) -> list[dict[str, Any]]:
    """Share of each expression over some windows, in the order of the release's labels."""
    sums: dict[str, int] = {}
    for window in windows:
        for label, count in window.expressions.items():
            sums[label] = sums.get(label, 0) + count
    total, most = sum(sums.values()), max(sums.values(), default=0)
    return [
        {"label": label, "count": count, "share": count / total if total else 0.0, "width": 100 * count / (most or 1)}
        for label, count in sums.items()
    ]


def sparkline(windows: Sequence[Window]) -> str:
    """Points for an SVG polyline of fps, oldest first; empty with fewer than two windows."""
    values = [window.fps for window in reversed(windows)]
    if len(values) < 2:  # noqa: PLR2004 - a line has two ends
        return ""
    top = max(*values, 1e-9) * 1.35
    step = _SPARK_WIDTH / (len(values) - 1)
    return " ".join(
        f"{index * step:.1f},{_SPARK_HEIGHT - value / top * _SPARK_HEIGHT:.1f}" for index, value in enumerate(values)
    )


def events(stored: Iterable[StoredEvent]) -> list[dict[str, Any]]:
    """Events as rows."""
    return [
        {
            "device": item.device_id,
            "at": item.event.at,
            "kind": item.event.kind,
            "severity": item.event.severity,
            "message": item.event.message,
        }
        for item in stored
    ]


def commands(state: RolloutState) -> list[tuple[str, str]]:
    """What a person may ask of a rollout in this state, each with what they are asked in turn."""
    return [(str(event), _QUESTIONS[str(event)]) for event in allowed(state) if str(event) in _QUESTIONS]


def tone(state: str | None) -> str:
    """The colour family of a state: good, busy, warn, bad or plain. The word is always shown too."""
    return next((name for name, states in _TONES.items() if state in states), "plain")


def words(state: str | None) -> str:
    """A state as people read it."""
    return str(state or "").replace("_", " ").lower()


def number(value: float | None, digits: int = 1) -> str:
    """A number, or a dash where nothing was measured."""
    return "—" if value is None else f"{value:,.{digits}f}".replace(",", "\u202f")


def figure(value: float | None) -> str:
    """A number with three significant digits."""
    return "—" if value is None else f"{value:.3g}"


def metric(name: str) -> str:
    """A metric's name with its unit, for people."""
    return _METRICS.get(name, words(name))


def percent(value: float | None, digits: int = 0) -> str:
    """A share as a percentage."""
    return "—" if value is None else f"{100 * value:.{digits}f}\u202f%"


def size(value: int | None) -> str:
    """A length in bytes, for people."""
    if value is None:
        return "—"
    amount = float(value)
    for unit in ("B", "kB", "MB"):
        if amount < _KB:
            return f"{amount:.0f}\u202fB" if unit == "B" else f"{amount:.1f}\u202f{unit}"
        amount /= _KB
    return f"{amount:.1f}\u202fGB"


def clock(at: float | None) -> str:
    """A moment, UTC."""
    return "—" if at is None else dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float | None) -> str:
    """A duration with its two largest units."""
    if seconds is None:
        return "—"
    whole = round(seconds)
    for unit_s, unit, part_s, part in (
        (_DAY_S, "d", _HOUR_S, "h"),
        (_HOUR_S, "h", 60, "min"),
        (_MINUTE_S, "min", 1, "s"),
    ):
        if whole >= unit_s:
            return f"{whole // unit_s}\u202f{unit} {whole % unit_s // part_s}\u202f{part}"
    return f"{whole}\u202fs"


def ago(at: float | None, now: float) -> str:
    """How long ago something was."""
    if at is None:
        return "never"
    seconds = max(0.0, now - at)
    return "just now" if seconds < 5 else f"{span(seconds)} ago"  # noqa: PLR2004 - five seconds
