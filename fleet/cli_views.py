"""How the command line shows what the service answers. Pure: JSON in, rows and tables out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from mien.console import table_of
from mien.durations import said

_Row = Sequence[object]
_STATES = {
    "finished": "green",
    "running": "cyan",
    "paused": "yellow",
    "stopping": "red",
    "stopped": "red",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "REJECTED": "red",
    "IN_PROGRESS": "cyan",
    "soaking": "cyan",
    "preauthorised": "cyan",
    "pending": "yellow",
    "rejected": "red",
    "revoked": "red",
    "error": "red",
}


def device_rows(devices: Iterable[Mapping[str, Any]]) -> list[_Row]:
    """One row for each device."""
    return [
        (
            device["id"],
            _device_state(device),
            device["release"],
            number(device["fps"], 1),
            number(device["latency_p95_ms"], 1),
            number(device["power_w"], 2),
            device["power_source"],
        )
        for device in devices
    ]


def fact_rows(values: Mapping[str, Any], prefix: str = "") -> list[_Row]:
    """One row for each value, those of nested objects under dotted names."""
    rows: list[_Row] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += fact_rows(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, None if value is None else escape(str(value))))
    return rows


def release_rows(releases: Iterable[Mapping[str, Any]]) -> list[_Row]:
    """One row for each variant."""
    rows: list[_Row] = []
    for release in releases:
        for variant in release["variants"]:
            accuracy = variant.get("accuracy") or {}
            rows.append(
                (
                    release["release"],
                    variant["precision"],
                    variant["format"],
                    number(accuracy.get("map50"), 3),
                    number(accuracy.get("map50_95"), 3),
                    number(variant["size_bytes"] / 1e6, 2),
                    number(variant.get("latency_ms"), 1),
                )
            )
    return rows


def rollout_rows(rollouts: Iterable[Mapping[str, Any]]) -> list[_Row]:
    """One row for each rollout."""
    return [
        (
            rollout["id"],
            rollout["release"],
            coloured(rollout["state"]),
            f"{rollout['devices_reached']}/{rollout['devices_total']}",
            rollout["devices_succeeded"],
            rollout["devices_rolled_back"],
            None if rollout["seconds"] is None else f"{rollout['seconds']:.0f} s",
        )
        for rollout in rollouts
    ]


def rollout_reasons(rollouts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why rollouts were halted or paused, a line for each."""
    told = [(rollout["id"], rollout["halted_because"] or rollout["paused_because"]) for rollout in rollouts]
    return [f"[bold]{number}[/] {escape(reason)}" for number, reason in told if reason]


def rollout_view(rollout: Mapping[str, Any]) -> Group:
    """A rollout with its waves and devices."""
    head = f"[bold]rollout {rollout['id']}[/] {rollout['release']} {coloured(rollout['state'])}"
    because = rollout["halted_because"] or rollout["paused_because"]
    parts: list[Any] = [head]
    if because:
        parts.append(f"[red]{escape(because)}[/]")
    parts += [_waves(rollout), _executions(rollout)]
    engines = rollout["engines"]
    if engines["built"] or engines["saved"]:
        parts.append(f"engines: {engines['built']} built on devices, {engines['saved']} builds saved")
    return Group(*parts)


def audit_rows(entries: Iterable[Mapping[str, Any]]) -> list[_Row]:
    """One row for each entry."""
    return [
        (
            dt.datetime.fromtimestamp(entry["at"], dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),
            entry["actor"],
            entry["action"],
            entry["subject"],
            escape(", ".join(f"{name}={value}" for name, value in entry["details"].items() if value)),
        )
        for entry in entries
    ]


def coloured(state: str) -> str:
    """A state in its colour."""
    colour = _STATES.get(state)
    return f"[{colour}]{state}[/]" if colour else state


def number(value: float | None, digits: int) -> str | None:
    """A number with so many digits, or nothing."""
    return None if value is None else f"{value:.{digits}f}"


def _device_state(device: Mapping[str, Any]) -> str:
    if device["state"] != "accepted":
        return coloured(device["state"])
    if not device["online"]:
        return "[dim]offline[/]"
    return "[yellow]silent[/]" if device["silent"] else "[green]online[/]"


def _waves(rollout: Mapping[str, Any]) -> Table:
    rows = [
        (
            wave["name"],
            coloured(wave["state"]),
            wave["devices"],
            wave["succeeded"],
            wave["failed"],
            (wave["verdict"] or {}).get("outcome"),
        )
        for wave in rollout["waves"]
    ]
    return table_of("Waves", ("wave", "state", ">devices", ">succeeded", ">failed", "verdict"), rows)


def _executions(rollout: Mapping[str, Any]) -> Table:
    names = [wave["name"] for wave in rollout["waves"]]
    rows = [
        (
            execution["device"],
            names[execution["wave"]],
            coloured(execution["state"]),
            "yes" if execution["rolled_back"] else "",
            escape(execution["detail"]),
        )
        for execution in rollout["executions"]
    ]
    return table_of("Devices", ("device", "wave", "state", "rolled back", "detail"), rows)


def engine_rows(engines: Iterable[Mapping[str, Any]]) -> list[_Row]:
    """One row for each engine that was offered."""
    return [
        (
            engine["id"][:12],
            f"{engine['record']['release']['name']}@{engine['record']['release']['version']}",
            engine["record"]["precision"],
            engine["record"]["hardware_class"],
            engine["record"]["device_id"],
            engine["state"],
            number(engine["record"]["engine"]["size_bytes"] / 1e6, 2),
            number(engine["record"]["build_s"], 1),
        )
        for engine in engines
    ]


def preview_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """The waves of a dry run."""
    return [
        (
            wave["name"] + (" (after approval)" if wave["approval"] else ""),
            str(len(wave["devices"])),
            str(wave["offline"]),
            str(wave["must_succeed"]),
            "by type" if wave["may_fail"] is None else str(wave["may_fail"]),
            str(wave["rounds"]),
            "?" if wave["seconds"] is None else said(wave["seconds"]),
            ", ".join(wave["devices"][:3]) + (" …" if len(wave["devices"]) > 3 else ""),  # noqa: PLR2004
        )
        for wave in found["waves"]
    ]


def preview_notes(found: dict[str, Any]) -> list[str]:
    """What a dry run says besides."""
    told = []
    if found["left_out"]:
        told.append(f"Devices in no wave: {found['left_out']}.")
    if found["seconds"] is None:
        told.append("How long it takes is not known: no past rollout to measure, or too few devices in it.")
    else:
        told.append(
            f"At least {said(found['seconds'])} in all, at {said(found['device_s'])} a device as measured in "
            "past rollouts, without waiting for windows, people or devices that are offline."
        )
    return told
