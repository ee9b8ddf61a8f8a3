"""The INA3221 power monitors of a Jetson, read from sysfs: works without any of NVIDIA's programs.

Kernel 5 and later: ``/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmonN/{inN_label,inN_input mV,currN_input mA}``. A channel
labelled ``NC`` is not connected; channel 7 is the kernel's own sum of the others and is passed over.
"""

from __future__ import annotations

import time
from pathlib import Path

from edge.power.interface import PowerError, PowerSample
from edge.power.tegrastats import INPUT_RAILS

I2C = Path("/sys/bus/i2c/drivers/ina3221")
THERMAL = Path("/sys/class/thermal")
_CHANNELS = (1, 2, 3)


class Ina3221:
    """The power monitors.

    Args:
        root: the driver's folder.
        thermal: the folder of thermal zones.

    Raises:
        PowerError: there is no such monitor.
    """

    name = "ina3221"

    def __init__(self, root: Path = I2C, thermal: Path = THERMAL) -> None:
        self._thermal = thermal
        self._channels = {
            label: (
                folder / f"in{channel}_input",
                folder / f"curr{channel}_input",
                folder / f"curr{channel}_crit_alarm",
            )
            for folder in sorted(root.glob("*/hwmon/hwmon*"))
            for channel in _CHANNELS
            if (label := _text(folder / f"in{channel}_label")) and label != "NC"
        }
        if not self._channels:
            raise PowerError("this machine has no INA3221 power monitor", remedy="choose power.source: auto")

    def read(self) -> PowerSample:
        """Volts times amperes of each rail, now."""
        rails_w: dict[str, float] = {}
        over_current = False
        for label, (volt, ampere, alarm) in self._channels.items():
            millivolt, milliampere = _integer(volt), _integer(ampere)
            if millivolt is not None and milliampere is not None:
                rails_w[label] = millivolt * milliampere / 1e6
            over_current |= _integer(alarm) == 1
        total = next((rails_w[name] for name in INPUT_RAILS if name in rails_w), None)
        return PowerSample(
            at_s=time.monotonic(),
            total_w=total if total is not None else (sum(rails_w.values()) if rails_w else None),
            rails_w=rails_w,
            temperature_c=temperatures(self._thermal),
            over_current=over_current,
        )

    def close(self) -> None:
        """Nothing to give back."""


def temperatures(thermal: Path = THERMAL) -> dict[str, float]:
    """Degrees Celsius of each thermal zone that is on."""
    found = {}
    for zone in sorted(thermal.glob("thermal_zone*")):
        name, millidegrees = _text(zone / "type"), _integer(zone / "temp")
        if name and millidegrees is not None and millidegrees > -256_000:  # noqa: PLR2004 - the kernel's "offline"
            found[name.removesuffix("-thermal")] = millidegrees / 1000
    return found


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _integer(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.lstrip("-").isdigit() else None
