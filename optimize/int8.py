"""Ways to INT8 from one FP32 graph: places and scales are found once, then any mixture of them is one call.

The nodes that choose and decode boxes, the convolutions right before them, and attention always stay in floating point.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from mien.console import SILENT, Progress
from mien.files import scratch
from mien.release import MethodResult
from optimize.calibration.collect import collect_histograms
from optimize.calibration.histograms import Histogram
from optimize.calibration.thresholds import thresholds
from optimize.evaluate.fidelity import Fidelity, Witness
from optimize.evaluate.run import workers
from optimize.graph.metadata import metadata_of, set_metadata, with_precision
from optimize.graph.structure import attention_nodes, decode_nodes, output_convolutions
from optimize.quantize.half import halve
from optimize.quantize.interface import QuantizeError, Quantizer
from optimize.quantize.placement import Placement, insert, layers_of, shared_scales, without
from optimize.quantize.twin import shift_activations

_FRAMES_TO_PLACE = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workshop:
    """What is known of a graph before any INT8 is written."""

    model: onnx.ModelProto
    """The FP32 graph."""
    placement: Placement
    """With every layer that may be INT8."""
    layers: Mapping[str, Placement]
    """The same by convolution, in the graph's order."""
    histograms: Mapping[str, Histogram]
    """Of every tensor that may be quantised."""

    def scales(self, method: str) -> dict[str, float]:
        """The thresholds that a method finds, by tensor."""
        return shared_scales(self.placement, self.model.graph, thresholds(self.histograms, method))

    def graph(self, scales: Mapping[str, float], floats: Collection[str] = ()) -> onnx.ModelProto:
        """The INT8 graph with some layers in floating point: signed, symmetric, explicit Q/DQ, opset unchanged."""
        made = insert(self.model, without(self.placement, self.layers, floats), scales)
        set_metadata(made, with_precision(metadata_of(self.model), "int8"))
        return made

    def begins(self, layer: str) -> int:
        """Where the graph with that layer alone in INT8 begins to differ from FP32: a node's index."""
        changed = {layer, *(site.node for site in self.layers[layer].sites)}
        return next(index for index, node in enumerate(self.model.graph.node) if node.name in changed)

    def only(self, layer: str, scales: Mapping[str, float]) -> onnx.ModelProto:
        """The FP32 graph with one layer in INT8."""
        made = insert(self.model, self.layers[layer], scales)
        set_metadata(made, with_precision(metadata_of(self.model), "int8"))
        return made


def place(model: Path, quantizer: Quantizer, frames: npt.NDArray[np.uint8], progress: Progress = SILENT) -> Placement:
    """Where a quantiser makes a graph INT8; what decodes boxes, and attention, stay out.

    Raises:
        QuantizeError: the graph could not be quantised, or nothing in it can be.
    """
    graph = onnx.load(model).graph
    keep = {*decode_nodes(graph), *output_convolutions(graph), *attention_nodes(graph)}
    chosen = quantizer.place(model, frames=frames[:_FRAMES_TO_PLACE], keep_float=sorted(keep), progress=progress)
    if not chosen.weights:
        raise QuantizeError(
            f"{quantizer.name} finds nothing in {model} to quantise",
            wanted="a graph with convolutions outside its head, written by 'mien optimize export'",
            remedy="leave int8 out of --precision for this model",
        )
    return chosen


def workshop(
    model: Path,
    placement: Placement,
    histograms: Mapping[str, Histogram],
) -> Workshop:
    """Bring a placement and histograms of the same graph together.

    Raises:
        QuantizeError: a tensor that the placement quantises has no histogram.
    """
    proto = onnx.load(model)
    missing = placement.tensors(proto.graph) - set(histograms)
    if missing:
        raise QuantizeError(
            "the calibration does not know every tensor to be quantised",
            found=f"{len(missing)} are missing, first {min(missing)}",
            remedy="calibrate with the quantiser that is asked for: mien optimize calibrate",
        )
    order = {node.name: index for index, node in enumerate(proto.graph.node)}
    layers = _without_head(layers_of(placement, proto.graph), proto.graph)
    return Workshop(
        model=proto,
        placement=placement,
        layers={name: layers[name] for name in sorted(layers, key=order.__getitem__)},
        histograms=histograms,
    )


def _without_head(layers: Mapping[str, Placement], graph: onnx.GraphProto) -> dict[str, Placement]:
    """What is quantised among the nodes that choose and decode boxes belongs to no layer.

    It has no business there. The return of a convolution must not hide it: the gate shall see it and name it.
    """
    head = set(decode_nodes(graph))
    return {
        name: replace(layer, sites=frozenset(site for site in layer.sites if site.node not in head))
        for name, layer in layers.items()
    }


def open_workshop(
    model: Path, quantizer: Quantizer, frames: npt.NDArray[np.uint8], progress: Progress = SILENT
) -> Workshop:
    """Place and calibrate.

    Raises:
        QuantizeError: see :func:`place`.
    """
    placement = place(model, quantizer, frames, progress)
    tensors = placement.tensors(onnx.load(model).graph)
    histograms = collect_histograms(model, frames, tensors, threads=workers(), progress=progress)
    return workshop(model, placement, histograms)


def compare_methods(
    shop: Workshop, witness: Witness, methods: Sequence[str], quantizer: str, progress: Progress = SILENT
) -> tuple[MethodResult, ...]:
    """Try methods side by side on frames that no scale was found with.

    Returns:
        Best first; of equals, in the order that was given.
    """
    progress.start(f"compare methods ({quantizer})", len(methods))
    tried: list[tuple[Fidelity, str]] = []
    for method in methods:
        tried.append((fidelity_of(shop.graph(shop.scales(method)), witness)[0], method))
        progress.advance(note=method)
    return tuple(
        MethodResult(
            method=method,
            quantizer=quantizer,
            map50_95=fidelity.map50_95,
            confidence_shift=fidelity.confidence_shift,
            changed_images=fidelity.changed_images,
            images=witness.frames,
        )
        for fidelity, method in sorted(tried, key=lambda one: one[0].loss)
    )


def fidelities_alone(shop: Workshop, scales: Mapping[str, float], witness: Witness) -> Iterator[tuple[str, Fidelity]]:
    """Hold each layer alone in INT8 against FP32, in the order in which their graphs begin to differ from it.

    They are run with unsigned activations and from where they differ only; the numbers are those of the whole graph.
    """
    relay = witness.relay(shop.model)
    begins = {layer: shop.begins(layer) for layer in shop.layers}
    for layer in sorted(begins, key=begins.__getitem__):
        relay.advance(begins[layer])
        graph = shop.only(layer, scales)
        shift_activations(graph.graph)
        yield layer, witness.judge_inferred(relay.finish(graph))


def fidelity_of(graph: onnx.ModelProto, witness: Witness) -> tuple[Fidelity, int]:
    """Hold an INT8 graph in memory against FP32.

    It is run with unsigned activations: the same numbers, and a CPU is faster with them. What is not INT8 calculates in
    FP16, as in TensorRT's file.

    Args:
        graph: is changed.
        witness: FP32's findings.

    Returns:
        What was measured, and the graph's size in bytes.
    """
    halve(graph.graph)
    shift_activations(graph.graph)
    content = graph.SerializeToString()
    with scratch("int8") as folder:
        path = folder / "int8.onnx"
        path.write_bytes(content)
        return witness.judge(path), len(content)
