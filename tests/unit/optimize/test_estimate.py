"""Rooflines: counted right, and monotone."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mien.devices import device_classes, device_names
from mien.errors import ModelError
from optimize.estimate import estimate, joules_of_budget, unit_of
from optimize.workload import Layer, Workload, read_workload, workload_of

ROOT = Path(__file__).resolve().parents[3]
CLASSES = {device.name: device for device in device_classes()}
PRECISIONS = ("fp32", "fp16", "int8")


def model_of(nodes, constants, inputs, outputs):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


PICTURE = [("x", TensorProto.FLOAT, [1, 3, 8, 8])]


def test_a_convolution_with_its_activation_is_one_layer():
    """SiLU is fused: 2 operations for each weight and place, the input read, the result written once."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["y"]),
    ]
    work = workload_of(model_of(nodes, {"w": (16, 3, 3, 3), "b": (16,)}, PICTURE, ["y"]))
    (layer,) = work.layers
    assert layer.flops == 2 * 16 * 8 * 8 * 3 * 3 * 3
    assert layer.elements == 3 * 64 + 16 * 64
    assert layer.weights == 16 * 27 + 16
    assert layer.bytes_in("fp16") == 2 * (layer.elements + layer.weights)


def test_a_residual_sum_reads_the_other_branch():
    """The sum joins the later convolution, and the earlier one's result is read once more."""
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["first"], name="first", pads=[1] * 4),
        helper.make_node("Conv", ["first", "b"], ["second"], name="second", pads=[1] * 4),
        helper.make_node("Add", ["first", "second"], ["y"]),
    ]
    first, second = workload_of(model_of(nodes, {"a": (4, 3, 3, 3), "b": (4, 4, 3, 3)}, PICTURE, ["y"])).layers
    assert first.elements == 3 * 64 + 4 * 64
    assert (
        second.elements == 4 * 64 + 4 * 64
    )  # the first's result, read for the convolution and the sum; the sum written


def test_groups_products_and_transposed_convolutions_are_counted():
    """Depthwise convolutions cost a channel's share; matrix products and transposed convolutions have their own formula."""
    depthwise = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, group=3)]
    assert workload_of(model_of(depthwise, {"w": (3, 1, 3, 3)}, PICTURE, ["y"])).flops == 2 * 3 * 64 * 9
    up = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])]
    assert workload_of(model_of(up, {"w": (3, 5, 2, 2)}, PICTURE, ["y"])).flops == 2 * 3 * 64 * 5 * 4
    rows = [("x", TensorProto.FLOAT, [6, 4])]
    product = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert workload_of(model_of(product, {"w": (4, 10)}, rows, ["y"])).flops == 2 * 6 * 10 * 4
    turned = [helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)]
    assert workload_of(model_of(turned, {"w": (6, 10)}, rows, ["y"])).flops == 2 * 4 * 10 * 6


def test_pixels_are_read_as_bytes():
    """A cast of bytes is a view; what reads it reads bytes."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
    ]
    work = workload_of(model_of(nodes, {}, [("x", TensorProto.UINT8, [1, 32, 64, 3])], ["t"]))
    (layer,) = work.layers
    assert (layer.fixed_bytes, layer.elements) == (32 * 64 * 3, 32 * 64 * 3)
    assert (work.height, work.width) == (32, 64)


def test_open_shapes_cannot_be_counted():
    """A graph for any image size is refused with what is wanted."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    model = model_of(nodes, {"w": (4, 3, 3, 3)}, [("x", TensorProto.FLOAT, [1, 3, "height", 8])], ["y"])
    with pytest.raises(ModelError, match="not fixed"):
        workload_of(model)


def test_quantise_and_dequantise_change_nothing_but_the_bytes():
    """The INT8 graph of a layer is the same work."""
    plain = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    quantised = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"], pads=[1] * 4),
    ]
    constants = {"w": (4, 3, 3, 3)}
    scaled = model_of(quantised, constants, PICTURE, ["y"])
    scaled.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")]
    )
    one, other = workload_of(model_of(plain, constants, PICTURE, ["y"])), workload_of(scaled)
    assert one.flops == other.flops
    assert one.moved_bytes("int8") == other.moved_bytes("int8")


def some_workload(sizes):
    layers = tuple(
        Layer(name=str(place), op="Conv", flops=flops, elements=elements, weights=weights)
        for place, (flops, elements, weights) in enumerate(sizes)
    )
    return Workload(layers=layers, height=64, width=64, ends=0.0, ends_bytes=0.0)


AMOUNT = st.floats(min_value=1, max_value=1e10)
WORKLOADS = st.lists(st.tuples(AMOUNT, AMOUNT, AMOUNT), min_size=1, max_size=6).map(some_workload)
FACTOR = st.floats(min_value=1.01, max_value=50)


def faster(device, *, arithmetic=1.0, memory=1.0):
    peaks = {name: peak.model_copy(update={"tera": peak.tera * arithmetic}) for name, peak in device.peaks.items()}
    memories = device.memory.model_copy(update={"bandwidth_gb_s": device.memory.bandwidth_gb_s * memory})
    return device.model_copy(update={"peaks": peaks, "memory": memories})


@given(WORKLOADS, st.sampled_from(device_names()), st.sampled_from(PRECISIONS), FACTOR, FACTOR)
def test_more_arithmetic_or_memory_never_slows_the_roofline(work, name, precision, arithmetic, memory):
    """And with both faster by one factor, the time falls by that factor."""
    device = CLASSES[name]
    before = estimate(work, device, precision).roofline_ms
    nearly = before * (1 + 1e-9)
    assert estimate(work, faster(device, arithmetic=arithmetic), precision).roofline_ms <= nearly
    assert estimate(work, faster(device, memory=memory), precision).roofline_ms <= nearly
    both = estimate(work, faster(device, arithmetic=memory, memory=memory), precision).roofline_ms
    assert both == pytest.approx(before / memory)


@given(WORKLOADS, st.sampled_from(device_names()), st.sampled_from(PRECISIONS))
def test_a_roofline_is_the_sum_of_layers_and_above_its_floor(work, name, precision):
    """Layers add up, no layer beats either roof, and the whole is never below the floor."""
    device = CLASSES[name]
    one = estimate(work, device, precision)
    assert one.roofline_ms == pytest.approx(sum(layer.ms for layer in one.layers))
    assert one.floor_ms <= one.roofline_ms * (1 + 1e-9)
    assert all(layer.ops_per_s <= one.peak_ops for layer in one.layers)
    assert 0 <= one.compute_share <= 1


@given(WORKLOADS, st.sampled_from([name for name in device_names() if CLASSES[name].power_modes]))
def test_no_power_mode_beats_the_highest_clocks(work, name):
    """A mode can only slow a module down."""
    device = CLASSES[name]
    for mode in device.power_modes:
        slowed = estimate(work, device, "fp16", mode).roofline_ms
        assert slowed >= estimate(work, device, "fp16").roofline_ms * (1 - 1e-9)


@given(WORKLOADS, st.sampled_from(device_names()))
def test_a_narrower_type_is_never_slower(work, name):
    """INT8 ≤ FP16 ≤ FP32 on every class."""
    fp32, fp16, int8 = (estimate(work, CLASSES[name], precision).roofline_ms for precision in PRECISIONS)
    assert int8 <= fp16 * 1.03  # published peaks are rounded
    assert fp16 <= fp32 * 1.03


def test_fp32_is_counted_as_tf32_where_that_is_allowed():
    """Else the bound would lie above measurements: YOLOv8s on Orin NX takes 7.2 ms, CUDA cores alone would take 15."""
    assert unit_of(CLASSES["orin-nx-16gb"], "fp32") == "tf32"
    assert unit_of(CLASSES["xavier-nx-8gb"], "fp32") == "fp32"


def test_energy_is_power_times_time():
    """In joules; a mode without a budget gives none, and a published energy is the published power's."""
    nano = CLASSES["orin-nano-8gb-super"]
    assert joules_of_budget(4.0, nano.power_mode("25W")) == pytest.approx(0.1)
    assert joules_of_budget(4.0, nano.power_mode("MAXN_SUPER")) is None
    assert joules_of_budget(4.0, None) is None


def test_a_graph_on_disk_is_read(tmp_path):
    """The same workload as in memory."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    model = model_of(nodes, {"w": (4, 3, 3, 3)}, PICTURE, ["y"])
    onnx.save(model, tmp_path / "g.onnx")
    assert read_workload(tmp_path / "g.onnx") == workload_of(model)
