"""Computes several calls of one engine at once, each on a thread of its own.

For engines of the CPU, where two frames side by side on one thread each take less time than one after the other on two
threads: a network's layers end together, and threads wait for each other at the end of each. What it costs is latency,
since every frame takes as long as on one thread, and the memory of another call.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from edge.engine.interface import Engine, EngineError, EngineInfo, RawOutput


class ParallelEngine:
    """An :class:`edge.engine.interface.OverlappingEngine` over an engine whose ``infer`` any thread may call any time.

    Args:
        engine: that engine; closed with this one.
        calls_at_once: threads that compute; one frame more may wait, so that none of them does.
    """

    def __init__(self, engine: Engine, *, calls_at_once: int) -> None:
        self._engine = engine
        self.depth = calls_at_once + 1
        self._threads = ThreadPoolExecutor(calls_at_once, thread_name_prefix="engine")
        self._under_way: dict[int, Future[RawOutput]] = {}
        self._last = 0

    @property
    def info(self) -> EngineInfo:
        """What was opened."""
        return self._engine.info

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """See :class:`edge.engine.interface.Engine`."""
        return self._engine.infer(frames)

    def submit(self, frames: npt.NDArray[np.uint8]) -> int:
        """See :class:`edge.engine.interface.OverlappingEngine`."""
        if len(self._under_way) >= self.depth:
            raise EngineError(
                "too many batches are under way", found=str(len(self._under_way)), wanted=f"at most {self.depth}"
            )
        self._last += 1
        self._under_way[self._last] = self._threads.submit(self._engine.infer, frames)
        return self._last

    def collect(self, ticket: int) -> RawOutput:
        """See :class:`edge.engine.interface.OverlappingEngine`."""
        future = self._under_way.pop(ticket, None)
        if future is None:
            raise EngineError("no such batch is under way", found=str(ticket))
        return future.result()

    def close(self) -> None:
        """Let what is under way end, then free the engine."""
        self._threads.shutdown(cancel_futures=True)
        self._under_way.clear()
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
