"""Graph surgery on graphs of a few operators."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from optimize.bundle.drill import damage
from optimize.graph.metadata import metadata_of, set_metadata, with_precision
from optimize.graph.structure import (
    attention_nodes,
    decode_nodes,
    name_all,
    output_convolutions,
    quantised_decode_nodes,
)
from optimize.quantize.half import halve
from optimize.quantize.twin import shift_activations

DICE = np.random.default_rng(0)


def build(nodes, constants, outputs):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def two_heads():
    """A convolution → two convolutions → sigmoid and softmax."""
    weights = {
        name: DICE.normal(size=(8, inputs, 3, 3)).astype(np.float32) for name, inputs in (("a", 3), ("b", 8), ("c", 8))
    }
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["body"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["body"], ["active"], name="relu"),
        helper.make_node("Conv", ["active", "b"], ["raw"], name="boxes", pads=[1] * 4),
        helper.make_node("Conv", ["active", "c"], ["logits"], name="classes", pads=[1] * 4),
        helper.make_node("Softmax", ["raw"], ["p"], name="dfl"),
        helper.make_node("Sigmoid", ["logits"], ["q"], name="sigmoid"),
    ]
    return build(nodes, weights, ["p", "q"])


def quantised(zero_point=-3):
    """Input → Q → DQ → conv with per-channel int8 weights."""
    constants = {
        "s": np.float32(0.05),
        "z": np.int8(zero_point),
        "w": DICE.integers(-127, 128, (16, 3, 3, 3)).astype(np.int8),
        "ws": np.full(16, 0.01, np.float32),
        "wz": np.zeros(16, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"], pads=[1] * 4),
    ]
    return build(nodes, {name: np.asarray(value) for name, value in constants.items()}, ["y"])


def answer(model, frame):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": frame})


DAMAGED_OFTEN = two_heads()
FRAME = DICE.normal(scale=3, size=(1, 3, 8, 8)).astype(np.float32)


def test_decode_is_what_follows_the_last_convolutions():
    """Only nodes after the last convolutions are decoding; the body's activation is not."""
    assert set(decode_nodes(two_heads().graph)) == {"dfl", "sigmoid"}


def test_output_convolutions_are_the_last_ones():
    """Both heads' last convolutions, not the body's."""
    assert set(output_convolutions(two_heads().graph)) == {"boxes", "classes"}


def test_quantised_head_is_seen():
    """A node that decodes and reads a dequantised number is named; a quantised body is not."""
    model = two_heads()
    constants = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in (("s", np.float32(1)), ("z", np.int8(0)))
    ]
    model.graph.initializer.extend(constants)
    pair = [helper.make_node("QuantizeLinear", ["raw", "s", "z"], ["q8"], name="Q")]
    pair.append(helper.make_node("DequantizeLinear", ["q8", "s", "z"], ["d8"], name="DQ"))
    assert quantised_decode_nodes(model.graph) == ()
    model.graph.node[4].input[0] = "d8"
    model.graph.node.extend(pair)
    assert quantised_decode_nodes(model.graph) == ("dfl",)


def test_attention_is_found_by_what_it_does():
    """Products of activations, softmax, and scaling by a constant; not the product of SiLU."""
    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["a"], name="scores"),
        helper.make_node("Mul", ["a", "scale"], ["b"], name="scaled"),
        helper.make_node("Softmax", ["b"], ["c"], name="weights"),
        helper.make_node("Sigmoid", ["c"], ["d"], name="gate"),
        helper.make_node("Mul", ["c", "d"], ["e"], name="silu"),
    ]
    model = build(nodes, {"scale": np.array(0.1, np.float32)}, ["e"])
    assert attention_nodes(model.graph) == ("scores", "scaled", "weights")


def test_nameless_nodes_get_unique_names():
    """Every node can be addressed, also where a name is taken already."""
    graph = two_heads().graph
    graph.node[1].name = ""
    graph.node[3].name = ""
    graph.node[0].name = "Relu_1"
    name_all(graph)
    assert len({node.name for node in graph.node}) == len(graph.node)


def test_twin_gives_the_same_numbers():
    """Unsigned activations with a shifted zero point mean the same, to the last bit."""
    model, twin = quantised(), onnx.ModelProto()
    twin.CopyFrom(model)
    shift_activations(twin.graph)
    assert (answer(model, FRAME)[0] == answer(twin, FRAME)[0]).all()


def test_twin_shifts_activations_and_not_weights():
    """Activations become uint8, weights stay int8."""
    model = quantised()
    assert shift_activations(model.graph) == 2
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["z_unsigned"] == TensorProto.UINT8
    assert kinds["w"] == kinds["wz"] == TensorProto.INT8


def test_float_graph_has_no_twin():
    """A graph without quantised activations is left as it is."""
    assert shift_activations(two_heads().graph) == 0


def test_float_convolutions_become_half_and_int8_ones_stay():
    """Weights in FP16 between casts; the answer moves by no more than FP16 rounds, and outputs keep their type."""
    wanted, model = answer(two_heads_again(), FRAME), two_heads_again()
    assert set(halve(model.graph)) == {"first", "boxes", "classes"}
    found = answer(model, FRAME)
    assert {one.dtype for one in found} == {np.dtype(np.float32)}
    assert 0 < max(np.abs(one - other).max() for one, other in zip(wanted, found, strict=True)) < 0.05
    assert halve(quantised().graph) == ()


def test_weights_that_fp16_cannot_hold_stay():
    """A convolution with a weight beyond 65,504 keeps FP32."""
    model = two_heads_again()
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[0, 0, 0, 0] = 1e5
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "a"))
    assert set(halve(model.graph)) == {"boxes", "classes"}


def two_heads_again():
    copy = onnx.ModelProto()
    copy.CopyFrom(DAMAGED_OFTEN)
    return copy


def weights_of(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_damage_changes_weights_and_keeps_shapes():
    """Only the second convolution's weights change, and they keep shape, type and values."""
    good, bad = two_heads(), two_heads()
    bad.CopyFrom(good)
    assert damage(bad, 7) == 1
    before, after = weights_of(good), weights_of(bad)
    assert [name for name in before if (before[name] != after[name]).any()] == ["b"]
    assert (np.sort(before["b"], axis=None) == np.sort(after["b"], axis=None)).all()
    assert not np.allclose(answer(good, FRAME)[0], answer(bad, FRAME)[0])


def test_damage_follows_its_seed():
    """The same seed damages in the same way, another in another."""
    models = [onnx.ModelProto() for _ in range(3)]
    for model, seed in zip(models, (7, 7, 8), strict=True):
        model.CopyFrom(DAMAGED_OFTEN)
        damage(model, seed)
    first, second, other = (model.SerializeToString() for model in models)
    assert first == second != other


def test_damage_reaches_quantised_weights():
    """Weights behind a DequantizeLinear are found and keep their type."""
    model = quantised()
    body = helper.make_node("Conv", ["x", "w0"], ["unused"])
    model.graph.node.insert(0, body)
    before = weights_of(model)["w"].copy()
    assert damage(model, 7) == 1
    after = weights_of(model)["w"]
    assert after.dtype == np.int8
    assert (before != after).any()


def test_metadata_is_replaced_whole():
    """What an exporter wrote about itself goes; what is set stays."""
    model = two_heads()
    set_metadata(model, {"old": "1"})
    set_metadata(model, with_precision({"mien.labels": "happy\nsad"}, "int8"))
    assert metadata_of(model) == {"mien.labels": "happy\nsad", "mien.precision": "int8"}
