"""The demo's result: one document for machines, three tables for people. It only arranges what others measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mien.console import table_of

VARIANT_FIELDS = ("release", "precision", "path", "map50", "map50_95", "size_bytes", "latency_ms")
ROLLOUT_FIELDS = (
    "release",
    "state",
    "devices_reached",
    "devices_succeeded",
    "devices_rolled_back",
    "halted_because",
    "seconds",
)


def device_row(device: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One device's figures: medians over its latest telemetry windows that saw frames.

    Args:
        device: as ``GET /api/v1/devices`` gives it; ``id`` and ``release`` are used.
        windows: telemetry windows in the form of :class:`mien.messages.Window`, any order.
    """
    seen = [window for window in windows if window.get("frames")]
    power = [window.get("power") or {} for window in seen]
    sources = sorted({str(sample.get("source", "none")) for sample in power}) or ["none"]
    return {
        "id": device["id"],
        "fps": _median(window.get("fps") for window in seen),
        "latency_p95_ms": _median((window.get("latency_ms") or {}).get("total", {}).get("p95") for window in seen),
        "power_w": _median(sample.get("total_w") for sample in power),
        "power_source": ", ".join(sources),
        "energy_j_per_inference": _median(sample.get("energy_per_inference_j") for sample in power),
        "release": device.get("release"),
    }


def picked(record: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """The named fields of a record, absent ones as ``None``."""
    return {field: record.get(field) for field in fields}


def tables(summary: Mapping[str, Any]) -> Group:
    """The summary as tables for a terminal."""
    halted = [
        Text(f"{row['release']} was halted: {row['halted_because']}")
        for row in summary["rollouts"]
        if row["halted_because"]
    ]
    return Group(_variants(summary["variants"]), _devices(summary["devices"]), _rollouts(summary["rollouts"]), *halted)


def _variants(rows: Sequence[Mapping[str, Any]]) -> Table:
    return table_of(
        "Variants, measured on the validation images with the device's code",
        ("release", "variant", ">mAP50", ">mAP50-95", ">size", ">latency"),
        [
            (
                row["release"],
                str(row["path"]).removeprefix("model.").removesuffix(".onnx"),
                _number(row["map50"], 3),
                _number(row["map50_95"], 3),
                _unit(row["size_bytes"], "MB", 2, scale=1e-6),
                _unit(row["latency_ms"], "ms", 1),
            )
            for row in rows
        ],
    )


def _devices(rows: Sequence[Mapping[str, Any]]) -> Table:
    return table_of(
        "Devices, median of their last telemetry windows",
        ("device", "release", ">fps", ">p95", ">power", "source", ">J/inference"),
        [
            (
                row["id"],
                row["release"],
                _number(row["fps"], 1),
                _unit(row["latency_p95_ms"], "ms", 1),
                _unit(row["power_w"], "W", 2),
                row["power_source"],
                _number(row["energy_j_per_inference"], 3),
            )
            for row in rows
        ],
    )


def _rollouts(rows: Sequence[Mapping[str, Any]]) -> Table:
    return table_of(
        "Rollouts",
        ("release", "state", ">reached", ">succeeded", ">rolled back", ">took"),
        [
            (
                row["release"],
                row["state"],
                row["devices_reached"],
                row["devices_succeeded"],
                row["devices_rolled_back"],
                _unit(row["seconds"], "s", 0),
            )
            for row in rows
        ],
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 4) if known else None


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _unit(value: float | None, unit: str, digits: int, *, scale: float = 1.0) -> str | None:
    return None if value is None else f"{value * scale:.{digits}f} {unit}"
