"""Decides which power source a device uses: the one asked for, or the best that answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.power.ina3221 import Ina3221
from edge.power.interface import PowerSource
from edge.power.jtop import Jtop
from edge.power.ladder import Ladder, Rung
from edge.power.none import NoPower
from edge.power.nvml import Nvml
from edge.power.rapl import Rapl
from edge.power.replay import ReplayedPower
from edge.power.tegrastats import Tegrastats
from mien.errors import ConfigError

AUTO_ORDER = ("jtop", "tegrastats", "ina3221", "nvml", "rapl")


def open_power(name: str, *, interval_s: float = 1.0, replay: Path | None = None) -> PowerSource:
    """Open a power source.

    Args:
        name: ``auto`` takes the first that answers of jtop, tegrastats, ina3221, nvml, rapl, the recording, else none;
            when it goes away, the next lower one, and the better one again when it is back.
        interval_s: how often it will be read.
        replay: the recording.

    Raises:
        PowerError: a source asked for by name is not there.
        ConfigError: the name is unknown, or ``replay`` has no file.
    """
    openers: dict[str, Callable[[], PowerSource]] = {
        "jtop": lambda: Jtop(interval_s),
        "tegrastats": lambda: Tegrastats(interval_s),
        "ina3221": Ina3221,
        "nvml": Nvml,
        "rapl": Rapl,
        "replay": lambda: _replay(replay),
        "none": NoPower,
    }
    if name == "auto":
        order = AUTO_ORDER if replay is None else (*AUTO_ORDER, "replay")
        return Ladder([Rung(rung, openers[rung]) for rung in (*order, "none")])
    if name not in openers:
        raise ConfigError(f"'{name}' is no power source", wanted=", ".join(("auto", *openers)))
    return openers[name]() if name in {"replay", "none"} else Ladder([Rung(name, openers[name])])


def _replay(path: Path | None) -> ReplayedPower:
    if path is None:
        raise ConfigError("power source 'replay' needs a recording", remedy="set power.replay to a tegrastats log")
    return ReplayedPower(path)
