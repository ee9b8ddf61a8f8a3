"""Calls an engine for the pipeline and, in between, for others; keeps an eye on how it does.

An engine that can work on several batches at once gets the next one before the answer to the last is fetched. All
calls of an engine go through one lock, so that it sees one thread at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from edge.engine.interface import Engine, EngineError, OverlappingEngine, RawOutput
from mien.errors import UnavailableError

Pixels = npt.NDArray[np.uint8]

_ASIDE_PATIENCE_S = 10.0


class Inference:
    """An engine's calls.

    Args:
        engine: the engine; closed by its owner.
        clock: monotonic seconds.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._overlapping = engine if isinstance(engine, OverlappingEngine) else None
        self._clock = clock
        self._lock = threading.Lock()
        self._called_at_s: float | None = None
        self._answer: RawOutput | None = None

    @property
    def depth(self) -> int:
        """Batches that may be submitted before one is collected."""
        return self._overlapping.depth if self._overlapping else 1

    @property
    def busy_s(self) -> float:
        """How long the call under way has taken so far; 0 between calls. From any thread."""
        called_at_s = self._called_at_s
        return 0.0 if called_at_s is None else max(self._clock() - called_at_s, 0.0)

    def submit(self, frames: Pixels) -> int:
        """Hand over a batch; its ticket. One thread submits and collects, in this order.

        Raises:
            EngineError: the engine failed.
        """
        with self._lock, self._call():
            if self._overlapping:
                return self._overlapping.submit(frames)
            self._answer = self._engine.infer(frames)
            return 0

    def collect(self, ticket: int) -> RawOutput:
        """The answer to a batch.

        Raises:
            EngineError: the engine failed, or its answer holds numbers that are none.
        """
        if self._overlapping:
            with self._lock, self._call():
                return checked(self._overlapping.collect(ticket))
        answer, self._answer = self._answer, None
        if answer is None:
            raise EngineError("no batch was submitted")
        return checked(answer)

    def infer_aside(self, frames: Pixels) -> RawOutput:
        """Run a batch for somebody else, between two of the pipeline's calls; from any thread.

        Raises:
            EngineError: wrong shape or type, or the engine failed.
            UnavailableError: the engine is held up.
        """
        if not self._lock.acquire(timeout=_ASIDE_PATIENCE_S):
            raise UnavailableError(
                "the engine does not answer",
                found=f"a call that has taken {self.busy_s:.0f} s",
                remedy="try again; if it stays so, restart the agent",
            )
        try:
            with self._call():
                return checked(self._engine.infer(frames))
        finally:
            self._lock.release()

    @contextmanager
    def _call(self) -> Iterator[None]:
        self._called_at_s = self._clock()
        try:
            yield
        finally:
            self._called_at_s = None


def checked(raw: RawOutput) -> RawOutput:
    """The answer, if every number in it is one.

    Raises:
        EngineError: a score or an edge is NaN or infinite.
    """
    if not (np.isfinite(raw.scores).all() and np.isfinite(raw.boxes).all()):
        raise EngineError(
            "the engine answered with numbers that are none",
            found="NaN or infinity among scores or boxes",
            remedy="have the fleet take the device back to the release before",
        )
    return raw
