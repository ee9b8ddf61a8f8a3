"""A model's place in the pipeline, with the buffers that its frames travel in: made once, used over and over."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.camera.interface import Frame
from edge.engine.interface import RawOutput
from edge.pipeline.inference import Inference
from edge.pipeline.model import LoadedModel
from edge.vision.letterbox import Geometry, Letterbox

Pixels = npt.NDArray[np.uint8]


@dataclass(slots=True, kw_only=True, eq=False)
class Passenger:
    """One frame of a job."""

    lane: int
    frame: Frame
    geometry: Geometry
    luma: float
    capture_ms: float
    letterbox_ms: float


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """The frames of one engine call, on their way."""

    seat: Seat
    buffer: Pixels
    """``uint8[B, H, W, 3]``; the first ``len(passengers)`` of B hold frames."""
    passengers: list[Passenger] = field(default_factory=list)
    ticket: int = 0
    began_s: float = 0.0
    infer_ms: float = 0.0
    raw: RawOutput | None = None

    @property
    def block(self) -> Pixels:
        """What the engine gets: all of the buffer where its shape is fixed, else the filled part."""
        fixed = self.seat.model.engine.info.fixed_batch
        return self.buffer if fixed else self.buffer[: len(self.passengers)]

    def clear(self) -> None:
        """Let go of frames and answer; the buffer stays."""
        self.passengers.clear()
        self.raw = None


@dataclass(slots=True, eq=False)
class Seat:
    """A model with its jobs; a job that is not free is on its way through."""

    model: LoadedModel
    inference: Inference
    letterbox: Letterbox
    frames_a_call: int
    jobs: int
    free: list[Job] = field(default_factory=list)
    guests: int = 0
    """Callers from outside the pipeline that use the engine right now."""

    @classmethod
    def of(cls, model: LoadedModel) -> Seat:
        """Make the buffers: one that is filled, and as many as the engine works on at once."""
        size, inference = model.input, Inference(model.engine)
        most = model.engine.info.input_shape[0]
        seat = cls(model, inference, Letterbox(size.width, size.height, size.pad_value), most, 1 + inference.depth)
        shape = (most, size.height, size.width, 3)
        seat.free = [Job(seat=seat, buffer=np.zeros(shape, np.uint8)) for _ in range(seat.jobs)]
        return seat

    @property
    def is_idle(self) -> bool:
        """Whether no frame is on its way through this model, and nobody else uses its engine."""
        return len(self.free) == self.jobs and not self.guests
