"""The CPU's twin of an INT8 graph: unsigned activations with the same scales, number for number the same scales.

A quantised number q with zero point z means scale · (q − z). Shifting both by 128 changes the type and no meaning, and
onnxruntime's CPU kernels for unsigned activations are several times as fast. Weights stay signed.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

_SHIFT = 128


def shift_activations(graph: onnx.GraphProto) -> int:
    """Shift every activation's Q and DQ nodes from int8 to uint8, in place.

    Returns:
        How many nodes were shifted.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    added: dict[str, str] = {}
    count = 0
    for node in graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"} or node.input[0] in constants:
            continue
        zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004 - x, scale, zero point
        if zero_point is None or zero_point.data_type != onnx.TensorProto.INT8:
            continue
        node.input[2] = _shifted(graph, zero_point, added)
        count += 1
    return count


def _shifted(graph: onnx.GraphProto, zero_point: onnx.TensorProto, added: dict[str, str]) -> str:
    name = added.get(zero_point.name)
    if name is None:
        name = f"{zero_point.name}_unsigned"
        values = (numpy_helper.to_array(zero_point).astype(np.int16) + _SHIFT).astype(np.uint8)
        graph.initializer.append(numpy_helper.from_array(values, name))
        added[zero_point.name] = name
    return name
