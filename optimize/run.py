"""The whole way from weights to a bundle: the order of the steps, and nothing of how they are done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edge.vision.reference import write_reference
from mien.console import SILENT, Progress
from mien.dataset import Dataset, hash_of, read_dataset
from mien.errors import GateError
from mien.files import sha256_of
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
    Target,
    Variant,
)
from optimize.bundle.provenance import provenance, read_record
from optimize.bundle.staging import check_target, entry, staged, write_manifest
from optimize.calibration.images import FEWEST, HELD_OUT, CalibrationSet, calibration_set, count_for, evenly
from optimize.calibration.thresholds import METHODS
from optimize.diagnose import Evidence, distance, likely_causes
from optimize.evaluate.fidelity import Witness
from optimize.evaluate.judge import Judge, Judgement
from optimize.evaluate.run import check_labelled, validation_images
from optimize.gate import GateLimits, Measured, measured_line
from optimize.graph.export import GraphSpec, check_asked, export_fp32, graph_spec
from optimize.graph.structure import quantised_decode_nodes
from optimize.graph.weights import Weights, check_labels, open_weights
from optimize.images import Judged
from optimize.int8 import Workshop, compare_methods, open_workshop
from optimize.machine import latency_conditions
from optimize.mistaken import check_weights
from optimize.quantize.interface import Quantizer
from optimize.report.write import write_report
from optimize.sensitivity import LAYER_FRAMES, Study, Witnesses, fewest, ladder, study
from optimize.variants import (
    FP16_FRAMES,
    FP32,
    Made,
    make_fp16,
    make_int8,
    quantizer_called,
)

_KNOWN_LIMITS = (
    "A face's expression is not a person's feeling: never decide about people with it.",
    "Measured only on images like those of its validation split.",
)


_PACK_OTHERS = "--keep-passing packs the others"
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
    target: Target | None = None
    imgsz: str | None = None
    top_k: int | None = None
    """Boxes that the graph gives; see :data:`optimize.graph.export.TOP_K`."""
    max_batch: int = 1
    """Frames of one call at most: more than one for devices whose cameras share calls of the engine."""
    quantizer: str = "onnxruntime"
    methods: tuple[str, ...] = tuple(METHODS)
    """Ways of finding INT8 scales; the truest to FP32 is taken."""
    sensitivity: bool = True
    """Measure every layer alone even when the gate takes INT8 as it is; where it does not, they are measured anyway."""
    calibration_images: int | None = None
    """Training images to find INT8 scales with; see :func:`optimize.calibration.images.count_for`."""
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
    provenance: Provenance
    images: tuple[Judged, ...]
    calibrating: int
    """So many training images are read for the other precisions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Others:
    """What was made besides FP32."""

    made: tuple[Made, ...] = ()
    frames: CalibrationSet | None = None
    calibration: Calibration | None = None
    study: Study | None = None


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
    release = check_target(order.out, order.name, order.version)
    with staged(order.out) as folder:
        with clock.step("read"):
            source = _read(order, release, progress)
        judge = Judge(folder, source.images, source.outputs, labels=source.dataset.names, limits=order.limits)
        with clock.step("export"):
            export_fp32(source.weights, source.spec, folder / FP32, progress=progress)
        with clock.step("evaluate"):
            judge.look(_FP32, progress=progress)
        _stop_at_weak_weights(judge, folder, progress)
        others = _make_others(order, source, folder, judge, progress, clock)
        if not order.keep_passing:
            _stop_at_gate(judge, folder, source, others.frames)
        with clock.step("latency"):
            judge.measure_latency(progress=progress)
        judgement = judge.judgement()
        progress.start("report")
        with clock.step("report"):
            manifest = _pack(order, source, others, judgement, folder)
    return Result(manifest=manifest, measured=judgement.measured, seconds=clock.seconds)


def _read(order: Order, release: ReleaseRef, progress: Progress) -> _Source:
    quantizer = quantizer_called(order.quantizer)
    check_asked(order.imgsz, order.top_k, order.max_batch)
    record = _record(order)
    dataset = read_dataset(order.data)
    check_labelled(dataset)
    calibrating = count_for(dataset, order.calibration_images) if "int8" in order.precisions else FP16_FRAMES
    progress.start("read weights")
    weights = open_weights(order.weights)
    check_labels(weights, dataset.names)
    spec = graph_spec(weights, order.imgsz, order.top_k, order.max_batch)
    return _Source(
        release=release,
        weights=weights,
        dataset=dataset,
        spec=spec,
        outputs=OutputSpec(top_k=spec.top_k),
        quantizer=quantizer,
        provenance=provenance(
            weights_sha256=weights.sha256,
            data_sha256=hash_of(dataset, ("train", "val"), progress),
            record=record,
        ),
        images=validation_images(dataset, spec, progress=progress),
        calibrating=calibrating,
    )


def _record(order: Order) -> Mapping[str, Any]:
    """What the training record tells; it must be of these weights, which are not opened for that."""
    if order.training_record is None:
        return {}
    check_weights(order.weights)
    return read_record(order.training_record, sha256_of(order.weights))


def _make_others(
    order: Order, source: _Source, folder: Path, judge: Judge, progress: Progress, clock: _Clock
) -> _Others:
    """FP16 and INT8, as far as they were asked for, each looked at."""
    if order.precisions == ("fp32",):
        return _Others()
    int8 = "int8" in order.precisions
    made: list[Made] = []
    with clock.step("calibration images"):
        chosen = calibration_set(
            source.dataset,
            source.spec,
            count=source.calibrating,
            fewest=FEWEST if int8 else 1,
            held_out=HELD_OUT if int8 else 0,
            seed=order.seed,
            progress=progress,
        )
    if "fp16" in order.precisions:
        with clock.step("fp16"):
            made.append(make_fp16(folder, chosen.frames[:FP16_FRAMES], progress=progress))
            judge.look(made[-1], progress=progress)
    if not int8:
        return _Others(made=tuple(made), frames=chosen)
    with clock.step("int8"):
        quantised = _make_int8(order, source, folder, chosen, judge, progress)
    return _Others(
        made=(*made, *quantised.made), frames=chosen, calibration=quantised.calibration, study=quantised.study
    )


def _make_int8(
    order: Order, source: _Source, folder: Path, chosen: CalibrationSet, judge: Judge, progress: Progress
) -> _Others:
    """Take the truest method; where the gate refuses it, return the most sensitive layers to float until it holds."""
    shop = open_workshop(folder / FP32, source.quantizer, chosen.frames, progress)
    witness = _witness(folder, chosen.compared, source, progress)
    name = source.quantizer.name
    compared = () if witness.blind else compare_methods(shop, witness, order.methods, name, progress)
    method = compared[0].method if compared else order.methods[0]
    attempt = _Attempt(folder, shop, source.quantizer, shop.scales(method), judge, progress)
    attempt.look(())
    studied: Study | None = None
    if not witness.blind and (order.sensitivity or attempt.is_refused):
        few = _witness(folder, evenly(chosen.compared, LAYER_FRAMES), source, progress)
        studied = study(shop, method, Witnesses(layers=few, curve=witness), progress)
        attempt.fall_back(studied)
    calibration = Calibration(
        method=method,
        quantizer=name,
        images=len(chosen.frames),
        data_sha256=chosen.sha256,
        samples=chosen.samples,
        compared=compared,
        compared_on=chosen.compared_on,
        float_layers=attempt.floats,
    )
    return _Others(made=attempt.made, frames=chosen, calibration=calibration, study=studied)


def _witness(folder: Path, images: Sequence[Judged], source: _Source, progress: Progress) -> Witness:
    return Witness(folder / FP32, images, source.outputs, class_count=len(source.dataset.names), progress=progress)


class _Attempt:
    """INT8 with some layers in floating point; the last look counts."""

    def __init__(
        self,
        folder: Path,
        shop: Workshop,
        quantizer: Quantizer,
        scales: Mapping[str, float],
        judge: Judge,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._shop = shop
        self._quantizer = quantizer
        self._scales = scales
        self._judge = judge
        self._progress = progress
        self.made: tuple[Made, ...] = ()
        self.floats: tuple[str, ...] = ()

    @property
    def is_refused(self) -> bool:
        return bool({one.path for one in self.made} & set(self._judge.judgement().gate.refused))

    def look(self, floats: tuple[str, ...]) -> None:
        self.floats = floats
        self.made = make_int8(self._folder, self._shop, self._quantizer, self._scales, floats)
        for one in self.made:
            self._judge.look(one, progress=self._progress)

    def fall_back(self, studied: Study) -> None:
        """Where the gate refuses it, return the most sensitive layers to float, as few as it takes."""
        if not self.is_refused:
            return

        def holds(count: int) -> bool:
            self.look(studied.worst(count))
            return not self.is_refused

        needed = fewest(ladder(len(studied.layers)), holds)
        if needed is not None and len(self.floats) != needed:
            self.look(studied.worst(needed))


def _stop_at_weak_weights(judge: Judge, folder: Path, progress: Progress) -> None:
    """End before anything slow is done for weights that FP32 itself does not carry through the gate."""
    refused = judge.judgement().gate.refused
    if FP32 not in refused:
        return
    gain = judge.gain_with_channels_swapped(folder / FP32, progress=progress)
    raise _refusal(judge, Evidence(refused=refused, swapped_gain=gain))


def _stop_at_gate(judge: Judge, folder: Path, source: _Source, chosen: CalibrationSet | None) -> None:
    refused = judge.judgement().gate.refused
    if refused:
        raise _refusal(judge, _evidence(refused, folder, source, chosen))


def _evidence(refused: Mapping[str, str], folder: Path, source: _Source, chosen: CalibrationSet | None) -> Evidence:
    graphs = [onnx.load(folder / path).graph for path in refused]
    if chosen is None:
        return Evidence(refused=refused)
    labels = source.dataset.names
    shown = {index for image in source.images for index in image.truth.classes.tolist()}
    return Evidence(
        refused=refused,
        quantised_head=tuple(dict.fromkeys(name for graph in graphs for name in quantised_decode_nodes(graph))),
        brightness_distance=distance(
            chosen.frames.mean(axis=(1, 2, 3)), np.array([image.frame.mean() for image in source.images])
        ),
        missing_classes=tuple(labels[index] for index in sorted(shown - chosen.classes)),
    )


def _refusal(judge: Judge, evidence: Evidence) -> GateError:
    table = "\n".join(measured_line(one) for one in judge.judgement().measured)
    reasons = "\n".join(f"{path}: {why}" for path, why in evidence.refused.items())
    return GateError(
        "the gate refuses to let this release out",
        found=f"{reasons}\n{table}",
        wanted="every precision that was asked for within the limits",
        remedy="; ".join([*likely_causes(evidence), *([] if FP32 in evidence.refused else [_PACK_OTHERS])]),
    )


def _pack(order: Order, source: _Source, others: _Others, judgement: Judgement, folder: Path) -> Manifest:
    conditions = latency_conditions()
    write_reference(folder / REFERENCE, judgement.reference)
    manifest = Manifest(
        name=source.release.name,
        version=source.release.version,
        labels=source.dataset.names,
        input=InputSpec(width=source.spec.width, height=source.spec.height),
        outputs=source.outputs,
        variants=_variants((_FP32, *others.made), judgement, folder, conditions),
        calibration=others.calibration,
        target=order.target,
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
        study=others.study,
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
