"""What the kernel says of a board besides its power: temperatures, clocks, fan, and who slows it down.

Serves every source that does not say these things itself; on a machine that is no Jetson most of it is absent. Paths as
of JetPack 5 to 7:

- throttling by heat: cooling devices that limit a clock (``cpufreq-cpu0``, ``devfreq-17000000.gpu``) and the alerts of
  the firmware (``gpu-throttle-alert``). A fan is a cooling device too, and ``hot-surface-alert`` slows nothing: neither
  counts. A lowered highest clock says nothing, since a power mode lowers it as well;
- over-current: the critical alarms of the INA3221's rails (reading one may clear it, so nobody else does), and the
  counters of ``soctherm_oc``; on Orin oc1 is under-voltage, oc2 the mean and oc3 the instantaneous current. They only
  rise; a rise since the last look is an alarm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge.power.interface import PowerSample
from edge.power.nvpmodel import PowerMode
from edge.power.rails import NOT_CONNECTED
from edge.power.sysfs import SYS, hwmon_folders, integer_of, text_of

_SLOWS_DOWN = re.compile(r"-throttle-alert$|^(thermal-)?(cpufreq|devfreq)-|-balanced$")
_GPU = re.compile(r"^gpu-gpc-\d+$|\.(gpu|ga10b|gv11b|gp10b|gm20b)$")
_OFFLINE_MILLIDEGREES = -256_000
_FULL_PWM = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardState:
    """One look at a board."""

    temperature_c: dict[str, float] = field(default_factory=dict)
    clocks_hz: dict[str, float] = field(default_factory=dict)
    gpu_percent: float | None = None
    fan_percent: float | None = None
    fan_rpm: float | None = None
    nvpmodel: str | None = None
    throttled_by: tuple[str, ...] = ()
    over_current_by: tuple[str, ...] = ()


class Board:
    """Finds the files once and reads them at each look.

    Args:
        sys: the root of sysfs.
    """

    def __init__(self, sys: Path = SYS) -> None:
        self._zones = _named(sys.glob("class/thermal/thermal_zone*"), "temp")
        self._cooling = [
            (name, path)
            for name, path in _named(sys.glob("class/thermal/cooling_device*"), "cur_state")
            if _SLOWS_DOWN.search(name)
        ]
        self._gpu = next((path for path in sorted(sys.glob("class/devfreq/*")) if _GPU.search(path.name)), None)
        self._emc = sys / "kernel/debug/bpmp/debug/clk/emc/rate"
        self._cores = sorted(sys.glob("devices/system/cpu/cpufreq/policy*/scaling_cur_freq")) or sorted(
            sys.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
        )
        self._pwm = [folder / "pwm1" for folder in hwmon_folders(sys, "pwmfan", "pwm-fan")]
        self._rpm = [
            folder / name
            for folder in hwmon_folders(sys, "pwm_tach", "pwmfan", "pwm-fan", "tachometer")
            for name in ("rpm", "fan1_input")
        ]
        self._counters = [path for folder in hwmon_folders(sys, "soctherm_oc") for path in folder.glob("oc*_event_cnt")]
        self._counts = self._count()
        self._alarms = [
            (label, folder / f"curr{channel}_crit_alarm")
            for folder in hwmon_folders(sys, "ina3221")
            for channel in (1, 2, 3)
            if (label := text_of(folder / f"in{channel}_label")) and label != NOT_CONNECTED
        ]
        self._mode = PowerMode()

    def look(self) -> BoardState:
        """What the board says now."""
        load = integer_of(self._gpu / "device/load") if self._gpu else None
        pwm = _first(self._pwm)
        return BoardState(
            temperature_c=self._temperatures(),
            clocks_hz=self._clocks(),
            gpu_percent=None if load is None else load / 10,
            fan_percent=None if pwm is None else 100 * pwm / _FULL_PWM,
            fan_rpm=_first(self._rpm),
            nvpmodel=self._mode.name(),
            throttled_by=tuple(name for name, path in self._cooling if (integer_of(path) or 0) > 0),
            over_current_by=(*(label for label, path in self._alarms if integer_of(path) == 1), *self._risen()),
        )

    def _temperatures(self) -> dict[str, float]:
        found = ((name.removesuffix("-thermal"), integer_of(path)) for name, path in self._zones)
        return {
            name: value / 1000
            for name, value in found
            if value is not None and value > _OFFLINE_MILLIDEGREES and not name.lower().startswith("pmic")
        }

    def _clocks(self) -> dict[str, float]:
        gpu = integer_of(self._gpu / "cur_freq") if self._gpu else None
        cores_khz = [khz for path in self._cores if (khz := integer_of(path)) is not None]
        clocks = {"gpu": gpu, "cpu": max(cores_khz) * 1000 if cores_khz else None, "emc": integer_of(self._emc)}
        return {name: float(hz) for name, hz in clocks.items() if hz is not None}

    def _risen(self) -> tuple[str, ...]:
        before, self._counts = self._counts, self._count()
        return tuple(name for name, count in sorted(self._counts.items()) if count > before.get(name, count))

    def _count(self) -> dict[str, int]:
        counts = ((path.name.removesuffix("_event_cnt"), integer_of(path)) for path in self._counters)
        return {name: count for name, count in counts if count is not None}


def completed(sample: PowerSample, board: BoardState) -> PowerSample:
    """A source's reading with what it does not say itself; flags of either side stand."""
    alarms = (*sample.alarms, *board.throttled_by, *board.over_current_by)
    return replace(
        sample,
        temperature_c=sample.temperature_c or board.temperature_c,
        clocks_hz={**board.clocks_hz, **sample.clocks_hz},
        gpu_percent=board.gpu_percent if sample.gpu_percent is None else sample.gpu_percent,
        fan_percent=board.fan_percent if sample.fan_percent is None else sample.fan_percent,
        fan_rpm=board.fan_rpm if sample.fan_rpm is None else sample.fan_rpm,
        nvpmodel=sample.nvpmodel or board.nvpmodel,
        throttled=sample.throttled or bool(board.throttled_by),
        over_current=sample.over_current or bool(board.over_current_by),
        alarms=tuple(dict.fromkeys(alarms)),
    )


def _named(folders: Iterable[Path], value: str) -> list[tuple[str, Path]]:
    """(type, file) of each folder that says its type, by number: device10 comes after device2."""
    ordered = sorted(folders, key=lambda path: (len(path.name), path.name))
    return [(name, path / value) for path in ordered if (name := text_of(path / "type"))]


def _first(paths: list[Path]) -> int | None:
    return next((value for path in paths if (value := integer_of(path)) is not None), None)
