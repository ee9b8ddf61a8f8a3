"""An engine without a runtime: answers with what the test says."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge.engine.interface import EngineError, EngineInfo, RawOutput
from edge.pipeline.model import LoadedModel
from mien.release import InputSpec, OutputSpec, ReleaseRef


class FakeEngine:
    """Finds one box of class ``answer`` in each frame; ``gate`` holds it up until it is set.

    The score is ``score``, or with a batch of several frames each frame's own middle pixel as a share of 255.
    """

    def __init__(self, *, answer: int = 0, size: int = 32, gate: threading.Event | None = None, batch: int = 1) -> None:
        self.answer = answer
        self.score: float | None = None if batch > 1 else 0.9
        self.gate = gate
        self.calls = 0
        self.closed = False
        self.fails = False
        self._size = size
        self._batch = batch

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            runtime="onnxruntime",
            runtime_version="0",
            precision="fp32",
            path=Path("fake"),
            input_shape=(self._batch, self._size, self._size, 3),
            top_k=1,
            threads=1,
        )

    def infer(self, frames: np.ndarray) -> RawOutput:
        if self.closed:
            raise AssertionError("a closed engine was used")
        if self.gate is not None:
            self.gate.wait(10)
        if self.fails:
            raise EngineError("the engine failed")
        self.calls += 1
        return self.answer_to(frames)

    def answer_to(self, frames: np.ndarray) -> RawOutput:
        """One box a frame."""
        count, middle = len(frames), self._size // 2
        seen = frames[:, middle, middle, 0].astype(np.float32)[:, None] / 255
        return RawOutput(
            boxes=np.tile(np.array([4, 4, 12, 12], np.float32), (count, 1, 1)),
            scores=seen if self.score is None else np.full((count, 1), self.score, np.float32),
            classes=np.full((count, 1), self.answer, np.int32),
        )

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OverlappingFake(FakeEngine):
    """Takes up to ``depth`` batches before it must be asked for the first answer; scores tell the frames apart."""

    def __init__(self, *, depth: int) -> None:
        super().__init__()
        self.score = None
        self.depth = depth
        self.most_under_way = 0
        self._under_way: dict[int, RawOutput] = {}
        self._tickets = 0

    def submit(self, frames: np.ndarray) -> int:
        if len(self._under_way) == self.depth:
            raise AssertionError("more batches than the engine takes")
        self._tickets += 1
        self._under_way[self._tickets] = self.answer_to(frames.copy())
        self.most_under_way = max(self.most_under_way, len(self._under_way))
        return self._tickets

    def collect(self, ticket: int) -> RawOutput:
        threading.Event().wait(0.005)  # computing: the next frame arrives meanwhile
        return self._under_way.pop(ticket)


def fake_model(engine: FakeEngine, version: str = "1.0.0", *, size: int = 32) -> LoadedModel:
    """A release's model around an engine."""
    return LoadedModel(
        release=ReleaseRef(name="faces", version=version),
        precision="fp32",
        runtime="onnxruntime",
        labels=("happy", "sad"),
        input=InputSpec(width=size, height=size),
        outputs=OutputSpec(top_k=1),
        engine=engine,
    )
