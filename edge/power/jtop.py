"""jetson-stats (``jtop``): the richest source on a Jetson. Its library is optional and its service must run."""

from __future__ import annotations

import time
from typing import Any

from edge.power.interface import PowerError, PowerSample

_OFFLINE_C = -256


class Jtop:
    """A connection to the jtop service.

    Args:
        interval_s: how often the service reports.

    Raises:
        PowerError: the library is not installed, or its service does not run or refuses this user.
    """

    name = "jtop"

    def __init__(self, interval_s: float) -> None:
        try:
            from jtop import JtopException, jtop
        except ImportError as error:
            raise PowerError("jetson-stats is not installed", remedy="pip install 'mien[jetson]'") from error
        self._jtop: Any = jtop(interval=interval_s)
        try:
            self._jtop.start()
        except (JtopException, OSError, ValueError) as error:
            raise PowerError(
                "the jtop service did not answer",
                found=str(error),
                remedy="sudo systemctl restart jtop.service, and add this user to the group jtop",
            ) from error

    def read(self) -> PowerSample | None:
        """The service's newest report; ``None`` when the service went away."""
        if not self._jtop.ok(spin=True):
            return None
        return sample_from(
            self._jtop.power, self._jtop.temperature, self._jtop.gpu, self._jtop.memory, at_s=time.monotonic()
        )

    def close(self) -> None:
        """Close the connection."""
        self._jtop.close()


def sample_from(power: Any, temperature: Any, gpu: Any, memory: Any, *, at_s: float) -> PowerSample:  # noqa: ANN401
    """The dictionaries of jtop (milliwatts, kilobytes) as a reading."""
    rails = power.get("rail", {})
    loads = [entry["status"]["load"] for entry in gpu.values() if "load" in entry.get("status", {})]
    used = memory.get("RAM", {}).get("used")
    total = power.get("tot", {}).get("power")
    return PowerSample(
        at_s=at_s,
        total_w=None if total is None else total / 1000,
        rails_w={name: rail["power"] / 1000 for name, rail in rails.items() if rail.get("online", True)},
        temperature_c={
            name: entry["temp"]
            for name, entry in temperature.items()
            if entry.get("online", True) and entry["temp"] != _OFFLINE_C
        },
        gpu_percent=max(loads) if loads else None,
        ram_bytes=None if used is None else used * 1024,
        over_current=any(0 < rail.get("crit", 0) < rail.get("curr", 0) for rail in rails.values()),
    )
