"""Reads a pipeline for the local API: its model as a port, its cameras, its pulse."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge.api.interface import CameraState, CameraStatus, ModelCard, Pulse
from edge.engine.interface import RawOutput
from edge.faces.tracker import FaceTracker
from edge.pipeline.model import LoadedModel, Source
from edge.pipeline.pipeline import Pipeline
from edge.power.sampler import PowerSampler

_HANGS_AFTER_S = 5.0
_FAILS_AFTER = 3
"""Calls in a row: one that fails alone is a lost frame, no state."""


class PipelinePort:
    """A :class:`edge.api.interface.ModelPort` on what a pipeline runs.

    Args:
        pipeline: its model may be exchanged at any time.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def card(self) -> ModelCard | None:
        """The model that runs."""
        model = self._pipeline.model
        return card_of(model) if model is not None else None

    def trouble(self) -> str:
        """Whether its engine hangs in a call, or failed at the last few."""
        busy_s, errors = self._pipeline.engine_busy_s, self._pipeline.model_errors_in_a_row
        if busy_s >= _HANGS_AFTER_S:
            return f"the engine has not answered for {busy_s:.0f} s"
        if errors >= _FAILS_AFTER:
            return f"the engine failed {errors} times in a row: {self._pipeline.last_model_error}"
        return ""

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """Run frames between two of the camera's; a graph of a fixed batch is filled up with blank ones.

        Raises:
            EngineError: the frames do not fit, or the engine failed.
            UnavailableError: no model runs, or the engine is held up.
        """
        model = self._pipeline.model
        missing = 0
        if model is not None and model.engine.info.fixed_batch:
            missing = max(model.engine.info.input_shape[0] - len(frames), 0)
        if not missing:
            return self._pipeline.infer_aside(frames)
        blank = np.zeros((missing, *frames.shape[1:]), np.uint8)
        raw = self._pipeline.infer_aside(np.concatenate([frames, blank]))
        count = len(frames)
        return RawOutput(boxes=raw.boxes[:count], scores=raw.scores[:count], classes=raw.classes[:count])


def card_of(model: LoadedModel) -> ModelCard:
    """What a caller needs to know of a model."""
    info = model.engine.info
    batch, height, width, _ = info.input_shape
    return ModelCard(
        name=model.release.name,
        version=model.release.version,
        labels=model.labels,
        input=(height, width),
        precision=model.precision,
        runtime=model.runtime,
        runtime_version=info.runtime_version,
        top_k=info.top_k,
        max_batch=batch,
    )


def cameras_of(pipeline: Pipeline, sources: Sequence[Source]) -> tuple[CameraStatus, ...]:
    """How the cameras do.

    Args:
        pipeline: reads them.
        sources: the same that it was made with.
    """
    ended, errors = pipeline.wait(0), dict(pipeline.camera_errors)
    counts = {count.name: count for count in pipeline.counts()}

    def status(source: Source) -> CameraStatus:
        camera, error = source.camera, errors.get(source.name)
        state: CameraState = "ended" if ended or error is not None else "away" if camera.is_away else "live"
        count = counts[source.name]
        width, height = count.size or (None, None)
        facts = " · ".join(text for text in (camera.name, camera.away_because or camera.description) if text)
        return CameraStatus(
            name=source.name,
            state=state,
            detail=str(error) if error is not None else facts,
            width=width,
            height=height,
            frames=count.finished,
            dropped=count.dropped,
            reconnects=camera.reconnects,
            bad_frames=camera.bad_frames,
        )

    return tuple(status(source) for source in sources)


def pulse_of(pipeline: Pipeline, power: PowerSampler, sources: Sequence[Source]) -> Pulse:
    """How the device does at this moment; faces are counted where all cameras follow them."""
    newest = power.newest()
    trackers = [source.tracker for source in sources if isinstance(source.tracker, FaceTracker)]
    follows = bool(trackers) and len(trackers) == len(sources)
    return Pulse(
        frames=pipeline.finished_frames,
        at_s=time.monotonic(),
        power_w=newest.total_w if newest else None,
        power_source=power.name,
        temperature_c=newest.temperature_c if newest else {},
        tracks=sum(tracker.numbers_given for tracker in trackers) if follows else None,
        faces=sum(tracker.followed for tracker in trackers) if follows else None,
        model_errors=pipeline.model_errors,
        stage_seconds=pipeline.stage_seconds(),
    )
