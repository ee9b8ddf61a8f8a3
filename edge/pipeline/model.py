"""What runs in the pipeline, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge.camera.interface import Camera, Frame
from edge.engine.interface import Engine
from edge.faces.interface import EndedFace, Faces
from edge.vision.detections import Detections
from mien.release import InputSpec, Manifest, OutputSpec, Precision, ReleaseRef, Runtime

STAGES = ("capture", "letterbox", "infer", "decode", "total")
"""``capture`` is the frame's age when the letterbox took it up, ``total`` its age when the result was there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """An open engine with what is needed to feed it and to read its answer."""

    release: ReleaseRef
    precision: Precision
    runtime: Runtime
    labels: tuple[str, ...]
    input: InputSpec
    outputs: OutputSpec
    engine: Engine

    @classmethod
    def of(cls, manifest: Manifest, precision: Precision, runtime: Runtime, engine: Engine) -> LoadedModel:
        """A release's model around an open engine."""
        return cls(
            release=manifest.ref,
            precision=precision,
            runtime=runtime,
            labels=manifest.labels,
            input=manifest.input,
            outputs=manifest.outputs,
            engine=engine,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What was found in one frame."""

    source: str
    """The camera's name on this device."""
    frame: Frame
    model: LoadedModel
    detections: Detections
    """In the frame's own pixels."""
    faces: Faces | None
    """Who is who over the frames, aligned with the detections; ``None`` where nobody keeps track."""
    stages_ms: tuple[float, float, float, float, float]
    """In the order of :data:`STAGES`."""
    luma: float
    """Mean brightness of the frame, 0..255."""


class Tracker(Protocol):
    """Follows the faces of one camera; called by one thread, in the order of frames."""

    def update(self, detections: Detections, at_s: float) -> Faces:
        """Take in a frame's detections, captured at ``at_s`` (monotonic)."""

    def restart(self) -> tuple[EndedFace, ...]:
        """Forget all faces, because classes mean something else from now on; those that had a number."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A camera as the pipeline has it."""

    name: str
    camera: Camera
    max_fps: float | None = None
    """A live camera's frames beyond this rate are let go."""
    tracker: Tracker | None = None
    frame_s: float | None = None
    """Seconds from frame to frame of a film that is read as fast as can be; ``None``: the clock's time counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount:
    """What came of one camera's frames since the start."""

    name: str
    finished: int
    """Frames that went through the model and all sinks."""
    dropped: int
    """Live frames that were let go for newer ones."""
    size: tuple[int, int] | None
    """Width and height of the last frame; ``None`` before the first."""


class Sink(Protocol):
    """Takes results, in order, on one thread."""

    def accept(self, result: Result) -> None:
        """Take one result; the frame's pixels stay valid."""

    def close(self) -> None:
        """No more results will come."""
