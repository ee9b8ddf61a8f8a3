"""The power monitors of a Jetson, read from sysfs: works without any of NVIDIA's programs.

Kernel 5 and later: ``/sys/class/hwmon/hwmonN`` of the INA3221 (three rails each) and, on the carrier of a Thor, of the
INA238 (the input). A channel labelled ``NC`` is not connected; channels 4 to 7 are shunt voltages and the kernel's own
sums of the others, and are passed over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from edge.power.board import Board, completed
from edge.power.interface import PowerError, PowerSample
from edge.power.rails import NOT_CONNECTED, total_w
from edge.power.sysfs import SYS, hwmon_folders, integer_of, text_of

_CHANNELS = (1, 2, 3)
_INPUT_RAIL = "VIN"
_FULL_SHUNT_NV_MA = 163_800_000
"""Largest shunt voltage of an INA3221 in nanovolts·1000: over the resistance in microohms, the limit that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Channel:
    """One rail: its files, and its critical limit."""

    label: str
    millivolt: Path | None = None
    milliampere: Path
    microwatt: Path | None = None
    limit_a: float | None = None

    def watt(self) -> float | None:
        """Power now; a small negative current is the sensor's offset and counts as nothing."""
        microwatt = integer_of(self.microwatt)
        if microwatt is not None:
            return max(microwatt, 0) / 1e6
        millivolt, milliampere = integer_of(self.millivolt), integer_of(self.milliampere)
        return None if millivolt is None or milliampere is None else max(millivolt * milliampere, 0) / 1e6

    def is_over(self) -> bool:
        """Whether the current is above the limit; the kernel's alarm is the board's to read."""
        milliampere = integer_of(self.milliampere)
        return self.limit_a is not None and milliampere is not None and milliampere / 1000 > self.limit_a


class Ina3221:
    """The power monitors.

    Args:
        sys: the root of sysfs.

    Raises:
        PowerError: there is no such monitor, or this user may not read it.
    """

    name = "ina3221"

    def __init__(self, sys: Path = SYS) -> None:
        self._channels = [
            *(channel for folder in hwmon_folders(sys, "ina3221") for channel in _rails_of(folder)),
            *(_input_of(folder) for folder in hwmon_folders(sys, "ina238")),
        ]
        self._board = Board(sys)
        if not self._channels:
            raise PowerError("this machine has no INA3221 power monitor", remedy="choose power.source: auto")
        self.read()

    def read(self) -> PowerSample:
        """Volts times amperes of each rail, now.

        Raises:
            PowerError: no rail can be read.
        """
        readings = {channel.label: channel.watt() for channel in self._channels}
        rails_w = {label: watt for label, watt in readings.items() if watt is not None}
        if not rails_w:
            raise PowerError(
                "no rail of the power monitors can be read", found=", ".join(readings), remedy="run as root"
            )
        over = tuple(channel.label for channel in self._channels if channel.is_over())
        sample = PowerSample(
            at_s=time.monotonic(),
            total_w=total_w(rails_w),
            rails_w=rails_w,
            limits_a={channel.label: channel.limit_a for channel in self._channels if channel.limit_a is not None},
            over_current=bool(over),
            alarms=over,
        )
        return completed(sample, self._board.look())

    def close(self) -> None:
        """Nothing to give back."""


def _rails_of(folder: Path) -> list[_Channel]:
    return [
        _Channel(
            label=label,
            millivolt=folder / f"in{number}_input",
            milliampere=folder / f"curr{number}_input",
            limit_a=_limit(folder, number),
        )
        for number in _CHANNELS
        if (label := text_of(folder / f"in{number}_label")) and label != NOT_CONNECTED
    ]


def _input_of(folder: Path) -> _Channel:
    return _Channel(
        label=text_of(folder / "in1_label") or _INPUT_RAIL,
        millivolt=folder / "in1_input",
        milliampere=folder / "curr1_input",
        microwatt=folder / "power1_input",
    )


def _limit(folder: Path, number: int) -> float | None:
    """The critical limit in amperes; ``None`` where it is the largest that the chip can hold, which is none."""
    limit_ma, shunt_uohm = integer_of(folder / f"curr{number}_crit"), integer_of(folder / f"shunt{number}_resistor")
    largest_ma = _FULL_SHUNT_NV_MA // shunt_uohm if shunt_uohm else 32_760
    return limit_ma / 1000 if limit_ma is not None and 0 < limit_ma < largest_ma else None
