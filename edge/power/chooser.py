"""Decides which power source a device uses: the one asked for, or the best that answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from edge.power.ina3221 import Ina3221
from edge.power.interface import PowerError, PowerSource
from edge.power.jtop import Jtop
from edge.power.none import NoPower
from edge.power.rapl import Rapl
from edge.power.replay import ReplayedPower
from edge.power.tegrastats import Tegrastats
from mien.errors import ConfigError

_log = logging.getLogger(__name__)

AUTO_ORDER = ("jtop", "tegrastats", "ina3221", "rapl")


def open_power(name: str, *, interval_s: float = 1.0, replay: Path | None = None) -> PowerSource:
    """Open a power source.

    Args:
        name: ``auto`` takes the first that answers of jtop, tegrastats, ina3221, rapl, the recording, else none.
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
        "rapl": Rapl,
        "replay": lambda: _replay(replay),
        "none": NoPower,
    }
    if name == "auto":
        return _first_that_answers(openers, AUTO_ORDER if replay is None else (*AUTO_ORDER, "replay"))
    if name not in openers:
        raise ConfigError(f"'{name}' is no power source", wanted=", ".join(("auto", *openers)))
    return openers[name]()


def _replay(path: Path | None) -> ReplayedPower:
    if path is None:
        raise ConfigError("power source 'replay' needs a recording", remedy="set power.replay to a tegrastats log")
    return ReplayedPower(path)


def _first_that_answers(openers: dict[str, Callable[[], PowerSource]], order: tuple[str, ...]) -> PowerSource:
    for name in order:
        try:
            return openers[name]()
        except PowerError as error:
            _log.debug("power source %s: %s", name, error)
    return NoPower()
