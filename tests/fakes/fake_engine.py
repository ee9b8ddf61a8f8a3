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
    """Finds one box of class ``answer`` in each frame; ``gate`` holds it up until it is set."""

    def __init__(self, *, answer: int = 0, size: int = 32, gate: threading.Event | None = None) -> None:
        self.answer = answer
        self.gate = gate
        self.calls = 0
        self.closed = False
        self.fails = False
        self._size = size

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            runtime="onnxruntime",
            runtime_version="0",
            precision="fp32",
            path=Path("fake"),
            input_shape=(1, self._size, self._size, 3),
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
        return RawOutput(
            boxes=np.array([[[4, 4, 12, 12]]], np.float32),
            scores=np.array([[0.9]], np.float32),
            classes=np.array([[self.answer]], np.int32),
        )

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
