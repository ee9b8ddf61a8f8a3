"""Runs many simulated devices in one process: one loop over their sockets and over what is due.

Connections are opened a bounded number at a time, since all come from one machine and meet one broker's queue of new
connections; after a loss each device comes back by itself, with pauses that double and jitter.
"""

from __future__ import annotations

import heapq
import os
import random
import selectors
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet.simulator.checks import Asking, Checker
from fleet.simulator.device import VirtualDevice
from fleet.simulator.identities import Identity
from fleet.simulator.interface import Answer, Checked
from fleet.simulator.link import BrokerAddress, Link
from fleet.simulator.profile import ReconnectProfile
from mien.console import SILENT, Progress

_MOST_OPENING = 200
_LONGEST_WAIT_S = 0.5
_GROWTH = 2.0
_OPENING_TIMEOUT_S = 30.0
_KEEP_ALIVE_S = 10.0


@dataclass(slots=True)
class Counts:
    """What happened."""

    sent: Counter[str] = field(default_factory=Counter)
    """Messages by channel."""
    connections: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """Connections that ended or were not made, by reason."""
    orders: int = 0
    checked: int = 0
    check_bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Checks that were refused, by code."""


class Simulation:
    """A fleet of devices.

    Args:
        devices: with their identities.
        broker: where they connect.
        reconnect: how they come back.
        seed: of the jitter.
        checker: makes what verifies releases, given where answers go; ``None``: nothing is verified.
        away: devices which stay away, and for how long (``None``: for ever).
        progress: told of connections and of updates.
    """

    def __init__(
        self,
        devices: Sequence[tuple[VirtualDevice, Identity]],
        broker: BrokerAddress,
        reconnect: ReconnectProfile,
        *,
        seed: int,
        checker: Callable[[Callable[[Asking, Checked], None]], Checker] | None = None,
        away: Mapping[str, float | None] | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.counts = Counts()
        self._selector = selectors.DefaultSelector()
        self._reconnect, self._progress = reconnect, progress
        self._random = random.Random(seed)  # noqa: S311 - jitter
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer = 0
        self._opening: deque[_Seat] = deque()
        self._open_now = 0
        self._stopping = False
        self._answers: deque[tuple[Asking, Checked]] = deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._checker = checker(self._answered) if checker else None
        self._seats = {device.id: _Seat(self, device, identity, broker) for device, identity in devices}
        for device_id, seat in self._seats.items():
            self._seat(seat, (away or {}).get(device_id, 0.0))

    @property
    def selector(self) -> selectors.BaseSelector:
        """The loop's."""
        return self._selector

    @property
    def connected(self) -> int:
        """How many devices the broker has now."""
        return sum(seat.link.is_open for seat in self._seats.values())

    @property
    def denied(self) -> int:
        """Publications that the broker refused."""
        return sum(seat.link.denied for seat in self._seats.values())

    def stop(self) -> None:
        """End :meth:`run` soon; from any thread or a signal's handler."""
        self._stopping = True
        os.write(self._wake_write, b"x")

    def run(self, *, duration_s: float | None = None, each_second: Callable[[], None] = lambda: None) -> None:
        """Run until :meth:`stop`, or for so long."""
        end = time.monotonic() + duration_s if duration_s is not None else None
        self.after(1.0, lambda: self._every_second(each_second))
        self.after(_KEEP_ALIVE_S, self._keep_alive)
        while not self._stopping and (end is None or time.monotonic() < end):
            self._open_some()
            wait = self._timers[0][0] - time.monotonic() if self._timers else _LONGEST_WAIT_S
            for key, _ in self._selector.select(min(max(wait, 0.0), _LONGEST_WAIT_S)):
                if key.data is None:
                    self._take_answers()
                else:
                    key.data.ready()
            self._run_timers()

    def close(self, *, politely: bool = True) -> None:
        """End all connections; politely, each device says that it goes."""
        for seat in self._seats.values():
            seat.close(politely=politely)
        if self._checker is not None:
            self._checker.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Do something later, in the loop."""
        self._timer += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._timer, work))

    def at(self, moment: float, work: Callable[[], None]) -> None:
        """Do something at a moment of the loop's clock."""
        self._timer += 1
        heapq.heappush(self._timers, (moment, self._timer, work))

    def wants_in(self, seat: _Seat) -> None:
        """A device wants to connect, when it is its turn."""
        self._opening.append(seat)

    def opened(self) -> None:
        """One that was opening is through, or has given up."""
        self._open_now -= 1

    def pause_before(self, tries: int) -> float:
        """How long a device waits before it tries again."""
        longest = min(self._reconnect.longest_s, self._reconnect.first_s * _GROWTH**tries)
        return self._random.uniform(0.5, 1.5) * longest if tries == 0 else self._random.uniform(0.5, 1.0) * longest

    def check(self, device: VirtualDevice, asking: Any) -> None:  # noqa: ANN401 - fleet.simulator.interface.Check
        """Have a release verified for a device."""
        if self._checker is not None:
            self._checker.ask(Asking(device_id=device.id, facts=device.hardware.facts, check=asking))

    def _seat(self, seat: _Seat, away_s: float | None) -> None:
        if away_s is None:
            return
        if away_s > 0:
            self.after(away_s, lambda: self.wants_in(seat))
        else:
            self.wants_in(seat)

    def _open_some(self) -> None:
        while self._opening and self._open_now < _MOST_OPENING:
            self._open_now += 1
            self._opening.popleft().open()

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _every_second(self, each_second: Callable[[], None]) -> None:
        each_second()
        self.after(1.0, lambda: self._every_second(each_second))

    def _keep_alive(self) -> None:
        for seat in self._seats.values():
            seat.link.keep_alive()
        self.after(_KEEP_ALIVE_S, self._keep_alive)

    def _answered(self, asking: Asking, result: Checked) -> None:
        """In a checker's thread."""
        self._answers.append((asking, result))
        os.write(self._wake_write, b"x")

    def _take_answers(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return
        while self._answers:
            asking, result = self._answers.popleft()
            self.counts.checked += 1
            self.counts.check_bytes += result.bytes_read
            if result.code is not None:
                self.counts.refused[result.code] += 1
            self._seats[asking.device_id].checked(result)


class _Seat:
    """A device with its connection and its timer."""

    def __init__(
        self, simulation: Simulation, device: VirtualDevice, identity: Identity, broker: BrokerAddress
    ) -> None:
        self._simulation, self._device = simulation, device
        self._planned: float | None = None
        self._tries = 0
        self._is_opening = False
        self._generation = 0
        self.link = Link(identity, broker, device.will, selector=simulation.selector, events=self)

    def open(self) -> None:
        """It is this device's turn to connect."""
        self._is_opening = True
        self._generation += 1
        generation = self._generation
        self._simulation.after(_OPENING_TIMEOUT_S, lambda: self._too_slow(generation))
        self.link.open()

    def connected(self) -> None:
        self._opened()
        self._tries = 0
        self._simulation.counts.connections += 1
        self._do(self._device.greet(time.monotonic(), time.time()))

    def received(self, payload: bytes) -> None:
        if payload:
            self._simulation.counts.orders += 1
        self._do(self._device.told(payload, time.monotonic(), time.time()))

    def lost(self, why: str) -> None:
        self._opened()
        self._simulation.counts.lost[why[:80]] += 1
        self._simulation.after(self._simulation.pause_before(self._tries), lambda: self._simulation.wants_in(self))
        self._tries += 1

    def checked(self, result: Checked) -> None:
        """Its question was answered."""
        self._do(self._device.checked(result, time.monotonic(), time.time()))

    def close(self, *, politely: bool) -> None:
        """It goes."""
        if politely and self.link.is_open:
            self.link.say(self._device.farewell(time.time()).says)
        self.link.close(politely=politely)

    def _opened(self) -> None:
        if self._is_opening:
            self._is_opening = False
            self._simulation.opened()

    def _too_slow(self, generation: int) -> None:
        if self._is_opening and generation == self._generation:
            self.link.close(politely=False)
            self.lost("no answer")

    def _due(self) -> None:
        self._planned = None
        self._do(self._device.proceed(time.monotonic(), time.time()))

    def _do(self, answer: Answer) -> None:
        """Send what the device says, ask what it asks, and call it when it is due."""
        for one in answer.says:
            self._simulation.counts.sent[one.channel] += 1
        if answer.says:
            self.link.say(answer.says)
        if answer.check is not None:
            self._simulation.check(self._device, answer.check)
        due = self._device.due
        if due is not None and (self._planned is None or due < self._planned):
            self._planned = due
            self._simulation.at(due, self._due)
