"""The few operators of ``tiny_bundle`` as a graph that takes several frames in a call."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from edge.engine.interface import MAX_BATCH_KEY
from tests.fakes.tiny_bundle import tiny_graph


def open_graph(max_batch: str | None = None) -> onnx.ModelProto:
    """The graph, which says how many frames it takes where that is given."""
    model = tiny_graph()
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    for constant in model.graph.initializer:
        if constant.name == "flat":
            constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) * [0, 1], "flat"))
    if max_batch is not None:
        onnx.helper.set_model_props(model, {MAX_BATCH_KEY: max_batch})
    onnx.checker.check_model(model)
    return model
