"""Where a graph becomes INT8, apart from how wide its numbers are. Pure.

A quantiser chooses the places; :func:`insert` writes them into the FP32 graph as explicit Q/DQ. So both quantisers
share one set of scales, the graph keeps its opset and names, and a layer returns to float by leaving its places out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from optimize.calibration.thresholds import LEVELS

_WEIGHT = 1
"""Index of a convolution's weights among its inputs."""
_NOTHING = 1e-30
"""A channel whose weights are all smaller has none."""
_MOVES = frozenset({"MaxPool", "Resize"})
"""What comes out of these has the sizes of what went in."""


class Site(NamedTuple):
    """An input of a node."""

    node: str
    slot: int
    """Which of its inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which inputs of which nodes pass through INT8."""

    sites: frozenset[Site]
    """Inputs that carry activations."""
    weights: frozenset[str]
    """Names of convolutions whose weights are stored as INT8."""

    def tensors(self, graph: onnx.GraphProto) -> frozenset[str]:
        """Names of the activations that need a scale."""
        inputs = {node.name: node.input for node in graph.node}
        return frozenset(inputs[site.node][site.slot] for site in self.sites)


def placement_of(quantised: onnx.GraphProto, graph: onnx.GraphProto) -> Placement:
    """Read from a library's Q/DQ graph where it quantised.

    Args:
        quantised: what the library made of ``graph``; nodes keep their names, and inputs their order.
        graph: the FP32 graph.
    """
    constants = {tensor.name for tensor in quantised.initializer}
    dequantised = {
        node.output[0]: node.input[0] in constants for node in quantised.node if node.op_type == "DequantizeLinear"
    }
    known = {node.name: node for node in graph.node}
    sites: set[Site] = set()
    weights: set[str] = set()
    for node in quantised.node:
        if node.name not in known:
            continue
        for index, name in enumerate(node.input):
            if name not in dequantised:
                continue
            if dequantised[name]:
                weights |= {node.name} if node.op_type == "Conv" and index == _WEIGHT else set()
            else:
                sites.add(Site(node.name, index))
    return Placement(sites=frozenset(sites), weights=frozenset(weights))


def layers_of(placement: Placement, graph: onnx.GraphProto) -> dict[str, Placement]:
    """The placement by layer: each convolution with its inputs, its weights, and what is quantised of its result.

    A place at another node than a convolution belongs to the convolution that its tensor comes from.
    """
    maker = {output: node for node in graph.node for output in node.output}
    nodes = {node.name: node for node in graph.node}
    order = {name: index for index, name in enumerate(nodes)}
    sites: dict[str, set[Site]] = {name: set() for name in sorted(placement.weights)}
    for site in placement.sites:
        owner = site.node if site.node in sites else _source(nodes[site.node].input[site.slot], maker, order, sites)
        if owner is not None:
            sites[owner].add(site)
    return {name: Placement(sites=frozenset(members), weights=frozenset({name})) for name, members in sites.items()}


def without(placement: Placement, layers: Mapping[str, Placement], floats: Collection[str]) -> Placement:
    """The placement with some layers back in floating point."""
    gone = [layers[name] for name in floats]
    return replace(
        placement,
        sites=placement.sites.difference(*(layer.sites for layer in gone)),
        weights=placement.weights.difference(*(layer.weights for layer in gone)),
    )


def shared_scales(placement: Placement, graph: onnx.GraphProto, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Thresholds with one value for tensors that are joined or only moved, so that TensorRT copies bytes there.

    The inputs of a Concat, and what goes into and comes out of a MaxPool or a Resize, share the largest of theirs.
    """
    needed = placement.tensors(graph)
    group = {name: name for name in needed}

    def head(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for node in graph.node:
        if node.op_type == "Concat":
            alike = [name for index, name in enumerate(node.input) if Site(node.name, index) in placement.sites]
        elif node.op_type in _MOVES and Site(node.name, 0) in placement.sites:
            alike = [name for name in (node.input[0], node.output[0]) if name in needed]
        else:
            continue
        for name in alike[1:]:
            group[head(name)] = head(alike[0])
    widest: dict[str, float] = {}
    for name in needed:
        widest[head(name)] = max(widest.get(head(name), 0.0), thresholds[name])
    return {name: widest[head(name)] for name in needed}


def insert(model: onnx.ModelProto, placement: Placement, thresholds: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of the FP32 graph with explicit Q/DQ: signed, symmetric, weights by channel, biases in float.

    Args:
        model: the FP32 graph.
        placement: where.
        thresholds: of every tensor in :meth:`Placement.tensors`, the size that becomes 127.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    writer = _Writer(graph, thresholds)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            if Site(node.name, index) in placement.sites:
                node.input[index] = writer.activation(name, nodes)
            elif index == _WEIGHT and node.name in placement.weights:
                node.input[index] = writer.weight(name, nodes)
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    writer.drop_unused()
    return made


class _Writer:
    """Adds Q/DQ nodes and their constants; each tensor gets one pair, however many read it."""

    def __init__(self, graph: onnx.GraphProto, thresholds: Mapping[str, float]) -> None:
        self._graph = graph
        self._thresholds = thresholds
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._made: dict[str, str] = {}

    def activation(self, name: str, nodes: list[onnx.NodeProto]) -> str:
        if name not in self._made:
            scale = self._constant(f"{name}_scale", np.float32(self._thresholds[name] / LEVELS))
            zero = self._constant(f"{name}_zero_point", np.int8(0))
            quantised, given = f"{name}_quantized", f"{name}_dequantized"
            nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [quantised], f"{name}_QuantizeLinear"))
            nodes.append(
                helper.make_node("DequantizeLinear", [quantised, scale, zero], [given], f"{name}_DequantizeLinear")
            )
            self._made[name] = given
        return self._made[name]

    def weight(self, name: str, nodes: list[onnx.NodeProto]) -> str:
        if name not in self._made:
            values, scales = quantised_weights(numpy_helper.to_array(self._constants[name]).astype(np.float32))
            inputs = [
                self._constant(f"{name}_quantized", values),
                self._constant(f"{name}_scale", scales),
                self._constant(f"{name}_zero_point", np.zeros(len(scales), np.int8)),
            ]
            given = f"{name}_dequantized"
            nodes.append(helper.make_node("DequantizeLinear", inputs, [given], f"{name}_DequantizeLinear", axis=0))
            self._made[name] = given
        return self._made[name]

    def drop_unused(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _constant(self, name: str, value: npt.ArrayLike) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def quantised_weights(
    weights: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Weights ``float32[channels, …]`` as INT8 with a scale for each output channel: its largest becomes 127."""
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = (np.where(largest > _NOTHING, largest, 1) / LEVELS).astype(np.float32)
    shaped = scales.reshape(-1, *[1] * (weights.ndim - 1))
    return np.clip(np.round(weights / shaped), -LEVELS, LEVELS).astype(np.int8), scales


def _source(
    name: str, maker: Mapping[str, onnx.NodeProto], order: Mapping[str, int], wanted: Collection[str]
) -> str | None:
    """The last convolution before a tensor, in the graph's order, among those wanted."""
    waiting, seen = [name], set()
    while waiting:
        found = [maker[tensor] for tensor in waiting if tensor in maker and maker[tensor].name not in seen]
        if not found:
            return None
        last = max(found, key=lambda node: order[node.name])
        if last.name in wanted:
            return last.name
        seen.add(last.name)
        waiting.extend(last.input)
    return None
