"""The layers of an INT8 graph that stay in floating point, as FP16: for TensorRT, not for a CPU.

Only convolutions change, each between two casts; the scales of Q/DQ stay FP32. A graph whose scales are FP16 too, as
Model Optimizer writes it, cannot be judged here: onnxruntime 1.24's CPU kernel of QuantizeLinear cuts FP16 values off
where it should round them, and every second value comes out one step low (ADR 9).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_LARGEST = float(np.finfo(np.float16).max)


def halve(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Let every convolution whose weights are floating-point constants calculate in FP16, in place.

    Convolutions whose weights FP16 cannot hold stay as they are.

    Returns:
        Names of the convolutions that were changed.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = _readers(graph)
    nodes: list[onnx.NodeProto] = []
    changed: list[str] = []
    for node in graph.node:
        own = [constants[name] for name in node.input[1:] if name in constants]
        if node.op_type != "Conv" or len(own) != len(node.input) - 1 or not all(_fits(tensor) for tensor in own):
            nodes.append(node)
            continue
        if any(readers[tensor.name] > 1 for tensor in own):
            nodes.append(node)
            continue
        nodes += _between_casts(node)
        for tensor in own:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
        changed.append(node.name)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return tuple(changed)


def _between_casts(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    half = onnx.NodeProto()
    half.CopyFrom(node)
    half.input[0], half.output[0] = f"{node.name}_input_half", f"{node.name}_output_half"
    down = helper.make_node("Cast", [node.input[0]], [half.input[0]], f"{node.name}_to_half", to=TensorProto.FLOAT16)
    back = helper.make_node("Cast", [half.output[0]], [node.output[0]], f"{node.name}_to_float", to=TensorProto.FLOAT)
    return [down, half, back]


def _fits(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and float(np.abs(numpy_helper.to_array(tensor)).max()) < _LARGEST


def _readers(graph: onnx.GraphProto) -> dict[str, int]:
    count: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            count[name] = count.get(name, 0) + 1
    return count
