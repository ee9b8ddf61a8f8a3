"""Makes tables and JSON of what a run measured and of what stands on a device's disk."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from edge.update.journal import Journal
from edge.update.slots import Installed, SlotStore
from mien import topics
from mien.console import table_of
from mien.errors import ConfigError

_LOST = "SELECT substr(name, 6), value FROM counters WHERE name LIKE 'lost.%' AND value > 0 ORDER BY name"


def run_tables(summary: dict[str, Any]) -> list[Table]:
    """The tables of a bundle run: what ran, latency by stage, detections by label."""
    power = summary["power"]
    watt = (
        f"{power['total_w']:.2f} W ({power['source']})" if "total_w" in power else f"not measured ({power['source']})"
    )
    energy = power.get("energy_per_inference_j")
    facts = [
        ("release", f"{summary['release']} {summary['precision']}, {summary['runtime']}"),
        ("camera", summary["camera"]),
        ("frames", f"{summary['frames']} in {summary['seconds']:.1f} s, {summary['dropped']} let go"),
        *([("skipped", f"{summary['skipped']} that are no picture")] if summary["skipped"] else []),
        ("fps", f"{summary['fps']:.1f}"),
        ("power", watt),
        ("energy per inference", f"{energy:.3f} J ({power['source']})" if energy is not None else None),
    ]
    latency = [
        (stage, f"{figures['p50']:.2f}", f"{figures['p95']:.2f}", f"{figures['p99']:.2f}")
        for stage, figures in summary["latency_ms"].items()
    ]
    return [
        table_of("run", ("what", "value"), facts),
        table_of("latency, ms", ("stage", ">p50", ">p95", ">p99"), latency),
        table_of("detections", ("label", ">count"), list(summary["detections"].items())),
    ]


def status_of(state: Path) -> dict[str, Any]:
    """What stands on a device's disk; works while its agent runs and while it does not.

    Raises:
        ConfigError: there is no such folder.
    """
    if not state.is_dir():
        raise ConfigError(f"there is no device state in {state}", remedy="name its folder with --state")
    slots, journal = SlotStore(state / "slots"), Journal(state / "update")
    record = journal.read()
    update = None
    if record is not None:
        update = {
            "deployment_id": record.desired.deployment_id,
            "release": str(record.desired.release),
            "state": record.state.value,
            "error_code": record.error_code,
            "message": record.message,
            "waits_for": record.waits_for,
            "waits_until": record.waits_until,
        }
    return {
        **_identity(state),
        "active": _installed(slots.active()),
        "fallback": _installed(slots.fallback()),
        "update": update,
        "known_bad": sorted(set(journal.known_bad().releases.values())),
        **_spool(state / "spool.sqlite"),
    }


def status_table(found: dict[str, Any]) -> Table:
    """The status as a table."""
    window, update, active, fallback = found["window"], found["update"], found["active"], found["fallback"]
    power, cameras = (window or {}).get("power", {}), (window or {}).get("cameras", {})
    rows = [
        ("device", found["device_id"] or "not enrolled"),
        ("fleet", found["fleet"]),
        ("active", f"{active['release']} {active['precision']} ({active['runtime']})" if active else "none"),
        ("fallback", fallback["release"] if fallback else "none"),
        ("last update", _update_text(update) if update else None),
        ("known bad", ", ".join(found["known_bad"]) or None),
        ("last window", f"{window['fps']:.1f} fps, {window['detections']} detections" if window else None),
        ("power", f"{power['total_w']:.2f} W ({power['source']})" if "total_w" in power else power.get("source")),
        ("its cameras", ", ".join(f"{name}: {frames} frames" for name, frames in cameras.items()) or None),
        ("waiting to be sent", found["spooled"]),
        ("given up", _lost_text(found["lost"])),
    ]
    return table_of("device", ("what", "value"), rows)


def _identity(state: Path) -> dict[str, Any]:
    try:
        record = json.loads((state / "identity" / "identity.json").read_text())
    except (OSError, ValueError):
        return {"device_id": None, "fleet": None}
    return {"device_id": record.get("device_id"), "fleet": record.get("fleet_url")}


def _installed(installed: Installed | None) -> dict[str, Any] | None:
    if installed is None:
        return None
    record = installed.record
    return {
        "release": str(record.release),
        "precision": record.precision,
        "runtime": record.runtime,
        "slot": installed.slot,
        "built": record.built,
    }


def _update_text(update: dict[str, Any]) -> str:
    text = f"{update['release']}: {update['state']} {update['error_code'] or ''}".rstrip()
    if not update["waits_for"]:
        return text
    until = datetime.fromtimestamp(update["waits_until"], timezone.utc).astimezone()
    return f"{text}, waits for {update['waits_for'].replace('_', ' ')} until {until:%a %d %b %H:%M %Z}"


def _lost_text(lost: dict[str, int] | None) -> str | None:
    """Messages that the spool gave up since it was begun, by kind; ``None`` when that cannot be read."""
    if lost is None:
        return None
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in lost.items()) or "nothing"


def _spool(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"spooled": 0, "lost": {}, "window": None}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            count = connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0]
            lost = dict(connection.execute(_LOST).fetchall())
            row = connection.execute("SELECT payload FROM latest WHERE channel = ?", (topics.WINDOW,)).fetchone()
    except sqlite3.Error:
        return {"spooled": None, "lost": None, "window": None}
    return {"spooled": count, "lost": lost, "window": json.loads(row[0]) if row else None}
