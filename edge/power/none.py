"""No power source: says so and gives no watts. What the kernel says of the board stays readable."""

from __future__ import annotations

import time
from pathlib import Path

from edge.power.board import Board, BoardState, completed
from edge.power.interface import PowerSample
from edge.power.sysfs import SYS


class NoPower:
    """The source of a machine that measures no power.

    Args:
        sys: the root of sysfs.
    """

    name = "none"

    def __init__(self, sys: Path = SYS) -> None:
        self._board = Board(sys)

    def read(self) -> PowerSample | None:
        """The board without its power; ``None`` where the kernel says nothing either."""
        state = self._board.look()
        return None if state == BoardState() else completed(PowerSample(at_s=time.monotonic()), state)

    def close(self) -> None:
        """Nothing to give back."""
