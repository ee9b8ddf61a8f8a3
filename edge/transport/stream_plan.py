"""Decides which blocks of a file to ask for, and when to ask again: flow control without a clock or a socket.

A window says how many blocks may be on their way. It grows by one with each windowful that comes and is halved when
something was lost or the fleet sheds load. Silence is waited out twice as long each time. A block that others have
overtaken counts as lost sooner: the fleet answers one device in the order in which it asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mien.streams import MOST_ASKED_BYTES, MOST_BITMAP_BITS

_FIRST_WINDOW = 4.0
_LONGEST_SILENCE_S = 60.0
_LONGEST_SHEDDING_S = 600.0
_MOST_SILENCES = 8
"""Times the attempts: a fleet that says a word after each silence is no better than one that is away."""
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.01, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How a device asks."""

    block_bytes: int = 32 * 1024
    most_in_flight: int = 8
    """Blocks that may be on their way at once."""
    patience_s: float = 5.0
    """Silence after which what was asked for counts as lost; twice as long each time."""
    attempts: int = 8
    """Silences in a row after which the fleet counts as away."""


@dataclass(frozen=True, slots=True)
class _Flight:
    asked_at: float
    round: int


class BlockPlan:
    """What is on its way of one file.

    Args:
        pacing: how the device asks.
        now: seconds of a clock that never goes back; so in all calls.
        spread: between a half and one, at random: keeps devices from asking in step.
    """

    def __init__(self, pacing: Pacing, *, now: float, spread: Callable[[], float] = lambda: 1.0) -> None:
        self._pacing, self._spread = pacing, spread
        self._window = min(_FIRST_WINDOW, float(pacing.most_in_flight))
        self._flying: dict[int, _Flight] = {}
        self._round = self._round_heard = 0
        self._heard_at = now
        self._shed_since: float | None = None
        self._not_before = now
        self._silences = 0
        self.fruitless = 0
        """Silences in a row."""
        self.lapses = 0
        """Silences and sheddings in all: what came before one says nothing about the pace of what comes after."""

    @property
    def window(self) -> int:
        """How many blocks may be on their way now."""
        return int(self._window)

    @property
    def in_flight(self) -> frozenset[int]:
        """Blocks that are on their way."""
        return frozenset(self._flying)

    @property
    def is_exhausted(self) -> bool:
        """Whether the fleet was silent so often that asking again is no use now."""
        return self.fruitless >= self._pacing.attempts or self._silences >= _MOST_SILENCES * self._pacing.attempts

    def is_shed(self, now: float) -> bool:
        """Whether the fleet has sent nothing but refusals of load for very long."""
        return self._shed_since is not None and now - self._shed_since > _LONGEST_SHEDDING_S

    def ask(self, missing: Iterable[int], *, now: float) -> list[int]:
        """Blocks to ask for now, which count as on their way from here on; mostly none."""
        self._look(now)
        room = self.window - len(self._flying)
        if now < self._not_before or room <= 0 or (self._flying and 2 * room < self.window):
            return []
        chosen = self._chosen(missing, room)
        if chosen:
            self._round += 1
            self._flying |= {index: _Flight(now, self._round) for index in chosen}
        return chosen

    def came(self, index: int, *, now: float) -> None:
        """A block arrived, asked for or not."""
        flight = self._flying.pop(index, None)
        self._heard_at, self.fruitless, self._shed_since = now, 0, None
        if flight is not None:
            self._round_heard = max(self._round_heard, flight.round)
            self._window = min(self._window + 1 / self._window, float(self._pacing.most_in_flight))

    def shed(self, blocks: Iterable[int], *, now: float, retry_after_s: float) -> None:
        """The fleet has no room for these blocks now; that is no failure, it is asked again later."""
        for index in blocks:
            self._flying.pop(index, None)
        self._heard_at, self.fruitless = now, 0
        self.lapses += 1
        self._shed_since = now if self._shed_since is None else self._shed_since
        self._halve()
        self._not_before = max(self._not_before, now + retry_after_s * self._spread())

    def begin_anew(self) -> None:
        """The file has other content now: nothing of what is on its way counts."""
        self._flying.clear()

    def wait_s(self, now: float) -> float:
        """How long nothing is due."""
        due = [now + _LONGEST_LOOK_S]
        if now < self._not_before:
            due.append(self._not_before)
        if self._flying:
            due.append(self._silent_since() + self._silence_s())
        return max(min(due) - now, _SHORTEST_LOOK_S)

    def _look(self, now: float) -> None:
        if not self._flying:
            return
        if now - self._silent_since() >= self._silence_s():
            self._flying.clear()
            self.fruitless += 1
            self._silences += 1
            self.lapses += 1
            self._halve()
            self._not_before = now + self._spread()
            return
        patience = self._pacing.patience_s
        overtaken = [
            index
            for index, flight in self._flying.items()
            if flight.round < self._round_heard and now - flight.asked_at >= patience
        ]
        for index in overtaken:
            del self._flying[index]
        if overtaken:
            self._halve()

    def _silent_since(self) -> float:
        return max(self._heard_at, *(flight.asked_at for flight in self._flying.values()))

    def _silence_s(self) -> float:
        return min(self._pacing.patience_s * 2.0**self.fruitless, max(_LONGEST_SILENCE_S, self._pacing.patience_s))

    def _halve(self) -> None:
        self._window = max(1.0, self._window / 2)

    def _chosen(self, missing: Iterable[int], most: int) -> list[int]:
        most = min(most, max(1, MOST_ASKED_BYTES // self._pacing.block_bytes))
        chosen: list[int] = []
        for index in missing:
            if len(chosen) >= most or (chosen and index - chosen[0] >= MOST_BITMAP_BITS):
                break
            if index not in self._flying:
                chosen.append(index)
        return chosen
