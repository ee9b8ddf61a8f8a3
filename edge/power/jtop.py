"""jetson-stats (``jtop``): the richest source on a Jetson. Its library is optional and its service must run.

Three habits of its client are guarded against: it may wait for ever for a service that listens but does not answer, it
raises whatever its thread met, and when the service's worker is gone it repeats the last report. Its total is not used:
on boards without an input rail it adds all rails up, parts included.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge.power.board import Board, completed
from edge.power.interface import PowerError, PowerSample
from edge.power.rails import total_w
from edge.power.sysfs import SYS

_SOCKET = Path("/run/jtop.sock")
"""Looked for before the library is imported, which costs memory and looks for other programs."""
_OFFLINE_C = -256
_NO_LIMIT_MA = 32_760
"""What an INA3221 behind 5 mΩ holds when no limit was set."""
_ANSWERS_WITHIN_S = 10.0
_ENDS_WITHIN_S = 5.0
_STALE_INTERVALS = 5
_HZ_PER_KHZ = 1e3

_REMEDIES = (
    (
        "mismatch version",
        "install the same jetson-stats for the service and for mien, then sudo systemctl restart jtop.service",
    ),
    ("mismatch of python", "let the service and mien run jetson-stats on Pythons that can talk to each other"),
    ("not active", "sudo systemctl enable --now jtop.service; if there is no such unit: sudo jtop --install-service"),
    ("access", "sudo usermod -aG jtop THIS-USER and log in again; a unit: SupplementaryGroups=jtop"),
    ("authentication", "install the same jetson-stats for the service and for mien, and restart jtop.service"),
)


class Jtop:
    """A connection to the jtop service.

    Args:
        interval_s: how often the service reports.
        sys: the root of sysfs, for what the service does not say.
        answers_within_s: how long it may take to answer at first.

    Raises:
        PowerError: the library is not installed, or its service does not run, refuses this user or does not answer.
    """

    name = "jtop"

    def __init__(self, interval_s: float, sys: Path = SYS, *, answers_within_s: float = _ANSWERS_WITHIN_S) -> None:
        self._jtop = _client(interval_s)
        try:
            _ATTEMPTS.start(self._jtop, answers_within_s)
        except PowerError:
            _ended(self._jtop)
            raise
        self._board = Board(sys)
        self._stale_after_s = max(_ANSWERS_WITHIN_S, _STALE_INTERVALS * interval_s)
        self._report: object = None
        self._report_at_s = time.monotonic()

    def read(self) -> PowerSample | None:
        """The service's newest report; ``None`` when it is the one that was read before.

        Raises:
            PowerError: the service went away, or reports nothing new any more.
        """
        now_s = time.monotonic()
        try:
            alive = self._jtop.ok(spin=True)
            report = self._jtop.uptime
            sample = sample_from(self._jtop, at_s=now_s)
        except Exception as error:  # a supervisor: the client raises whatever its thread met
            raise PowerError("the jtop service went away", found=_words(error), remedy=_remedy(error)) from error
        if not alive:
            raise PowerError("the jtop service went away", remedy=_remedy("not active"))
        if report != self._report:
            self._report, self._report_at_s = report, now_s
            return completed(sample, self._board.look())
        if now_s - self._report_at_s > self._stale_after_s:
            raise PowerError("the jtop service reports nothing new", remedy="sudo systemctl restart jtop.service")
        return None

    def close(self) -> None:
        """Close the connection."""
        _ended(self._jtop)


def _client(interval_s: float) -> Any:  # noqa: ANN401 - the library has no types
    if importlib.util.find_spec("jtop") is None:
        raise PowerError("jetson-stats is not installed", remedy="pip install 'mien[jetson]'")
    if not _SOCKET.exists():
        raise PowerError("the jtop service does not run", found=f"no {_SOCKET}", remedy=_remedy("not active"))
    try:
        from jtop import jtop

        return jtop(interval=interval_s)
    except (ImportError, OSError) as error:
        raise PowerError(
            "jetson-stats cannot be used", found=str(error), remedy="pip install 'mien[jetson]'"
        ) from error


class _Attempts:
    """Connects within a time. The library may hang in an attempt for ever, so there is never more than one."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def start(self, client: Any, within_s: float) -> None:  # noqa: ANN401
        """Connect ``client``.

        Raises:
            PowerError: it cannot be connected, or not in time.
        """
        if self._thread is not None and self._thread.is_alive():
            raise PowerError("an earlier connection to jtop still waits", remedy="sudo systemctl restart jtop.service")
        self._failure = None
        self._thread = threading.Thread(target=self._run, args=(client.start,), name="jtop-connect", daemon=True)
        self._thread.start()
        self._thread.join(timeout=within_s)
        if self._thread.is_alive():
            found = f"nothing within {within_s:.0f} s"
            raise PowerError(
                "the jtop service does not answer", found=found, remedy="sudo systemctl restart jtop.service"
            )
        if self._failure is not None:
            error = self._failure
            raise PowerError("the jtop service refuses", found=_words(error), remedy=_remedy(error)) from error

    def _run(self, start: Callable[[], None]) -> None:
        try:
            start()
        except Exception as error:  # noqa: BLE001 - a supervisor: handed to the thread that waits
            self._failure = error


_ATTEMPTS = _Attempts()


def _ended(client: Any) -> None:  # noqa: ANN401
    with suppress(RuntimeError):
        client.close()
        client.join(timeout=_ENDS_WITHIN_S)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _remedy(error: Exception | str) -> str:
    words = str(error).lower()
    return next((remedy for sign, remedy in _REMEDIES if sign in words), "sudo systemctl restart jtop.service")


def sample_from(jetson: Any, *, at_s: float) -> PowerSample:  # noqa: ANN401
    """A report of jtop (milliwatts, milliamperes, kilobytes, kilohertz) as a reading."""
    rails = _rails(jetson.power)
    rails_w = {name: max(rail["power"], 0) / 1000 for name, rail in rails.items() if "power" in rail}
    limits_a = {name: rail["crit"] / 1000 for name, rail in rails.items() if 0 < rail.get("crit", 0) < _NO_LIMIT_MA}
    over = tuple(name for name, limit in limits_a.items() if rails[name].get("curr", 0) / 1000 > limit)
    ram = jetson.memory.get("RAM", {})
    loads = [load for entry in jetson.gpu.values() if (load := entry.get("status", {}).get("load")) is not None]
    fans = [jetson.fan[name] for name in jetson.fan]
    idle = jetson.cpu.get("total", {}).get("idle")
    return PowerSample(
        at_s=at_s,
        total_w=total_w(rails_w),
        rails_w=rails_w,
        limits_a=limits_a,
        temperature_c=_temperatures(jetson.temperature),
        clocks_hz=_clocks(jetson),
        fan_percent=_largest(fan.get("speed") for fan in fans),
        fan_rpm=_largest(fan.get("rpm") for fan in fans),
        nvpmodel=jetson.nvpmodel.name if jetson.nvpmodel else None,
        gpu_percent=max(loads) if loads else None,
        cpu_percent=None if idle is None else min(max(100.0 - idle, 0.0), 100.0),
        ram_bytes=_bytes(ram.get("used")),
        ram_total_bytes=_bytes(ram.get("tot")),
        over_current=bool(over),
        alarms=over,
    )


def _rails(power: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All rails that are on; the library keeps the input rail apart, under ``tot``."""
    total = power.get("tot", {})
    named = {total["name"]: total} if "name" in total else {}
    return {name: rail for name, rail in {**power.get("rail", {}), **named}.items() if rail.get("online", True)}


def _temperatures(sensors: Mapping[str, Any]) -> dict[str, float]:
    return {
        name.lower(): sensor["temp"]
        for name, sensor in sensors.items()
        if sensor.get("online", True) and sensor["temp"] != _OFFLINE_C and not name.lower().startswith("pmic")
    }


def _clocks(jetson: Any) -> dict[str, float]:  # noqa: ANN401
    khz = {
        "gpu": [entry.get("freq", {}).get("cur") for entry in jetson.gpu.values()],
        "cpu": [core.get("freq", {}).get("cur") for core in jetson.cpu.get("cpu", ()) if core.get("online")],
        "emc": [jetson.memory.get("EMC", {}).get("cur")],
    }
    known = {name: [value for value in values if value is not None] for name, values in khz.items()}
    return {name: max(values) * _HZ_PER_KHZ for name, values in known.items() if values}


def _largest(lists: Any) -> float | None:  # noqa: ANN401
    values = [value for found in lists for value in found or ()]
    return float(max(values)) if values else None


def _bytes(kilobytes: int | None) -> int | None:
    return None if kilobytes is None else kilobytes * 1024
