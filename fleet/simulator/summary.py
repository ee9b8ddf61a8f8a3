"""What a simulation came to, for people and for machines."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.table import Table

from fleet.simulator.prepare import Fleet
from mien.console import table_of

_MOST_REASONS = 3


def summary_of(fleet: Fleet, seconds: float) -> dict[str, Any]:
    """The figures as JSON."""
    counts = fleet.simulation.counts
    ends = Counter(end for device in fleet.devices for end in device.memory.ended.values())
    return {
        "devices": len(fleet.devices),
        "seconds": round(seconds, 1),
        "connected_at_the_end": fleet.simulation.connected,
        "stayed_away": fleet.away,
        "connections": counts.connections,
        "lost": dict(counts.lost.most_common(_MOST_REASONS)),
        "denied": fleet.simulation.denied,
        "messages": dict(sorted(counts.sent.items())),
        "messages_per_s": round(sum(counts.sent.values()) / seconds, 1) if seconds > 0 else 0.0,
        "orders": counts.orders,
        "updates": dict(sorted(ends.items())),
        "releases": dict(sorted(Counter(device.memory.release or "none" for device in fleet.devices).items())),
        "verified": counts.checked,
        "verified_bytes": counts.check_bytes,
        "refused": dict(counts.refused),
        "hardware": dict(sorted(Counter(device.hardware.name for device in fleet.devices).items())),
        "sites": dict(sorted(Counter(device.site.name for device in fleet.devices).items())),
    }


def summary_table(found: dict[str, Any]) -> Table:
    """The same as a table."""
    rows = [
        ("devices", f"{found['devices']} ({_listed(found['hardware'])}; {_listed(found['sites'])})"),
        ("connected at the end", found["connected_at_the_end"]),
        ("stayed away", found["stayed_away"] or None),
        ("connections made", found["connections"]),
        ("connections lost", _listed(found["lost"]) or None),
        ("refused by the broker", found["denied"] or None),
        ("messages", f"{_listed(found['messages'])} ({found['messages_per_s']:g}/s)"),
        ("orders received", found["orders"]),
        ("updates ended", _listed(found["updates"]) or None),
        ("releases", _listed(found["releases"])),
        ("releases verified", f"{found['verified']} ({found['verified_bytes']:,} bytes fetched)"),
        ("releases refused", _listed(found["refused"]) or None),
        ("took", f"{found['seconds']:g} s"),
    ]
    return table_of("simulation", ("what", "value"), rows)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
