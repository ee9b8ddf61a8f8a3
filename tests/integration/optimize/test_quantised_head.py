"""A quantiser that does not leave the head alone is measured, refused, and named as the cause."""

import onnx
import pytest
from onnx import shape_inference

from mien.errors import GateError
from optimize.gate import GateLimits
from optimize.graph.structure import decode_nodes
from optimize.quantize.onnxruntime_qdq import OnnxRuntimeQuantizer
from optimize.quantize.placement import Placement, Site
from optimize.run import Order, optimize

LIMITS = GateLimits(max_map50_95_loss=0.01, max_class_loss=0.2, max_confidence_shift=0.1, min_reference_agreement=0.8)


class Careless(OnnxRuntimeQuantizer):
    """Places INT8 as onnxruntime does, and in everything that chooses and decodes boxes besides."""

    def place(self, model, *, frames, keep_float, progress):
        placement = super().place(model, frames=frames, keep_float=keep_float, progress=progress)
        graph = shape_inference.infer_shapes(onnx.load(model)).graph
        floats = {one.name for one in graph.value_info if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
        head = set(decode_nodes(graph))
        sites = {
            Site(node.name, place)
            for node in graph.node
            if node.name in head
            for place, name in enumerate(node.input)
            if name in floats
        }
        return Placement(sites=placement.sites | sites, weights=placement.weights)


def test_a_quantised_head_is_refused_and_named(tmp_path, weights, data, monkeypatch):
    """No return of layers mends it; the real gate refuses what was really measured, and the head comes first."""
    monkeypatch.setattr("optimize.run.quantizer_called", lambda _: Careless())
    order = Order(
        weights=weights,
        data=data,
        out=tmp_path / "b",
        name="faces",
        version="1.0.0",
        limits=LIMITS,
        intended_use="a test",
        precisions=("fp32", "int8"),
        methods=("max",),
        sensitivity=False,
        calibration_images=32,
    )
    with pytest.raises(GateError) as caught:
        optimize(order)
    assert caught.value.remedy.startswith("quantised head: ")
    assert "model.int8.onnx: map50_95_loss" in caught.value.found
    assert "model.fp32.onnx:" not in caught.value.found
    assert list(tmp_path.iterdir()) == []
