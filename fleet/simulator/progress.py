"""Shows a running simulation: first who is connected, then whose updates have ended."""

from __future__ import annotations

from fleet.simulator.prepare import Fleet
from mien.console import Progress
from mien.lifecycle import TERMINAL, UpdateState


class Watch:
    """Looks at a fleet each second.

    Args:
        fleet: which.
        progress: where it is shown.
    """

    def __init__(self, fleet: Fleet, progress: Progress) -> None:
        self._fleet, self._progress = fleet, progress
        self._expected = len(fleet.devices) - fleet.away
        self._connected = 0
        self._ended = 0
        self._all_there = False
        progress.start("connect", self._expected)

    def look(self) -> None:
        """Once a second."""
        connected = self._fleet.simulation.connected
        if not self._all_there:
            self._progress.advance(max(0, connected - self._connected))
            self._connected = max(self._connected, connected)
            if connected >= self._expected:
                self._all_there = True
                self._progress.start("updates ended")
            return
        ended = sum(len(device.memory.ended) for device in self._fleet.devices)
        busy = sum(device.state not in TERMINAL | {UpdateState.IDLE} for device in self._fleet.devices)
        sent = sum(self._fleet.simulation.counts.sent.values())
        self._progress.advance(
            max(0, ended - self._ended), note=f"{busy} under way, {connected} connected, {sent:,} messages"
        )
        self._ended = max(self._ended, ended)
