"""A GPU in memory that is as lazy as it may be: queued work is done when somebody waits for it, and only then.

So whatever a stream does not wait for has not happened yet: a copy that nobody held the work for brings old frames, and
a buffer that is filled again too early brings new ones.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import numpy as np

from edge.engine.cuda import Gpu
from edge.engine.interface import EngineError

ORIN = Gpu(name="Orin", compute_capability="8.7", integrated=True, clock_khz=1_300_000)
DISCRETE = Gpu(name="Orin", compute_capability="8.7", integrated=False, clock_khz=1_300_000)
"""What no Orin is: with memory of its own."""


class FakeCuda:
    """Streams, memory, events and graphs; every handle is unique in the process.

    Args:
        gpu: what it says of itself.
        free_mb: of memory.
        graphs: whether work can be captured.
        fails: which call of a method fails, such as ``{"allocate": 2}``.
    """

    name = "fake"
    memory: ClassVar[dict[int, np.ndarray]] = {}
    by_stream: ClassVar[dict[int, FakeCuda]] = {}
    _next: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(
        self, gpu: Gpu = ORIN, *, free_mb: int = 4096, graphs: bool = True, fails: dict[str, int] | None = None
    ) -> None:
        self._gpu, self._free_bytes, self.graphs = gpu, free_mb << 20, graphs
        self._fails, self.calls = fails or {}, Counter[str]()
        self.held: dict[int, str] = {}
        """What was made and not given back, by handle."""
        self.uploaded: list[bytes] = []
        self.entered = 0
        self.threads: set[int] = set()
        """Those in which the device was made current."""
        self.closed = False
        self.stream, self.uploads = self._made("stream"), self._made("stream")
        self._queues: dict[int, deque[Callable[[], None]]] = {self.stream: deque(), self.uploads: deque()}
        self._marks: dict[int, list[int]] = {}
        self._places: dict[tuple[int, int], int] = {}
        self._captured: list[Callable[[], None]] | None = None
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self.by_stream[self.stream] = self

    def gpu(self) -> Gpu:
        return self._gpu

    def free_bytes(self) -> int:
        return self._free_bytes

    @contextmanager
    def current(self) -> Iterator[None]:
        self.entered += 1
        self.threads.add(threading.get_ident())
        try:
            yield
        finally:
            self.entered -= 1

    def allocate(self, size_bytes: int) -> int:
        address = self._called("allocate")
        self.memory[address] = np.zeros(size_bytes, np.uint8)
        return address

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self._called("pinned")
        return np.zeros(shape, dtype)

    def mapped(self, shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, int]:
        address = self._called("mapped")
        host = np.zeros(shape, dtype)
        self.memory[address] = host.reshape(-1).view(np.uint8)
        return host, address

    def upload(self, address: int, source: np.ndarray) -> None:
        self._called("upload", kept=False)
        if len(self.memory[address]) != source.nbytes:
            raise EngineError("a copy beyond its memory")

        def copy() -> None:
            self.memory[address][:] = source.reshape(-1).view(np.uint8)
            self.uploaded.append(source.tobytes())

        self._queues[self.uploads].append(copy)

    def download(self, target: np.ndarray, address: int) -> None:
        self._called("download", kept=False)
        flat = target.reshape(-1).view(np.uint8)
        self._queues[self.stream].append(partial(np.copyto, flat, self.memory[address]))

    def event(self) -> int:
        event = self._called("event")
        self._marks[event] = [0, 0]
        return event

    def record(self, event: int, stream: int) -> None:
        self._called("record", kept=False)
        self._marks[event][0] += 1
        place = self._marks[event][0]
        self._places[event, place] = stream
        self._queues[stream].append(partial(self._marks[event].__setitem__, 1, place))

    def hold(self, stream: int, event: int) -> None:
        self._called("hold", kept=False)
        self._queues[stream].append(partial(self._reach, event, self._marks[event][0]))

    def wait(self, event: int) -> None:
        self._called("wait", kept=False)
        self._reach(event, self._marks[event][0])

    def synchronise(self) -> None:
        self._called("synchronise", kept=False)
        for queue in self._queues.values():
            while queue:
                queue.popleft()()

    def capture(self, work: Callable[[], None]) -> int:
        self._captured = []
        try:
            work()
            graph = self._called("capture")
            self._graphs[graph] = self._captured
        finally:
            self._captured = None
        return graph

    def launch(self, graph: int) -> None:
        self._called("launch", kept=False)
        self._queues[self.stream].extend(self._graphs[graph])

    def queue(self, work: Callable[[], None]) -> None:
        """Work of another library on the stream of the work."""
        self._called("work", kept=False)
        assert self.entered, "the device is not current in this thread"
        (self._queues[self.stream] if self._captured is None else self._captured).append(work)

    def close(self) -> None:
        for handle in self.held:
            self.memory.pop(handle, None)
        self.held.clear()
        self.closed = True

    def _reach(self, event: int, place: int) -> None:
        while self._marks[event][1] < place:
            self._queues[self._places[event, place]].popleft()()

    def _called(self, name: str, *, kept: bool = True) -> int:
        self.calls[name] += 1
        if self.closed or self._fails.get(name) == self.calls[name]:
            raise EngineError(f"{name} failed", found="closed" if self.closed else "made to fail")
        return self._made(name) if kept else 0

    def _made(self, kind: str) -> int:
        handle = next(self._next)
        self.held[handle] = kind
        return handle
