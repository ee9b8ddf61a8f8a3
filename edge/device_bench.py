"""Measures what this device does with each variant of a bundle: the engine alone, the whole pipeline, power, agreement.

Engine and pipeline are measured one after the other on the same pictures, so that their ratio says what the pipeline
costs here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.bundle_run import open_model
from edge.camera.chooser import open_camera
from edge.camera.interface import Camera, CameraError, Image
from edge.camera.memory import MemoryCamera
from edge.camera.options import CameraOptions
from edge.engine.interface import Engine
from edge.facts import read_facts
from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import LoadedModel, Source
from edge.pipeline.pipeline import Pipeline
from edge.power.sampler import PowerSampler
from edge.runtime import agreement_with_reference
from edge.telemetry.window import power_of
from edge.vision.letterbox import Letterbox
from edge.vision.reference import read_reference
from mien.bundle import verify_bundle
from mien.console import SILENT, Progress
from mien.errors import UnsupportedError
from mien.facts import DeviceFacts
from mien.release import REFERENCE, BuildEngine, LoadEngine, Manifest, Precision, Refusal, VariantPolicy, choose_variant

_WARM_UP = 10
_PICTURES = 16
_CAMERA_SIZE = (1280, 720)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOrder:
    """What to measure."""

    bundle: Path
    video: Path | None = None
    """Its first frames are measured with, decoded beforehand; by default the bundle's reference frames at 720p."""
    precisions: tuple[Precision, ...] = ("int8", "fp16", "fp32")
    seconds: float = 5.0
    """For each of engine and pipeline, of each variant."""
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFigures:
    """What one variant does here."""

    precision: str
    runtime: str
    path: str
    engine_fps: float
    engine_ms_p50: float
    engine_ms_p95: float
    pipeline_fps: float
    pipeline_share: float
    """Pipeline's rate over the engine's."""
    frame_ms_p95: float
    """Letterbox, inference and decoding of one frame in the pipeline, without its wait for a free engine."""
    power_w: float | None
    energy_per_inference_j: float | None
    power_source: str
    agreement: float | None
    """Share of the bundle's reference detections that this engine shows here."""


def bench_bundle(order: BenchOrder, power: PowerSampler, *, progress: Progress = SILENT) -> dict[str, Any]:
    """Measure every variant of the bundle that runs on this machine.

    Args:
        order: what to measure.
        power: started, so that power is known while frames run.
        progress: told of each step.

    Returns:
        The figures, ready for JSON: device, release, and a list of :class:`VariantFigures`.

    Raises:
        BundleError: the bundle is damaged.
        UnsupportedError: no variant of the asked precisions runs here; says for each why.
        CameraError: the video cannot be read.
    """
    cv2.setNumThreads(1)
    manifest, facts = verify_bundle(order.bundle), read_facts()
    pictures = _pictures(order, manifest)
    figures: list[VariantFigures] = []
    passed_over: list[str] = []
    for precision in order.precisions:
        choice = choose_variant(manifest, facts, VariantPolicy(precisions=(precision,)))
        if isinstance(choice, Refusal):
            passed_over.append(f"{precision}: {'; '.join(choice.reasons)}")
            continue
        figures.append(_measured(order, manifest, choice, facts, pictures, power, progress))
    if not figures:
        raise UnsupportedError(
            f"no variant of {manifest.ref} runs on this machine",
            found=" | ".join(passed_over)[:500],
            remedy="ask for another precision, or pack a variant for this machine: mien optimize run",
        )
    return {
        "device": {"hardware_class": facts.hardware_class(), "cpu": facts.cpu, "cpus": facts.cpu_count},
        "release": str(manifest.ref),
        "seconds": order.seconds,
        "threads": order.threads,
        "pictures": f"{len(pictures)} of {pictures[0].shape[1]}×{pictures[0].shape[0]}",
        "variants": [asdict(one) for one in figures],
        "passed_over": passed_over,
    }


def _measured(
    order: BenchOrder,
    manifest: Manifest,
    choice: LoadEngine | BuildEngine,
    facts: DeviceFacts,
    pictures: Sequence[Image],
    power: PowerSampler,
    progress: Progress,
) -> VariantFigures:
    model = open_model(order.bundle, manifest, choice, facts, threads=order.threads, progress=progress)
    with model.engine as engine:
        reference = order.bundle / REFERENCE
        agreement = agreement_with_reference(engine, reference, manifest.outputs) if reference.is_file() else None
        progress.start(f"{choice.variant.precision}: engine alone", round(order.seconds))
        spent_ms = _engine_alone(engine, manifest, pictures, order.seconds, progress)
        progress.start(f"{choice.variant.precision}: pipeline", round(order.seconds))
        began_s = time.monotonic()
        fps, p95_ms, frames = _pipeline(model, pictures, order.seconds, progress)
        watts = power_of(power.since(began_s), power.name, seconds=time.monotonic() - began_s, frames=frames)
    engine_fps = 1000 / float(spent_ms.mean())
    return VariantFigures(
        precision=choice.variant.precision,
        runtime=choice.runtime,
        path=choice.variant.path,
        engine_fps=round(engine_fps, 1),
        engine_ms_p50=round(float(np.percentile(spent_ms, 50)), 2),
        engine_ms_p95=round(float(np.percentile(spent_ms, 95)), 2),
        pipeline_fps=round(fps, 1),
        pipeline_share=round(fps / engine_fps, 3),
        frame_ms_p95=round(p95_ms, 2),
        power_w=watts.total_w,
        energy_per_inference_j=watts.energy_per_inference_j,
        power_source=power.name,
        agreement=agreement,
    )


def _engine_alone(
    engine: Engine, manifest: Manifest, pictures: Sequence[Image], seconds: float, progress: Progress
) -> np.ndarray:
    size, shape = manifest.input, engine.info.input_shape
    letterbox = Letterbox(size.width, size.height, size.pad_value)
    blocks = [np.empty(shape, np.uint8) for _ in pictures]
    for block, picture in zip(blocks, pictures, strict=True):
        for place in block:
            letterbox.apply(picture, place)
    spent: list[float] = []
    ticking = _ticker(seconds, progress)
    while ticking() or len(spent) <= _WARM_UP:
        began_s = time.perf_counter()
        engine.infer(blocks[len(spent) % len(blocks)])
        spent.append((time.perf_counter() - began_s) * 1e3 / shape[0])
    return np.array(spent[_WARM_UP:])


def _pipeline(
    model: LoadedModel, pictures: Sequence[Image], seconds: float, progress: Progress
) -> tuple[float, float, int]:
    meter = FrameMeter()
    pipeline = Pipeline([Source(name="memory", camera=MemoryCamera(pictures))], sinks=(meter,))
    pipeline.replace_model(model)
    ticking = _ticker(seconds, progress)
    pipeline.start()
    try:
        while meter.frames < _WARM_UP and not pipeline.wait(0.01):
            pass
        meter.take()
        while ticking() and not pipeline.wait(0.05):
            pass
        tally = meter.take()
    finally:
        pipeline.stop()
    if pipeline.last_model_error is not None:
        raise pipeline.last_model_error
    work_ms = tally.latency_ms[:, 1:4].sum(axis=1)
    return tally.frames / tally.seconds, float(np.percentile(work_ms, 95)), tally.frames


def _ticker(seconds: float, progress: Progress) -> Callable[[], bool]:
    """Whether time is left; advances the bar by whole seconds."""
    began_s, told = time.monotonic(), 0

    def ticking() -> bool:
        nonlocal told
        passed_s = time.monotonic() - began_s
        while told < min(int(passed_s), round(seconds)):
            told += 1
            progress.advance()
        return passed_s < seconds

    return ticking


def _pictures(order: BenchOrder, manifest: Manifest) -> list[Image]:
    if order.video is not None:
        with ExitStack() as closing:
            camera = open_camera(str(order.video), CameraOptions())
            closing.callback(camera.close)
            return _first_frames(camera, order.video)
    path = order.bundle / REFERENCE
    if path.is_file():
        frames = [one.frame for one in read_reference(path)][:_PICTURES]
    else:
        frames = [np.full((manifest.input.height, manifest.input.width, 3), 114, np.uint8)]
    return [np.asarray(cv2.resize(frame, _CAMERA_SIZE), np.uint8) for frame in frames]


def _first_frames(camera: Camera, video: Path) -> list[Image]:
    frames: list[Image] = []
    while len(frames) < _PICTURES and (frame := camera.read()) is not None:
        frames.append(frame.image)
    if not frames:
        raise CameraError(f"{video} gave no frame", remedy="name a video file or a folder of images")
    return frames
