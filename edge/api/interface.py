"""What the local API asks of the device, and what the device hands to it.

The device fills :class:`edge.api.state.DeviceState` and passes results to a :class:`LiveView`; the API reads both, and
runs frames of others through a :class:`ModelPort`. All of it may be called from any thread. What is a function here is
called only while somebody asks, so that an API which nobody uses costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from edge.camera.interface import Image
from edge.engine.interface import RawOutput
from mien.release import Precision, Runtime

CameraState = Literal["live", "away", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """The model that runs now, as a caller needs to know it."""

    name: str
    version: str
    labels: tuple[str, ...]
    input: tuple[int, int]
    """Height and width of a frame."""
    precision: Precision
    runtime: Runtime
    runtime_version: str
    top_k: int
    max_batch: int
    """The most frames that one call takes; any number from one to this one is taken."""


class ModelPort(Protocol):
    """Runs frames of a caller through the model beside the camera's own."""

    def card(self) -> ModelCard | None:
        """The model, or ``None`` while there is none."""

    def trouble(self) -> str:
        """Why the model does not answer although it is there; empty when it does."""

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """Run letterboxed frames ``uint8[N, H, W, 3]``, blue-green-red; N is at most the card's ``max_batch``.

        Raises:
            EngineError: the frames do not fit, or the engine failed.
            UnavailableError: no model is loaded, or its turn did not come in time.
        """


class NoModel:
    """A port without a model."""

    def card(self) -> ModelCard | None:
        """Nothing runs."""
        return None

    def trouble(self) -> str:
        """No model has none."""
        return ""

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """Refuse.

        Raises:
            UnavailableError: always.
        """
        from mien.errors import UnavailableError

        raise UnavailableError(f"{len(frames)} frames were sent, and no model is loaded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One face as the live page shows it."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in the frame's pixels."""
    label: str
    """Smoothed over frames where the device does that."""
    score: float
    track: int | None = None


class LiveView(Protocol):
    """Takes pictures for those who look at the live page."""

    def wants(self, camera: str) -> bool:
        """Whether a picture of this camera would be looked at now; costs no more than reading a clock."""

    def note(self, camera: str, boxes: npt.NDArray[np.float32]) -> None:
        """Take the boxes of every frame, ``float32[n, 4]``: what was found stays covered for a while."""

    def show(self, camera: str, image: Image, faces: Sequence[Face]) -> None:
        """Take a picture; it is copied before this returns. Its faces are covered too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """How one camera does."""

    name: str
    """As a person wrote it, without a password."""
    state: CameraState
    detail: str = ""
    """Why it is away, or how it is read."""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    """Through the model since the start."""
    dropped: int | None = None
    """Let go for newer ones since the start."""
    reconnects: int | None = None
    """Times it was lost and came back."""
    bad_frames: int | None = None
    """Frames that could not be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """How the device does at this moment; figures that it does not have are absent. Counts are since the start."""

    frames: int
    """Finished."""
    at_s: float
    """``time.monotonic()`` of the count."""
    power_w: float | None = None
    power_source: str = "none"
    temperature_c: Mapping[str, float] = field(default_factory=dict)
    tracks: int | None = None
    """Numbers given to faces."""
    faces: int | None = None
    """Faces that are followed now."""
    model_errors: int | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent in each stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStatus:
    """The last update of the release."""

    release: str
    state: str
    """A state of :mod:`mien.lifecycle`."""
    message: str = ""
    percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerStatus:
    """The link to the fleet."""

    connected: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsStatus:
    """What the device leaves undone to stay within heat, current and memory."""

    step: int
    """0 is everything."""
    detail: str = ""
    """Which rate and variant this step means, and why."""
