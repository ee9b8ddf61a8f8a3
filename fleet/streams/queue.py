"""Decides which block is sent next, and which request is turned away: fair among devices, bounded, within rates.

Devices share the rate by bytes (start-time fair queueing), each also has a rate of its own, and what waits is bounded
for each and for all. Who is turned away is told when to come back: as if all who were had stood in line. Without a
clock or a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Generic, TypeVar

from mien.streams import StreamRefused

_LEAST_RETRY_S, _MOST_RETRY_S = 1.0, 900.0
_BURST_S = 0.25
_KEPT = 20_000

F = TypeVar("F")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How much goes out, and how much waits."""

    bytes_per_s: float
    device_bytes_per_s: float
    queue_bytes: int
    device_queue_bytes: int


@dataclass(frozen=True, slots=True)
class Job(Generic[F]):
    """A block that a device asked for."""

    device_id: str
    file: F
    request_id: int
    block_bytes: int
    index: int
    length: int


@dataclass(slots=True)
class _Line(Generic[F]):
    """What waits for one device, in the order in which it asked."""

    tag: float
    jobs: deque[Job[F]] = field(default_factory=deque)
    keys: set[tuple[F, int, int]] = field(default_factory=set)
    bytes: int = 0


class FairQueue(Generic[F]):
    """Blocks that wait to be sent.

    Args:
        rates: the bounds.
        now: seconds of a clock that never goes back; so in all calls.
    """

    def __init__(self, rates: Rates, *, now: float) -> None:
        self._rates = rates
        self._lines: dict[str, _Line[F]] = {}
        self._turns: list[tuple[float, str]] = []
        """Devices whose next block may go, the one whose turn it is first."""
        self._resting: list[tuple[float, str]] = []
        """Devices that have had their own rate, by when they may have more."""
        self._device_free_at: dict[str, float] = {}
        self._free_at = now
        self._virtual = 0.0
        self._turned_away, self._counted_at = 0.0, now
        self.bytes = 0
        """What waits."""

    @property
    def devices(self) -> int:
        """How many devices wait for something."""
        return len(self._lines)

    def offer(self, jobs: Sequence[Job[F]], *, now: float) -> int:
        """Take the blocks of one request, of one device; those that wait already keep their place.

        Returns:
            How many were new.

        Raises:
            StreamRefused: ``Busy``: too much waits, for this device or for all.
        """
        line = self._lines.get(jobs[0].device_id)
        new = [job for job in jobs if line is None or _key(job) not in line.keys]
        length = sum(job.length for job in new)
        self._check_room(line, length, now)
        if not new:
            return 0
        if line is None:
            line = self._begun(jobs[0].device_id, now)
        line.jobs.extend(new)
        line.keys.update(map(_key, new))
        line.bytes += length
        self.bytes += length
        return len(new)

    def take(self, *, now: float) -> Job[F] | None:
        """The next block, or none that may go now."""
        self._wake(now)
        if not self._turns or now < self._free_at:
            return None
        tag, device_id = heappop(self._turns)
        line = self._lines[device_id]
        job = line.jobs.popleft()
        line.keys.discard(_key(job))
        line.bytes -= job.length
        self.bytes -= job.length
        self._virtual, line.tag = tag, tag + job.length
        self._free_at = max(self._free_at, now - _BURST_S) + job.length / self._rates.bytes_per_s
        free_at = max(self._device_free_at.get(device_id, now), now - _BURST_S)
        self._device_free_at[device_id] = free_at + job.length / self._rates.device_bytes_per_s
        if line.jobs:
            self._line_up(device_id, line, now)
        else:
            del self._lines[device_id]
            self._forget_rested(now)
        return job

    def wait_s(self, *, now: float) -> float | None:
        """How long nothing may go; ``None`` when nothing waits."""
        if not self._lines:
            return None
        due = self._free_at if self._turns else max(self._free_at, self._resting[0][0])
        return max(due - now, 0.0)

    def _check_room(self, line: _Line[F] | None, length: int, now: float) -> None:
        rates = self._rates
        waiting = line.bytes if line else 0
        if waiting and waiting + length > rates.device_queue_bytes:
            raise StreamRefused(
                "Busy",
                f"{waiting} bytes wait for this device; at most {rates.device_queue_bytes}",
                retry_after_s=max(waiting / rates.device_bytes_per_s, _LEAST_RETRY_S),
            )
        if self.bytes and self.bytes + length > rates.queue_bytes:
            drained = (now - self._counted_at) * rates.bytes_per_s
            self._turned_away, self._counted_at = max(self._turned_away - drained, 0.0) + length, now
            ahead_s = (self.bytes + self._turned_away) / rates.bytes_per_s
            raise StreamRefused(
                "Busy",
                f"{self.bytes} bytes wait for {self.devices} devices; at most {rates.queue_bytes}",
                retry_after_s=min(max(ahead_s, _LEAST_RETRY_S), _MOST_RETRY_S),
            )

    def _begun(self, device_id: str, now: float) -> _Line[F]:
        line: _Line[F] = _Line(tag=self._virtual)
        self._lines[device_id] = line
        self._line_up(device_id, line, now)
        return line

    def _line_up(self, device_id: str, line: _Line[F], now: float) -> None:
        free_at = self._device_free_at.get(device_id, now)
        if free_at > now:
            heappush(self._resting, (free_at, device_id))
        else:
            heappush(self._turns, (line.tag, device_id))

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            _, device_id = heappop(self._resting)
            line = self._lines[device_id]
            line.tag = max(line.tag, self._virtual)
            heappush(self._turns, (line.tag, device_id))

    def _forget_rested(self, now: float) -> None:
        if len(self._device_free_at) > _KEPT:
            self._device_free_at = {name: at for name, at in self._device_free_at.items() if at > now - _BURST_S}


def _key(job: Job[F]) -> tuple[F, int, int]:
    return job.file, job.block_bytes, job.index
