"""The steps between the FP32 graph and a bundle, each on its own: calibrate, quantise, look at sensitivity, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from mien.console import SILENT, Progress
from mien.dataset import read_dataset
from mien.errors import ConfigError
from mien.files import sha256_of, write_bytes
from mien.release import ComparedOn, MethodResult, OutputSpec
from optimize.calibration.collect import collect_histograms
from optimize.calibration.histograms import read_histograms, write_histograms
from optimize.calibration.images import HELD_OUT, CalibrationSet, calibration_set, count_for
from optimize.evaluate.fidelity import Witness, lost
from optimize.evaluate.run import workers
from optimize.graph.read import ExportedGraph, check_data, open_graph
from optimize.images import Judged
from optimize.int8 import Workshop, compare_methods, open_workshop, place, workshop
from optimize.outputs import check_out
from optimize.quantize.half import halve
from optimize.quantize.interface import Quantizer
from optimize.quantize.twin import shift_activations
from optimize.sensitivity import Study, Witnesses, study


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOrder:
    """What to calibrate with."""

    model: Path
    data: Path
    images: int | None
    """``None`` for the usual number; see :func:`optimize.calibration.images.count_for`."""
    seed: int
    held_out: int = HELD_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What calibrating gave."""

    images: int
    data_sha256: str
    tensors: int
    compared: tuple[MethodResult, ...]
    """Every method of every quantiser, best first; see :func:`optimize.evaluate.fidelity.lost`."""
    compared_on: ComparedOn


def calibrate(
    order: CalibrationOrder,
    out: Path,
    quantizers: Sequence[Quantizer],
    methods: Sequence[str],
    progress: Progress = SILENT,
) -> Calibrated:
    """Gather histograms of everything that the quantisers would quantise, and compare methods side by side.

    Raises:
        MienError: of the class that fits what is wrong; nothing is left behind under the file's name.
    """
    check_out(out, order.model, order.data)
    graph, chosen = _frames(order, progress)
    proto = onnx.load(graph.path).graph
    placements = {one.name: place(graph.path, one, chosen.frames, progress) for one in quantizers}
    tensors = frozenset().union(*(placement.tensors(proto) for placement in placements.values()))
    histograms = collect_histograms(graph.path, chosen.frames, tensors, threads=workers(), progress=progress)
    witness = _witness(graph, chosen.compared, progress)
    compared: list[MethodResult] = []
    for name, placement in placements.items():
        compared += compare_methods(workshop(graph.path, placement, histograms), witness, methods, name, progress)
    write_histograms(out, histograms, model_sha256=sha256_of(graph.path), frames=len(chosen.frames))
    return Calibrated(
        images=len(chosen.frames),
        data_sha256=chosen.sha256,
        tensors=len(tensors),
        compared=tuple(sorted(compared, key=lambda one: lost(one.map50_95, one.confidence_shift))),
        compared_on=chosen.compared_on,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """An INT8 graph that was written."""

    path: Path
    layers: int
    float_layers: tuple[str, ...]
    """Those that could have been INT8 and were asked to stay in floating point."""


def quantise(
    model: Path,
    calibration: Path,
    out: Path,
    *,
    quantizer: Quantizer,
    method: str,
    floats: Sequence[str] = (),
    unsigned: bool = False,
    progress: Progress = SILENT,
) -> Quantised:
    """Write an INT8 graph with explicit Q/DQ from scales that were gathered before.

    Args:
        model: the FP32 graph.
        calibration: what :func:`calibrate` wrote for this graph.
        out: appears only when it is whole.
        quantizer: chooses the places.
        method: of finding scales.
        floats: layers that stay in floating point.
        unsigned: write the CPU's twin instead: uint8 activations, and FP32 where the other is FP16.
        progress: told about each step.

    Raises:
        ConfigError: a layer is not one that is quantised.
        MienError: of the class that fits what else is wrong.
    """
    check_out(out, model, calibration)
    graph = open_graph(model)
    histograms = read_histograms(calibration, model_sha256=sha256_of(model))
    shop = workshop(model, place(model, quantizer, _noise(graph), progress), histograms)
    _refuse_unknown(floats, shop)
    made = shop.graph(shop.scales(method), floats)
    if unsigned:
        shift_activations(made.graph)
    else:
        halve(made.graph)
    write_bytes(out, made.SerializeToString())
    return Quantised(path=out, layers=len(shop.layers) - len(floats), float_layers=tuple(floats))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    """A sensitivity analysis, and the images behind it."""

    study: Study
    calibrated_with: int
    compared_on: ComparedOn


def sensitivity(order: CalibrationOrder, quantizer: Quantizer, method: str, progress: Progress = SILENT) -> Sensed:
    """Measure what INT8 costs in each layer alone, and the curve of layers kept in floating point.

    Raises:
        MienError: of the class that fits what is wrong.
    """
    graph, chosen = _frames(order, progress)
    shop = open_workshop(graph.path, quantizer, chosen.frames, progress)
    witness = _witness(graph, chosen.compared, progress)
    found = study(shop, method, Witnesses(layers=witness, curve=witness), progress)
    return Sensed(study=found, calibrated_with=len(chosen.frames), compared_on=chosen.compared_on)


def _frames(order: CalibrationOrder, progress: Progress) -> tuple[ExportedGraph, CalibrationSet]:
    graph, dataset = open_graph(order.model), read_dataset(order.data)
    check_data(graph, dataset)
    count = count_for(dataset, order.images)
    chosen = calibration_set(
        dataset, graph.spec, count=count, seed=order.seed, held_out=order.held_out, progress=progress
    )
    return graph, chosen


def _witness(graph: ExportedGraph, images: Sequence[Judged], progress: Progress) -> Witness:
    outputs = OutputSpec(top_k=graph.spec.top_k)
    witness = Witness(graph.path, images, outputs, class_count=len(graph.labels), progress=progress)
    witness.check_sees()
    return witness


def _noise(graph: ExportedGraph) -> npt.NDArray[np.uint8]:
    """A frame for the libraries to run; where they place INT8 does not depend on what it shows."""
    shape = (1, graph.spec.height, graph.spec.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _refuse_unknown(floats: Sequence[str], shop: Workshop) -> None:
    unknown = [name for name in floats if name not in shop.layers]
    if unknown:
        raise ConfigError(
            "no such layer is quantised",
            found=", ".join(unknown),
            wanted=f"some of the {len(shop.layers)} layers, such as {', '.join(list(shop.layers)[:3])}",
            remedy="see their names with: mien optimize sensitivity",
        )
