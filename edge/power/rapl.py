"""Intel and AMD package power from the RAPL energy counters in ``/sys/class/powercap``.

The counters count microjoules and wrap at ``max_energy_range_uj``; power is their difference over time. Reading them
needs root on most systems. The figure is the processor packages', not the whole machine's: a zone named ``psys`` holds
the packages too, and is shown beside them without being added.
"""

from __future__ import annotations

import time
from pathlib import Path

from edge.power.board import Board, completed
from edge.power.interface import PowerError, PowerSample
from edge.power.sysfs import SYS, text_of

POWERCAP = Path("/sys/class/powercap")
_HOLDS_OTHERS = "psys"


class Rapl:
    """Power of the processor packages.

    Args:
        root: the powercap folder.
        sys: the root of sysfs, for temperatures.

    Raises:
        PowerError: there are no counters, or this user may not read them.
    """

    name = "rapl"

    def __init__(self, root: Path = POWERCAP, sys: Path = SYS) -> None:
        zones = sorted(zone for zone in root.glob("intel-rapl:*") if zone.name.count(":") == 1)
        if not zones:
            raise PowerError("this machine has no RAPL energy counters", remedy="choose power.source: auto")
        self._zones = {zone: text_of(zone / "name") or f"package-{zone.name.partition(':')[2]}" for zone in zones}
        self._wraps_uj = {zone: _number(zone / "max_energy_range_uj") for zone in zones}
        self._before = (time.monotonic(), self._counters())
        self._board = Board(sys)

    def read(self) -> PowerSample | None:
        """Mean power since the reading before; ``None`` when no time has passed.

        Raises:
            PowerError: the counters can no longer be read.
        """
        before_s, before = self._before
        now_s, now = time.monotonic(), self._counters()
        if now_s <= before_s:
            return None
        self._before = (now_s, now)
        rails_w = {
            name: counted_uj(before[zone], now[zone], self._wraps_uj[zone]) / 1e6 / (now_s - before_s)
            for zone, name in self._zones.items()
        }
        packages = [watt for name, watt in rails_w.items() if name != _HOLDS_OTHERS]
        sample = PowerSample(at_s=now_s, total_w=sum(packages) if packages else None, rails_w=rails_w)
        return completed(sample, self._board.look())

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
