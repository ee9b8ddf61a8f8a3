"""Where the frames of all cameras wait for the engine: one lane a camera, served in turn.

A live camera's lane has room for one frame, and the latest wins; a file's lane has room for a whole call of the engine
(two frames at least), and its reader waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge.camera.interface import Frame
from edge.pipeline.batching import LATENCY_FIRST, Batching
from edge.pipeline.slots import EndOfStream

_LEAST_ROOM = 2

Taken = tuple[int, Frame]
"""A lane's number and its frame."""


@dataclass(slots=True, eq=False)
class _Lane:
    live: bool
    frames: deque[Frame] = field(default_factory=deque)
    arrived_at_s: float = 0.0
    finished: bool = False
    dropped: int = 0
    """Since the last look; those before are in ``dropped_in_all``."""
    dropped_in_all: int = 0


class Intake:
    """The lanes of all cameras.

    Args:
        live: for each camera, whether its latest frame wins.
        batching: how long frames wait for others.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        live: Sequence[bool],
        *,
        batching: Batching = LATENCY_FIRST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = [_Lane(live=one) for one in live]
        self._batching = batching
        self._clock = clock
        self._changed = threading.Condition()
        self._next = 0
        self._taken: list[Taken] = []
        self._room = _LEAST_ROOM

    def put(self, lane: int, frame: Frame) -> None:
        """Hand over a frame: displaces a live camera's older one, waits for room in a file's lane."""
        with self._changed:
            own = self._lanes[lane]
            waited_for = bool(own.frames)
            if own.live:
                own.dropped += len(own.frames)
                own.frames.clear()
            else:
                self._changed.wait_for(lambda: own.finished or len(own.frames) < self._room)
            if own.finished:
                return
            if not waited_for:  # a newer frame takes over the patience that the older one used up
                own.arrived_at_s = self._clock()
            own.frames.append(frame)
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until a frame is there.

        Raises:
            EndOfStream: every camera has finished and nothing is left.
        """
        with self._changed:
            self._wait_for_one()

    def take(self, engine_takes: int) -> Sequence[Taken]:
        """The frames of the next call, from each camera in turn; waits for them as the policy says.

        Args:
            engine_takes: frames that one call takes at most.

        Returns:
            A list that the next call overwrites.

        Raises:
            EndOfStream: every camera has finished and nothing is left.
        """
        most = self._batching.most(engine_takes)
        with self._changed:
            self._room = max(_LEAST_ROOM, most)
            self._wait_for_one()
            while (left_s := self._patience_s(most)) > 0:
                self._changed.wait(left_s)
            self._collect(most)
            self._changed.notify_all()
            return self._taken

    def finish(self, lane: int) -> None:
        """No more frames will come from this camera; ends its waits."""
        with self._changed:
            self._lanes[lane].finished = True
            self._changed.notify_all()

    def finish_all(self) -> None:
        """No more frames will come at all."""
        for lane in range(len(self._lanes)):
            self.finish(lane)

    @property
    def dropped(self) -> tuple[int, ...]:
        """For each camera, the live frames displaced since the start."""
        return tuple(lane.dropped_in_all + lane.dropped for lane in self._lanes)

    def take_dropped(self) -> list[int]:
        """For each camera, the live frames displaced since the last call."""
        with self._changed:
            counts = [lane.dropped for lane in self._lanes]
            for lane in self._lanes:
                lane.dropped_in_all += lane.dropped
                lane.dropped = 0
            return counts

    def _wait_for_one(self) -> None:
        self._changed.wait_for(lambda: self._has() or all(lane.finished for lane in self._lanes))
        if not self._has():
            raise EndOfStream

    def _has(self) -> bool:
        return any(lane.frames for lane in self._lanes)

    def _patience_s(self, most: int) -> float:
        ready = sum(len(lane.frames) for lane in self._lanes)
        if ready >= sum(self._could_hold(lane) for lane in self._lanes):
            return 0.0
        waited_s = self._clock() - min(lane.arrived_at_s for lane in self._lanes if lane.frames)
        return self._batching.remaining_s(ready=ready, most=most, waited_s=waited_s)

    def _could_hold(self, lane: _Lane) -> int:
        if lane.finished:
            return len(lane.frames)
        return 1 if lane.live else self._room

    def _collect(self, most: int) -> None:
        self._taken.clear()
        count = len(self._lanes)
        while len(self._taken) < most and self._has():
            lane = self._lanes[self._next]
            if lane.frames:
                self._taken.append((self._next, lane.frames.popleft()))
            self._next = (self._next + 1) % count
