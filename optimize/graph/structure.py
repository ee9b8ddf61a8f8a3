"""What belongs to what in a detection graph, read from its edges and never from node names. Pure."""

from __future__ import annotations

from collections import deque

import onnx


def decode_nodes(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of the nodes between the last convolutions and the outputs: choice of the best, DFL, box arithmetic.

    They hold pixels, probabilities and indices at once; one shared INT8 scale would destroy them.
    """
    return tuple(node.name for node in _until_convolution(graph)[0])


def output_convolutions(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of the last convolutions before the outputs: box distributions and class logits."""
    return tuple(node.name for node in _until_convolution(graph)[1])


def quantised_decode_nodes(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of the nodes that choose or decode boxes and read a dequantised number, in a graph with Q/DQ nodes."""
    dequantised = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    decode, _ = _until_convolution(graph)
    return tuple(node.name for node in decode if dequantised & set(node.input))


def attention_nodes(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of attention's own nodes: products of activations, their softmax and scaling by a constant.

    TensorRT takes no quantised constant there, and INT8 scales over attention weights cost accuracy.
    """
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {output for node in graph.node if node.op_type == "Constant" for output in node.output}
    return tuple(
        node.name
        for node in graph.node
        if node.op_type in {"MatMul", "Softmax"}
        or (node.op_type in {"Mul", "Div", "Add", "Sub"} and constants & set(node.input))
    )


def name_all(graph: onnx.GraphProto) -> None:
    """Give every nameless node a name, in place: quantisers address nodes by name."""
    taken = {node.name for node in graph.node}
    for place, node in enumerate(graph.node):
        if not node.name:
            name = f"{node.op_type}_{place}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)


def _until_convolution(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    maker = {output: node for node in graph.node for output in node.output}
    waiting = deque(output.name for output in graph.output)
    seen: set[str] = set()
    decode: list[onnx.NodeProto] = []
    convolutions: list[onnx.NodeProto] = []
    while waiting:
        node = maker.get(waiting.popleft())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type == "Conv":
            convolutions.append(node)
        else:
            decode.append(node)
            waiting.extend(node.input)
    return decode, convolutions
