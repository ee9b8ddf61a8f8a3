"""Runs a release bundle on this machine without any fleet: verify, choose, build, run, sum up."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from edge.api.local import ServedRun
from edge.camera.chooser import is_stored, open_camera
from edge.camera.interface import Camera
from edge.camera.options import CameraOptions
from edge.config import ApiSettings, FacesSettings, PrivacySettings
from edge.engine.chooser import batch_for, builder_for, is_whole, open_engine
from edge.engine.stoppable import Stoppable
from edge.faces.tracker import FaceTracker
from edge.facts import read_facts
from edge.pipeline.meter import FrameMeter, FrameTally
from edge.pipeline.model import LoadedModel, Result, Source
from edge.pipeline.pipeline import Pipeline
from edge.power.chooser import open_power
from edge.power.sampler import PowerSampler
from edge.preview_video import PreviewVideo, check_name
from edge.telemetry.window import percentiles_of, power_of
from mien.bundle import verify_bundle
from mien.console import SILENT, Progress
from mien.errors import MienError, UnavailableError, UnsupportedError
from mien.facts import DeviceFacts
from mien.files import disk_error, sha256_of
from mien.release import BuildEngine, LoadEngine, Manifest, Precision, Refusal, VariantPolicy, choose_variant

_log = logging.getLogger(__name__)

_OPTIONS = {
    "choose another one with api.port, or an address of this machine with api.host": "choose another one with "
    "--http-port; 0 takes a free one",
    "power.replay": "--power-replay",
}
_LOOK_S = 0.25
_PREVIEW_FPS = 15.0
_GIVE_UP_AFTER_S = 60.0
"""A camera that stays away for so long ends a run that somebody started; a device waits for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRun:
    """What to run."""

    bundle: Path
    camera: str
    frames: int | None = None
    seconds: float | None = None
    threads: int = 1
    calls_at_once: int | None = None
    """Frames that onnxruntime computes side by side; by default one, and for stored pictures what the cores allow."""
    precisions: tuple[Precision, ...] = ("int8", "fp16", "fp32")
    realtime: bool = False
    loop: bool = False
    max_fps: float | None = None
    power: str = "auto"
    power_replay: Path | None = None
    detections: Path | None = None
    """Where to write what was found, a JSON line a frame."""
    preview: Path | None = None
    """Where to write a video with the boxes drawn, faces covered."""
    api: ApiSettings = field(default_factory=ApiSettings)
    """Whether and where to serve the live page; faces on it are covered."""
    show_faces: bool = False
    """Leave faces as they are, in the video and on the live page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """How a run does, while it runs."""

    frames: int
    seconds: float
    detections: int
    power_w: float | None
    power_source: str


def run_bundle(
    run: BundleRun,
    *,
    stop: threading.Event,
    progress: Progress = SILENT,
    on_glance: Callable[[Glance], None] = lambda _: None,
    on_serve: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run a bundle until the source ends, enough was run, or ``stop`` is set.

    Returns:
        The summary, ready for JSON: release, variant, camera, frames (those let go for newer ones, those skipped since
        they are no picture), fps, latency, detections, power.

    Raises:
        BundleError: the bundle is damaged.
        UnsupportedError: no variant fits this machine.
        CameraError: the source gives no frames.
        EngineError: the engine cannot be built or fails on a frame.
        KeyboardInterrupt: ``stop`` was set while the engine was built.
    """
    cv2.setNumThreads(1)
    if run.preview is not None:
        check_name(run.preview)
    manifest = verify_bundle(run.bundle)
    facts = read_facts()
    choice = chosen(manifest, facts, VariantPolicy(precisions=run.precisions))
    progress = Stoppable(stop, KeyboardInterrupt, progress)
    with ExitStack() as closing:
        model = open_model(
            run.bundle, manifest, choice, facts, threads=run.threads, calls_at_once=calls_of(run), progress=progress
        )
        closing.callback(model.engine.close)
        options = CameraOptions(
            realtime=run.realtime, loop=run.loop, max_fps=run.max_fps, give_up_after_s=_GIVE_UP_AFTER_S
        )
        camera = open_camera(run.camera, options)
        closing.callback(camera.close)
        with _in_options():
            source = open_power(run.power, replay=run.power_replay)
        power = PowerSampler(source, interval_s=0.5)
        closing.callback(power.close)
        with _in_options():
            served = ServedRun(run.api, PrivacySettings(show_faces=run.show_faces), power)
        closing.callback(served.close)
        if served.url is not None:
            on_serve(served.url)
        return _followed(run, model, camera, power, served, stop=stop, on_glance=on_glance)


def calls_of(run: BundleRun) -> int:
    """Frames side by side: stored pictures wait for nobody, so that all cores may work on them."""
    if run.calls_at_once is not None:
        return run.calls_at_once
    waits_for_nobody = is_stored(run.camera) and not run.realtime and run.max_fps is None
    return max(1, (os.cpu_count() or 1) // run.threads) if waits_for_nobody else 1


@contextmanager
def _in_options() -> Iterator[None]:
    """Let an error name the option of this command in place of the key in a settings file, which this run has not."""
    try:
        yield
    except MienError as error:
        for key, option in _OPTIONS.items():
            error.remedy = error.remedy.replace(key, option)
        raise


def chosen(manifest: Manifest, facts: DeviceFacts, policy: VariantPolicy) -> LoadEngine | BuildEngine:
    """The variant for this machine.

    Raises:
        UnsupportedError: none fits; says for each why.
    """
    choice = choose_variant(manifest, facts, policy)
    if isinstance(choice, Refusal):
        raise UnsupportedError(
            f"no variant of {manifest.ref} runs on this machine",
            found=" | ".join(choice.reasons),
            remedy="install onnxruntime, or pack a variant for this machine: mien optimize run",
        )
    return choice


def open_model(
    bundle: Path,
    manifest: Manifest,
    choice: LoadEngine | BuildEngine,
    facts: DeviceFacts,
    *,
    threads: int = 1,
    calls_at_once: int = 1,
    progress: Progress = SILENT,
) -> LoadedModel:
    """The chosen variant, built where it must be, and opened; the caller closes its engine.

    Raises:
        EngineError: it cannot be built or opened.
    """
    path = _engine_for(bundle, choice, facts, progress)
    graph = choice.variant.sha256 if isinstance(choice, BuildEngine) else None
    engine = open_engine(path, choice.runtime, threads=threads, graph_sha256=graph, calls_at_once=calls_at_once)
    return LoadedModel.of(manifest, choice.variant.precision, choice.runtime, engine)


def _engine_for(bundle: Path, choice: LoadEngine | BuildEngine, facts: DeviceFacts, progress: Progress) -> Path:
    """The engine's file: the bundle's own, or one built here and kept in the user's cache."""
    model = bundle / choice.variant.path
    if isinstance(choice, LoadEngine):
        return model
    folder = cache_folder() / "engines" / facts.hardware_class().replace("/", "-")
    path = folder / f"{sha256_of(model)[:32]}.{choice.runtime}"
    if is_whole(path, choice.runtime):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    builder = builder_for(choice.runtime, cache_folder() / "timing", max_batch=batch_for(model, 1))
    return builder.build(model, path, progress=progress)


def cache_folder() -> Path:
    """Where this user's rebuildable files belong (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "mien"


def _followed(
    run: BundleRun,
    model: LoadedModel,
    camera: Camera,
    power: PowerSampler,
    served: ServedRun,
    *,
    stop: threading.Event,
    on_glance: Callable[[Glance], None],
) -> dict[str, Any]:
    meter = FrameMeter()
    sinks: list[Any] = [meter, *served.sinks]
    if run.detections is not None:
        sinks.append(DetectionLines(run.detections))
    if run.preview is not None:
        sinks.append(PreviewVideo(run.preview, fps=run.max_fps or _PREVIEW_FPS, show_faces=run.show_faces))
    source = _source_of(camera, run.max_fps)
    pipeline = Pipeline([source], sinks=sinks, wanted_frames=run.frames)
    power.start()
    pipeline.replace_model(model)
    started_s = time.monotonic()
    meter.take()
    pipeline.start()
    served.start(pipeline, [source])
    try:
        while not pipeline.wait(_LOOK_S) and not stop.is_set():
            seconds = time.monotonic() - started_s
            newest = power.newest()
            on_glance(
                Glance(
                    frames=meter.frames,
                    seconds=seconds,
                    detections=meter.detections,
                    power_w=newest.total_w if newest else None,
                    power_source=power.name,
                )
            )
            if pipeline.model_errors or (run.seconds is not None and seconds >= run.seconds):
                break
    finally:
        pipeline.stop()
    tally = meter.take()
    _raise_fault(pipeline)
    lost = {"dropped": pipeline.take_dropped(), "skipped": camera.bad_frames + pipeline.bad_frames}
    return _summary(camera.name, model, power, tally, lost)


def _source_of(camera: Camera, max_fps: float | None) -> Source:
    """The camera with a tracker; a film that is not played but read has its own time, and pictures have none."""
    if camera.live:
        return Source(name="camera", camera=camera, max_fps=max_fps, tracker=FaceTracker(FacesSettings()))
    fps = getattr(camera, "fps", None)
    if fps is None:
        return Source(name="camera", camera=camera)
    return Source(name="camera", camera=camera, tracker=FaceTracker(FacesSettings()), frame_s=1 / fps)


def _raise_fault(pipeline: Pipeline) -> None:
    if pipeline.last_model_error is not None:
        raise pipeline.last_model_error
    if isinstance(pipeline.error, MienError):
        raise pipeline.error
    if pipeline.error is not None:
        raise RuntimeError("the pipeline ended") from pipeline.error


def _summary(
    camera: str, model: LoadedModel, power: PowerSampler, tally: FrameTally, lost: dict[str, int]
) -> dict[str, Any]:
    if tally.frames == 0:
        raise UnavailableError(
            f"no frame came from {camera}", remedy="check the source, or run for longer with --seconds"
        )
    readings = power_of(power.since(tally.started_at_s), power.name, seconds=tally.seconds, frames=tally.frames)
    info = model.engine.info
    return {
        "release": str(model.release),
        "precision": model.precision,
        "runtime": f"{info.runtime} {info.runtime_version}",
        "camera": camera,
        "frames": tally.frames,
        **lost,
        "seconds": round(tally.seconds, 3),
        "fps": round(tally.frames / tally.seconds, 2) if tally.seconds else 0.0,
        "latency_ms": {stage: figures.model_dump() for stage, figures in percentiles_of(tally.latency_ms).items()},
        "detections": {label: int(tally.class_counts[index]) for index, label in enumerate(model.labels)},
        "confidence_mean": tally.confidence_mean,
        "power": readings.model_dump(exclude_none=True),
    }


class DetectionLines:
    """Writes a JSON line for each frame: sequence, and for each detection its label, score and box.

    Args:
        path: the file; it is replaced.

    Raises:
        UnavailableError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream: IO[str] = path.open("w", encoding="utf-8")
        except OSError as error:
            raise disk_error(path, error) from error

    def accept(self, result: Result) -> None:
        """Write one frame's line.

        Raises:
            UnavailableError: the disk does not take it.
        """
        found, labels = result.detections, result.model.labels
        line = {
            "sequence": result.frame.sequence,
            "detections": [
                {"label": labels[int(index)], "score": round(float(score), 4), "box": np.round(box, 1).tolist()}
                for box, score, index in zip(found.boxes, found.scores, found.classes, strict=True)
            ],
        }
        try:
            self._stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise disk_error(self._path, error) from error

    def close(self) -> None:
        """Write what is left and close the file.

        Raises:
            UnavailableError: the disk does not take it.
        """
        try:
            self._stream.close()
        except OSError as error:
            raise disk_error(self._path, error) from error
