"""Intel and AMD package power from the RAPL energy counters in ``/sys/class/powercap``.

The counters count microjoules and wrap at ``max_energy_range_uj``; power is their difference over time. Reading them
needs root on most systems. The figure is the processor package's, not the whole machine's.
"""

from __future__ import annotations

import time
from pathlib import Path

from edge.power.interface import PowerError, PowerSample

POWERCAP = Path("/sys/class/powercap")


class Rapl:
    """Power of the processor packages.

    Args:
        root: the powercap folder.

    Raises:
        PowerError: there are no counters, or this user may not read them.
    """

    name = "rapl"

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = sorted(zone for zone in root.glob("intel-rapl:*") if zone.name.count(":") == 1)
        if not self._zones:
            raise PowerError("this machine has no RAPL energy counters", remedy="choose power.source: auto")
        self._wraps_uj = {zone: _number(zone / "max_energy_range_uj") for zone in self._zones}
        self._before = (time.monotonic(), self._counters())

    def read(self) -> PowerSample | None:
        """Mean power since the reading before; ``None`` when no time has passed."""
        before_s, before = self._before
        now_s, now = time.monotonic(), self._counters()
        if now_s <= before_s:
            return None
        self._before = (now_s, now)
        rails_w = {
            f"package-{zone.name.partition(':')[2]}": counted_uj(before[zone], now[zone], self._wraps_uj[zone])
            / 1e6
            / (now_s - before_s)
            for zone in self._zones
        }
        return PowerSample(at_s=now_s, total_w=sum(rails_w.values()), rails_w=rails_w)

    def close(self) -> None:
        """Nothing to give back."""

    def _counters(self) -> dict[Path, int]:
        return {zone: _number(zone / "energy_uj") for zone in self._zones}


def counted_uj(before: int, now: int, wraps_at: int) -> int:
    """Microjoules between two counter readings, over one wrap at most."""
    return now - before if now >= before else now + wraps_at - before


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise PowerError(
            f"could not read {path}",
            found=str(error),
            remedy="run as root, allow reading energy_uj, or choose power.source: none",
        ) from error
