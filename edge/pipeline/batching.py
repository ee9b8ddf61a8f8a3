"""Decides how many frames go through the engine in one call, and how long a frame waits for others. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BatchMode = Literal["latency", "throughput"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """The policy by which frames of several cameras share calls of one engine.

    ``latency`` sends every frame alone, as soon as the engine is free. ``throughput`` sends as many as the engine takes
    at once, and lets the first of them wait for the others, for ``wait_s`` at most.
    """

    mode: BatchMode = "latency"
    wait_s: float = 0.02

    def most(self, engine_takes: int) -> int:
        """Frames of one call at most, for an engine that takes ``engine_takes``."""
        return 1 if self.mode == "latency" else engine_takes

    def remaining_s(self, *, ready: int, most: int, waited_s: float) -> float:
        """How much longer to wait for more frames, when ``ready`` are there; 0 is: go.

        Args:
            ready: frames that could go now; at least one.
            most: frames of one call at most.
            waited_s: since the first of them was there.
        """
        if self.mode == "latency" or ready >= most:
            return 0.0
        return max(self.wait_s - waited_s, 0.0)


LATENCY_FIRST = Batching()
