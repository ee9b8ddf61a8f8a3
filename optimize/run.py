"""The whole way from weights to a bundle: the order of the steps, and nothing of how they are done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge.vision.reference import write_reference
from mien.console import SILENT, Progress
from mien.dataset import Dataset, hash_of, read_dataset
from mien.errors import GateError
from mien.release import (
    REFERENCE,
    Calibration,
    InputSpec,
    Manifest,
    OutputSpec,
    Precision,
    Provenance,
    ReleaseRef,
    Requires,
    Variant,
)
from optimize.bundle.provenance import provenance
from optimize.bundle.staging import check_target, entry, staged, write_manifest
from optimize.calibration.images import FEWEST, CalibrationSet, calibration_set
from optimize.evaluate.judge import Judge, Judgement
from optimize.evaluate.run import validation_images
from optimize.gate import GateLimits, Measured, likely_cause
from optimize.graph.export import GraphSpec, export_fp32, graph_spec
from optimize.graph.weights import Weights, check_labels, open_weights
from optimize.images import Judged
from optimize.machine import latency_conditions
from optimize.quantize.interface import Quantizer
from optimize.report.write import write_report
from optimize.variants import (
    FP16_FRAMES,
    FP32,
    Attempt,
    Made,
    int8_attempts,
    make_fp16,
    make_int8,
    quantizer_called,
)

_KNOWN_LIMITS = (
    "A face's expression is not a person's feeling: never decide about people with it.",
    "Measured only on images like those of its validation split.",
)


_FP32 = Made(path=FP32, precision="fp32", runtimes=("tensorrt", "onnxruntime"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for."""

    weights: Path
    data: Path
    out: Path
    name: str
    version: str
    limits: GateLimits
    intended_use: str
    precisions: tuple[Precision, ...]
    imgsz: str | None = None
    top_k: int = 100
    quantizer: str = "onnxruntime"
    method: str | None = None
    """The quantiser's default, and others when the gate refuses it, unless given."""
    calibration_images: int = 128
    seed: int = 0
    training_record: Path | None = None
    keep_passing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What came of it."""

    manifest: Manifest
    measured: tuple[Measured, ...]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Source:
    """What goes in, checked before anything slow is done."""

    release: ReleaseRef
    weights: Weights
    dataset: Dataset
    spec: GraphSpec
    outputs: OutputSpec
    quantizer: Quantizer
    attempts: tuple[Attempt, ...]
    provenance: Provenance
    images: tuple[Judged, ...]


@dataclass(slots=True)
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)


def optimize(order: Order, progress: Progress = SILENT) -> Result:
    """Export, calibrate, quantise, measure, hold against the gate, and pack.

    Raises:
        MienError: of the class that fits what is wrong; nothing is left behind under the bundle's name.
        GateError: FP32 was refused, or another precision that was asked for while ``keep_passing`` is off.
    """
    clock = _Clock()
    with clock.step("read"):
        source = _read(order, progress)
    with staged(order.out) as folder:
        judge = Judge(folder, source.images, source.outputs, labels=source.dataset.names, limits=order.limits)
        with clock.step("export"):
            export_fp32(source.weights, source.spec, folder / FP32, progress=progress)
        with clock.step("evaluate"):
            judge.look(_FP32, progress=progress)
        others, calibration = _make_others(order, source, folder, judge, progress, clock)
        _stop_at_gate(judge.judgement(), keep_passing=order.keep_passing)
        with clock.step("latency"):
            judge.measure_latency(progress=progress)
        judgement = judge.judgement()
        with clock.step("report"):
            manifest = _pack(order, source, (_FP32, *others), judgement, calibration, folder)
    return Result(manifest=manifest, measured=judgement.measured, seconds=clock.seconds)


def _read(order: Order, progress: Progress) -> _Source:
    release = check_target(order.out, order.name, order.version)
    quantizer = quantizer_called(order.quantizer)
    attempts = int8_attempts(quantizer, order.method)
    dataset = read_dataset(order.data)
    dataset.split("val")
    weights = open_weights(order.weights)
    check_labels(weights, dataset.names)
    spec = graph_spec(weights, order.imgsz, order.top_k)
    return _Source(
        release=release,
        weights=weights,
        dataset=dataset,
        spec=spec,
        outputs=OutputSpec(top_k=spec.top_k),
        quantizer=quantizer,
        attempts=attempts,
        provenance=provenance(
            weights_sha256=weights.sha256,
            data_sha256=hash_of(dataset, ("train", "val")),
            training_record=order.training_record,
        ),
        images=validation_images(dataset, spec, progress=progress),
    )


def _make_others(
    order: Order, source: _Source, folder: Path, judge: Judge, progress: Progress, clock: _Clock
) -> tuple[Sequence[Made], Calibration | None]:
    """FP16 and INT8, as far as they were asked for, each looked at."""
    if order.precisions == ("fp32",):
        return (), None
    int8 = "int8" in order.precisions
    made: list[Made] = []
    with clock.step("calibration images"):
        chosen = calibration_set(
            source.dataset,
            source.spec,
            count=order.calibration_images if int8 else FP16_FRAMES,
            fewest=FEWEST if int8 else 1,
            seed=order.seed,
            progress=progress,
        )
    if "fp16" in order.precisions:
        with clock.step("fp16"):
            made.append(make_fp16(folder, chosen.frames[:FP16_FRAMES], progress=progress))
            judge.look(made[-1], progress=progress)
    if not int8:
        return made, None
    with clock.step("int8"):
        quantised, attempt = _first_that_passes(source, folder, chosen, judge, progress)
    return (*made, *quantised), _calibration(source, chosen, attempt)


def _first_that_passes(
    source: _Source, folder: Path, chosen: CalibrationSet, judge: Judge, progress: Progress
) -> tuple[Sequence[Made], Attempt]:
    """Try the ways to INT8 in turn until the gate takes one; the last one stays when it takes none."""
    for attempt in source.attempts:
        made = make_int8(folder, chosen.frames, source.quantizer, attempt, progress=progress)
        for one in made:
            judge.look(one, progress=progress)
        if not {one.path for one in made} & set(judge.judgement().gate.refused):
            break
    return made, attempt


def _calibration(source: _Source, chosen: CalibrationSet, attempt: Attempt) -> Calibration:
    return Calibration.model_validate(
        {
            "method": attempt.method,
            "quantizer": source.quantizer.name,
            "images": len(chosen.frames),
            "data_sha256": chosen.sha256,
            "first_layer_float": attempt.first_layer_float,
            "attempts": source.attempts.index(attempt) + 1,
        }
    )


def _stop_at_gate(judgement: Judgement, *, keep_passing: bool) -> None:
    refused = judgement.gate.refused
    if refused and (FP32 in refused or not keep_passing):
        raise GateError(
            "the gate refuses to let this release out",
            found="\n".join(f"{path}: {reasons}" for path, reasons in refused.items()),
            wanted="every precision that was asked for within the limits",
            remedy=f"{likely_cause(refused)}; --keep-passing packs the others",
        )


def _pack(
    order: Order,
    source: _Source,
    made: Sequence[Made],
    judgement: Judgement,
    calibration: Calibration | None,
    folder: Path,
) -> Manifest:
    conditions = latency_conditions()
    write_reference(folder / REFERENCE, judgement.reference)
    manifest = Manifest(
        name=source.release.name,
        version=source.release.version,
        labels=source.dataset.names,
        input=InputSpec(width=source.spec.width, height=source.spec.height),
        outputs=source.outputs,
        variants=_variants(made, judgement, folder, conditions),
        calibration=calibration,
        provenance=source.provenance,
        gate=judgement.gate,
        intended_use=order.intended_use,
        known_limits=_KNOWN_LIMITS,
    )
    written = write_report(
        folder,
        manifest,
        measured=judgement.measured,
        objects=judgement.objects,
        images=source.images,
        found=judgement.found,
        latency_on=conditions,
    )
    manifest = manifest.model_copy(update={"files": tuple(entry(folder, path) for path in (REFERENCE, *written))})
    write_manifest(folder, manifest)
    return manifest


def _variants(made: Sequence[Made], judgement: Judgement, folder: Path, conditions: str) -> tuple[Variant, ...]:
    measured = {one.path: one for one in judgement.measured}
    variants: list[Variant] = []
    for one in made:
        if one.path in judgement.gate.refused:
            (folder / one.path).unlink()
            continue
        file = entry(folder, one.path)
        variants.append(
            Variant(
                precision=one.precision,
                format="onnx",
                path=one.path,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                requires=Requires(runtimes=one.runtimes),
                accuracy=measured[one.path].accuracy,
                latency_ms=measured[one.path].latency_ms,
                latency_on=conditions,
                reference_agreement=measured[one.path].reference_agreement,
            )
        )
    return tuple(variants)
