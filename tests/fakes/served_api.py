"""The local API with a device behind it that the test fills by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge.api.interface import CameraStatus, ModelCard
from edge.api.preview import Preview
from edge.api.server import LocalApi
from edge.api.state import DeviceState
from edge.config import ApiSettings
from edge.engine.interface import EngineError, RawOutput
from mien.errors import UnavailableError
from mien.messages import Percentiles, Power, Window

CARD = ModelCard(
    name="faces",
    version="1.2.0",
    labels=("happy", "sad"),
    input=(8, 6),
    precision="int8",
    runtime="onnxruntime",
    runtime_version="1.24",
    top_k=2,
    max_batch=2,
)


class HandModel:
    """A model port whose answers say what it was asked: the first box holds sums over each frame's pixels."""

    def __init__(self, card: ModelCard | None = CARD) -> None:
        self.held = card
        self.fails: Exception | None = None
        self.ails = ""
        self.asked: list[np.ndarray] = []

    def card(self) -> ModelCard | None:
        return self.held

    def trouble(self) -> str:
        return self.ails

    def infer(self, frames: np.ndarray) -> RawOutput:
        if self.fails is not None:
            raise self.fails
        self.asked.append(frames.copy())
        count = len(frames)
        boxes = np.zeros((count, 2, 4), np.float32)
        boxes[:, 0, 0] = frames.reshape(count, -1).sum(axis=1)
        return RawOutput(
            boxes=boxes,
            scores=np.array([[0.9, 0.25]] * count, np.float32),
            classes=np.array([[1, 0]] * count, np.int32),
        )

    def break_down(self) -> None:
        self.fails = EngineError("the engine failed")

    def go_away(self) -> None:
        self.fails = UnavailableError("the engine is held up")


def window(sequence: int = 1, **more: Any) -> Window:
    """A window of ten seconds with 95 frames."""
    values: dict[str, Any] = {
        "window_id": f"w{sequence}",
        "sequence": sequence,
        "boot_id": "b",
        "started_at": 1000.0 + 10 * sequence,
        "ended_at": 1010.0 + 10 * sequence,
        "frames": 95,
        "dropped": 5,
        "fps": 9.5,
        "power": Power(source="replay", total_w=12.5, energy_j=125.0, energy_per_inference_j=1.3),
        "latency_ms": {"infer": Percentiles(p50=1, p95=2, p99=3), "total": Percentiles(p50=4, p95=5, p99=6)},
        "temperature_c": {"cpu": 50.0, "gpu": 52.5},
        "expressions": {"happy": 30, "sad": 10},
        "detections": 40,
    }
    return Window(**(values | more))


def device(model: HandModel | None = None) -> DeviceState:
    """A device with three messages waiting and one live camera."""
    state = DeviceState(device_id="lab-1", spool_length=lambda: 3, model=model or HandModel())
    state.cameras = lambda: (CameraStatus(name="door", state="live", detail="/dev/video0"),)
    return state


@contextmanager
def served(
    state: DeviceState, settings: ApiSettings | None = None, preview: Preview | None = None, **more: Any
) -> Iterator[LocalApi]:
    """The API, answering: its socket listens before its thread begins, so no call is refused."""
    api = LocalApi(settings or ApiSettings(enabled=True, port=0), state, preview=preview, **more)
    api.start()
    try:
        yield api
    finally:
        if preview is not None:
            preview.close()
        api.close()
