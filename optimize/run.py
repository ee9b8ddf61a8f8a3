"""The whole way from weights to a bundle: the order of the steps, and nothing of how they are done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge.engine.chooser import open_engine
from edge.engine.interface import Engine
from edge.vision.detections import Detections
from edge.vision.reference import ReferenceFrame, write_reference
from mien.console import SILENT, Progress
from mien.dataset import Dataset, hash_of, read_dataset
from mien.errors import GateError
from mien.release import (
    REFERENCE,
    Accuracy,
    Calibration,
    GateResult,
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
from optimize.evaluate.coco import Precision as MeasuredPrecision
from optimize.evaluate.coco import mean_average_precision
from optimize.evaluate.compare import above, compare
from optimize.evaluate.run import detect, latencies_ms, validation_images
from optimize.gate import GateLimits, Measured, gate, likely_cause
from optimize.graph.export import GraphSpec, export_fp32, graph_spec
from optimize.graph.weights import Weights, check_labels, open_weights
from optimize.images import Judged
from optimize.machine import latency_conditions
from optimize.quantize.interface import Quantizer, chosen_method
from optimize.reference import choose_frames, reference_frame, reproduced
from optimize.report.write import write_report
from optimize.variants import FP16_FRAMES, FP32, Made, make_fp16, make_int8, quantizer_called

_KNOWN_LIMITS = (
    "A face's expression is not a person's feeling: never decide about people with it.",
    "Measured only on images like those of its validation split.",
)


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
    """The quantiser's default unless given."""
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
    method: str
    provenance: Provenance
    images: tuple[Judged, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judgement:
    """What was measured, of every graph that was made."""

    measured: tuple[Measured, ...]
    objects: dict[str, int]
    gate: GateResult
    reference: tuple[ReferenceFrame, ...]
    found: dict[str, list[Detections]]
    """Detections above the threshold of use, by variant path."""


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
        with clock.step("export"):
            export_fp32(source.weights, source.spec, folder / FP32, progress=progress)
        made, calibration = _make(order, source, folder, progress, clock)
        with clock.step("evaluate"), ExitStack() as stack:
            engines = {one.path: stack.enter_context(open_engine(folder / one.path, "onnxruntime")) for one in made}
            judgement = _judge(source, made, engines, folder, order.limits, progress)
        _stop_at_gate(judgement, keep_passing=order.keep_passing)
        with clock.step("report"):
            manifest = _pack(order, source, made, judgement, calibration, folder)
    return Result(manifest=manifest, measured=judgement.measured, seconds=clock.seconds)


def _read(order: Order, progress: Progress) -> _Source:
    release = check_target(order.out, order.name, order.version)
    quantizer = quantizer_called(order.quantizer)
    method = chosen_method(quantizer, order.method)
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
        method=method,
        provenance=provenance(
            weights_sha256=weights.sha256,
            data_sha256=hash_of(dataset, ("train", "val")),
            training_record=order.training_record,
        ),
        images=validation_images(dataset, spec, progress=progress),
    )


def _make(
    order: Order, source: _Source, folder: Path, progress: Progress, clock: _Clock
) -> tuple[list[Made], Calibration | None]:
    made = [Made(path=FP32, precision="fp32", runtimes=("tensorrt", "onnxruntime"))]
    if order.precisions == ("fp32",):
        return made, None
    int8 = "int8" in order.precisions
    with clock.step("calibrate"):
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
    if not int8:
        return made, None
    with clock.step("int8"):
        made += make_int8(folder, chosen.frames, source.quantizer, source.method, progress=progress)
    return made, _calibration(source, chosen)


def _calibration(source: _Source, chosen: CalibrationSet) -> Calibration:
    return Calibration(
        method=source.method, quantizer=source.quantizer.name, images=len(chosen.frames), data_sha256=chosen.sha256
    )


def _judge(
    source: _Source,
    made: Sequence[Made],
    engines: dict[str, Engine],
    folder: Path,
    limits: GateLimits,
    progress: Progress,
) -> _Judgement:
    images, outputs = source.images, source.outputs
    everything = {
        one.path: detect(engines[one.path], images, outputs, name=one.path, progress=progress) for one in made
    }
    chosen = choose_frames(everything[FP32], outputs.score_threshold)
    reference = tuple(reference_frame(engines[FP32], images[index].frame, outputs) for index in chosen)
    latency = latencies_ms(engines, images, progress=progress)
    found = {
        path: [above(one, outputs.score_threshold) for one in detections] for path, detections in everything.items()
    }
    truths = [image.truth for image in images]
    labels = source.dataset.names
    precision = {path: mean_average_precision(one, truths, len(labels)) for path, one in everything.items()}
    measured = tuple(
        Measured(
            path=one.path,
            precision=one.precision,
            accuracy=_accuracy(precision[one.path], found[FP32], found[one.path], labels),
            reference_agreement=reproduced(engines[one.path], reference, outputs),
            size_bytes=(folder / one.path).stat().st_size,
            latency_ms=round(latency[one.path], 3),
        )
        for one in made
    )
    objects = {labels[index]: count for index, count in precision[FP32].objects.items()}
    return _Judgement(
        measured=measured,
        objects=objects,
        gate=gate(measured, limits, objects),
        reference=reference,
        found=found,
    )


def _accuracy(
    precision: MeasuredPrecision, reference: list[Detections], found: list[Detections], labels: Sequence[str]
) -> Accuracy:
    difference = compare(reference, found)
    return Accuracy(
        images=len(found),
        map50=precision.map50,
        map50_95=precision.map50_95,
        per_class={labels[index]: value for index, value in precision.per_class.items()},
        mean_confidence=difference.mean_confidence,
        confidence_shift=difference.confidence_shift,
        changed_images=difference.changed_images,
    )


def _stop_at_gate(judgement: _Judgement, *, keep_passing: bool) -> None:
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
    judgement: _Judgement,
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


def _variants(made: Sequence[Made], judgement: _Judgement, folder: Path, conditions: str) -> tuple[Variant, ...]:
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
