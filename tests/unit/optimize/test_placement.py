"""Where a graph becomes INT8, and how it is written."""

import numpy as np
import onnx
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from optimize.quantize.placement import (
    Placement,
    Site,
    insert,
    layers_of,
    placement_of,
    quantised_weights,
    shared_scales,
    without,
)

DICE = np.random.default_rng(3)
FRAME = DICE.normal(size=(1, 3, 8, 8)).astype(np.float32)
ALL = Placement(
    sites=frozenset(
        {Site("first", 0), Site("second", 0), Site("sum", 0), Site("sum", 1), Site("join", 0), Site("join", 1)}
    ),
    weights=frozenset({"first", "second"}),
)


def residual():
    """Two convolutions, their sum, and the sum joined with the first."""
    constants = {
        "a": DICE.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "ab": np.zeros(4, np.float32),
        "b": DICE.normal(size=(4, 4, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "a", "ab"], ["one"], name="first", pads=[1] * 4),
        helper.make_node("Conv", ["one", "b"], ["two"], name="second", pads=[1] * 4),
        helper.make_node("Add", ["one", "two"], ["three"], name="sum"),
        helper.make_node("Concat", ["three", "one"], ["y"], name="join", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 8, 8])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


MODEL = residual()


def ranges(model):
    """The largest size of every tensor that :data:`ALL` quantises."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = sorted(ALL.tensors(model.graph) - {"x"})
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    values = run(copy, names)
    return {"x": float(np.abs(FRAME).max()), **{n: float(np.abs(v).max()) for n, v in zip(names, values, strict=True)}}


def run(model, names=("y",)):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(names), {"x": FRAME})


def test_int8_is_close_and_not_the_same():
    """Every place in INT8 gives nearly what FP32 gives, and the graph stays valid at its opset."""
    made = insert(MODEL, ALL, ranges(MODEL))
    onnx.checker.check_model(made, full_check=True)
    assert made.opset_import[0].version == 17
    wanted, found = run(MODEL)[0], run(made)[0]
    assert 0 < np.abs(wanted - found).max() < 0.05 * np.abs(wanted).max()


def test_weights_are_stored_as_int8_once():
    """The FP32 weights are gone; biases stay as they were."""
    kinds = {tensor.name: tensor.data_type for tensor in insert(MODEL, ALL, ranges(MODEL)).graph.initializer}
    assert {kinds["a_quantized"], kinds["b_quantized"]} == {TensorProto.INT8}
    assert "a" not in kinds
    assert kinds["ab"] == TensorProto.FLOAT


def test_a_tensor_that_many_read_is_quantised_once():
    """One pair of Q/DQ serves the second convolution, the sum and the join."""
    made = insert(MODEL, ALL, ranges(MODEL))
    quantised = [node.input[0] for node in made.graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(quantised) == ["one", "three", "two", "x"]


def test_what_was_inserted_is_found_again():
    """Reading a Q/DQ graph gives the placement that it was written with."""
    assert placement_of(insert(MODEL, ALL, ranges(MODEL)).graph, MODEL.graph) == ALL


def test_model_is_left_alone():
    """Inserting works on a copy."""
    before = MODEL.SerializeToString(deterministic=True)
    insert(MODEL, ALL, ranges(MODEL))
    assert MODEL.SerializeToString(deterministic=True) == before


def test_each_place_belongs_to_one_layer():
    """Places at the sum and the join belong to the convolutions that their tensors come from."""
    layers = layers_of(ALL, MODEL.graph)
    assert layers["second"].sites == {Site("second", 0), Site("sum", 1), Site("join", 0)}
    assert layers["first"].sites == {Site("first", 0), Site("sum", 0), Site("join", 1)}


@given(st.sets(st.sampled_from(["first", "second"])))
def test_layers_return_to_float_and_the_rest_stays(floats):
    """What is left out and what is left together are the whole, and a graph without any place is FP32."""
    layers = layers_of(ALL, MODEL.graph)
    left = without(ALL, layers, floats)
    assert left.weights == ALL.weights - floats
    assert left.sites == ALL.sites - frozenset().union(*(layers[name].sites for name in floats))
    if len(floats) == 2:
        assert (run(insert(MODEL, left, {}))[0] == run(MODEL)[0]).all()


def test_joined_tensors_share_the_largest_scale():
    """What meets in a Concat gets one scale, so that joining copies bytes."""
    found = shared_scales(ALL, MODEL.graph, {"x": 1.0, "one": 2.0, "two": 3.0, "three": 5.0})
    assert found == {"x": 1.0, "one": 5.0, "two": 3.0, "three": 5.0}


@given(arrays.arrays(np.float32, (3, 2, 2, 2), elements=st.floats(-100, 100, width=32)))
def test_weights_round_to_the_nearest_step(weights):
    """No weight moves by more than half a step of its channel, and the largest becomes 127."""
    values, scales = quantised_weights(weights)
    back = values.astype(np.float32) * scales[:, None, None, None]
    assert (np.abs(back - weights) <= scales[:, None, None, None] * 0.501).all()
    largest = np.abs(values).reshape(3, -1).max(axis=1)
    assert set(largest.tolist()) <= {0, 127}
