"""What one run of a graph costs: operations and bytes of each layer, read off the graph's shapes.

- Matrix work (convolutions, matrix products) is counted exactly; a multiply-add is two operations.
- Pointwise nodes join the layer whose result they change, as TensorRT fuses them: only what such a group reads from
  outside and hands on is moved. Views (reshape, concatenate, split, quantise and back) cost nothing of their own.
- Everything else (pooling, resizing, choosing boxes) counts as bytes; of what is gathered from, only what is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import onnx
from onnx import TensorProto

from edge.engine.interface import PRECISION_KEY
from mien.devices import HardwarePrecision
from mien.errors import ModelError
from mien.release import Precision
from optimize.graph.metadata import metadata_of

BYTES: dict[HardwarePrecision, float] = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1, "fp4": 0.5}
MATRIX = {"Conv", "ConvTranspose", "MatMul", "Gemm"}
POINTWISE = {
    *("Sigmoid", "Mul", "Add", "Sub", "Div", "Relu", "LeakyRelu", "Clip", "HardSwish", "HardSigmoid", "Tanh", "Exp"),
    *("Sqrt", "Pow", "Neg", "Abs", "Erf", "Gelu", "Silu", "Swish", "Softplus", "Mish", "BatchNormalization", "Where"),
}
VIEWS = {
    *(
        "Identity",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Cast",
        "Concat",
        "Split",
        "Slice",
        "Expand",
        "Dropout",
    ),
    *("QuantizeLinear", "DequantizeLinear", "Shape", "Constant", "ConstantOfShape"),
}
GATHERS = {"Gather", "GatherElements", "GatherND"}
_WIDTHS: dict[int, int] = {
    TensorProto.UINT8: 1,
    TensorProto.INT8: 1,
    TensorProto.BOOL: 1,
    TensorProto.INT32: 4,
    TensorProto.INT64: 8,
}
"""Bytes of an element whose width no precision changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer, with the pointwise nodes that are fused into it."""

    name: str
    op: str
    flops: float
    elements: float
    """Floating-point numbers that are read and written."""
    weights: float
    """Floating-point numbers that belong to the model."""
    fixed_bytes: float = 0.0
    """Bytes of whole numbers, which no precision changes."""

    def bytes_in(self, precision: HardwarePrecision) -> float:
        """Bytes moved with a precision."""
        return (self.elements + self.weights) * BYTES[precision] + self.fixed_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The layers of a graph in order."""

    layers: tuple[Layer, ...]
    height: int
    width: int
    ends: float
    """Floating-point numbers of the graph's own inputs and outputs."""
    ends_bytes: float
    """Bytes of the graph's whole-number inputs and outputs."""

    def __iter__(self) -> Iterator[Layer]:
        """The layers in order."""
        return iter(self.layers)

    @property
    def flops(self) -> float:
        """Operations of one run."""
        return sum(layer.flops for layer in self.layers)

    def moved_bytes(self, precision: HardwarePrecision) -> float:
        """Bytes moved by one run when every layer passes its result through memory."""
        return sum(layer.bytes_in(precision) for layer in self.layers)

    def least_bytes(self, precision: HardwarePrecision) -> float:
        """Bytes that no implementation avoids: weights, input and output."""
        return (sum(layer.weights for layer in self.layers) + self.ends) * BYTES[precision] + self.ends_bytes


def read_workload(path: Path) -> Workload:
    """The workload of a graph file.

    Raises:
        ModelError: no such file, not a graph, or a graph whose shapes are not fixed.
    """
    return workload_of(_load(path), source=str(path))


def stated_precision(path: Path) -> Precision | None:
    """What precision a graph file was made in; ``None`` where it does not say.

    Raises:
        ModelError: no such file, or not a graph.
    """
    stated = metadata_of(_load(path)).get(PRECISION_KEY)
    return next((known for known in get_args(Precision) if known == stated), None)


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except OSError as error:
        raise ModelError(
            f"could not read {path}", found=error.strerror or str(error), remedy="check the path"
        ) from error
    except Exception as error:  # supervisor: protobuf's errors have no common class
        raise ModelError(
            f"{path} is no graph",
            found=type(error).__name__,
            wanted="an ONNX file, as 'mien optimize export' writes it",
            remedy="make one with: mien optimize export",
        ) from error


def workload_of(model: onnx.ModelProto, *, source: str = "the graph") -> Workload:
    """The workload of a graph in memory.

    Raises:
        ModelError: shapes are not fixed, so that nothing can be counted.
    """
    return _Reader(onnx.shape_inference.infer_shapes(model).graph, source).read()


@dataclass(slots=True)
class _Group:
    """Nodes that run as one layer."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    flops: float = 0.0

    def add(self, node: onnx.NodeProto) -> None:
        self.nodes.append(node)
        self.made.update(node.output)


class _Reader:
    """Goes through a graph once, in order."""

    def __init__(self, graph: onnx.GraphProto, source: str) -> None:
        self._graph = graph
        self._source = source
        self._shapes = _shapes_of(graph)
        self._constants = {tensor.name for tensor in graph.initializer}
        self._roots: dict[str, set[str]] = {}
        """What a view looks at: tensors that a layer made, or inputs of the graph."""
        self._group_of: dict[str, _Group] = {}
        self._groups: list[_Group] = []

    def read(self) -> Workload:
        for node in self._graph.node:
            self._take(node)
        inputs = [value.name for value in self._graph.input if value.name not in self._constants]
        ends = [*inputs, *(value.name for value in self._graph.output)]
        height, width = self._frame(inputs)
        return Workload(
            layers=tuple(self._layer(group) for group in self._groups),
            height=height,
            width=width,
            ends=sum(self._split_size(name)[0] for name in ends),
            ends_bytes=sum(self._split_size(name)[1] for name in ends),
        )

    def _take(self, node: onnx.NodeProto) -> None:
        inputs = [name for name in node.input if name]
        if all(name in self._constants for name in inputs):
            self._constants.update(node.output)
        elif node.op_type in VIEWS:
            roots = set().union(*(self._seen(name) for name in inputs if name not in self._constants))
            self._roots.update(dict.fromkeys(node.output, roots))
        else:
            group = self._fusing(inputs) if node.op_type in POINTWISE else None
            if group is None:
                group = _Group()
                self._groups.append(group)
            group.add(node)
            group.flops += self._flops(node)
            self._group_of.update(dict.fromkeys(node.output, group))

    def _fusing(self, inputs: Sequence[str]) -> _Group | None:
        """The layer that a pointwise node joins: that of its latest input which one layer made alone."""
        made = [self._group_of[root] for name in inputs for root in self._alone(name) if root in self._group_of]
        joined = [group for group in made if group.nodes[0].op_type in MATRIX | POINTWISE]
        return max(joined, key=self._groups.index) if joined else None

    def _alone(self, name: str) -> set[str]:
        roots = self._seen(name)
        return roots if len(roots) == 1 else set()

    def _seen(self, name: str) -> set[str]:
        return self._roots.get(name, {name})

    def _layer(self, group: _Group) -> Layer:
        first = group.nodes[0]
        used = {name for node in group.nodes for name in node.input if name}
        reads = {name for name in used if name not in self._constants and not self._seen(name) <= group.made}
        writes = {name for name in group.made if self._leaves(name, group)}
        weights = used & self._constants
        most = math.prod(self._shape(first.output[0])) if first.op_type in GATHERS else math.inf
        sizes = [self._split_size(name, most=most) for name in (*reads, *writes)]
        return Layer(
            name=first.name or first.output[0],
            op=first.op_type,
            flops=group.flops,
            elements=sum(floats for floats, _ in sizes),
            weights=float(sum(min(most, math.prod(self._shape(name))) for name in weights)),
            fixed_bytes=sum(fixed for _, fixed in sizes),
        )

    def _leaves(self, name: str, group: _Group) -> bool:
        """Whether somebody outside a group needs what it made."""
        if any(name in self._seen(value.name) for value in self._graph.output):
            return True
        return any(
            name in self._seen(used)
            for other in self._groups
            if other is not group
            for node in other.nodes
            for used in node.input
            if used
        )

    def _flops(self, node: onnx.NodeProto) -> float:
        if node.op_type not in MATRIX:
            return 0.0
        made = math.prod(self._shape(node.output[0]))
        weight = self._shape(node.input[1])
        if node.op_type == "Conv":
            return 2.0 * made * math.prod(weight[1:])
        if node.op_type == "ConvTranspose":
            return 2.0 * math.prod(self._shape(node.input[0])) * math.prod(weight[1:])
        turned = next((value.i for value in node.attribute if value.name == "transA"), 0)
        first = self._shape(node.input[0])
        return 2.0 * made * (first[-2] if turned else first[-1])

    def _split_size(self, name: str, *, most: float = math.inf) -> tuple[float, float]:
        """Floating-point numbers and whole-number bytes of a tensor, or of the ``most`` elements used of it."""
        count = min(most, math.prod(self._shape(name)))
        behind = next(
            iter(self._alone(name)), name
        )  # pixels are read as bytes, also where a view makes numbers of them
        kind = self._shapes.get(behind, self._shapes[name])[1]
        return (0.0, count * _WIDTHS[kind]) if kind in _WIDTHS else (float(count), 0.0)

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._shapes.get(name, ((), 0))[0]
        if name not in self._shapes or any(length < 1 for length in shape):
            raise ModelError(
                f"the shapes of {self._source} are not fixed",
                found=f"{name or 'a tensor'}: {'x'.join(map(str, shape)) or 'no shape'}",
                wanted="a graph with one image size, as 'mien optimize export' writes it",
                remedy="make one with: mien optimize export",
            )
        return shape

    def _frame(self, inputs: Sequence[str]) -> tuple[int, int]:
        shape = self._shape(inputs[0]) if inputs else ()
        channels_last = len(shape) == 4 and shape[-1] in {1, 3}  # noqa: PLR2004 - a batch of pictures
        sides = (shape[1:3] if channels_last else shape[-2:]) if len(shape) == 4 else (0, 0)  # noqa: PLR2004
        return sides[0], sides[1]


def _shapes_of(graph: onnx.GraphProto) -> dict[str, tuple[tuple[int, ...], int]]:
    found = {tensor.name: (tuple(tensor.dims), tensor.data_type) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            tensor = next((value.t for value in node.attribute if value.name == "value"), None)
            if tensor is not None:
                found[node.output[0]] = (tuple(tensor.dims), tensor.data_type)
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            lengths = tuple(side.dim_value if side.HasField("dim_value") else 1 for side in kind.shape.dim[:1])
            rest = tuple(side.dim_value if side.HasField("dim_value") else 0 for side in kind.shape.dim[1:])
            found.setdefault(value.name, (lengths + rest, kind.elem_type))
    return found
