"""The steps between the FP32 graph and a bundle, each as a command of its own."""

import itertools
import json
import shlex

import numpy as np
import onnx
import pytest

from edge.engine.chooser import open_engine
from mien.errors import ExitCode
from optimize.graph.metadata import metadata_of
from tests.fakes.optimize_command import answer, mien
from tests.fakes.tiny_bundle import make_bundle

METHODS = ["percentile", "mse", "entropy", "max"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, weights):
    """The FP32 graph of the detector that was trained for a moment."""
    path = tmp_path_factory.mktemp("steps") / "model.fp32.onnx"
    answer("export", "--weights", weights, "--imgsz", "96", "--out", path)
    return path


@pytest.fixture(scope="module")
def calibrated(exported, data):
    """Its calibration, with what was said of it."""
    path = exported.with_name("calibration.npz")
    said = answer("calibrate", "--model", exported, "--data", data, "--out", path, "--calibration-images", 32)
    return path, said


def test_methods_and_quantisers_stand_side_by_side(calibrated):
    """All four methods of both quantisers are in one table, the truest first."""
    _, said = calibrated
    rows = said["methods"]
    assert {(row["quantizer"], row["method"]) for row in rows} == {
        (quantizer, method) for quantizer in ("onnxruntime", "modelopt") for method in METHODS
    }
    assert rows[0]["map50_95"] > 0.8, "the truest way keeps what FP32 finds"
    assert len({row["map50_95"] for row in rows}) > 1, "the ways differ, or nothing was measured"
    assert {row["images"] for row in rows} == {32}
    assert [row["loss"] for row in rows] == sorted(row["loss"] for row in rows)
    assert (said["asked"], said["used"], said["compared_on"], said["notes"]) == (32, 32, "held-out training images", [])


def test_calibrating_names_the_command_that_uses_it(calibrated):
    """It can be run as it stands, and takes the truest way."""
    path, said = calibrated
    (command,) = said["next"]
    words = shlex.split(command)
    made = answer(*words[2:])
    assert (made["quantizer"], made["method"]) == (said["methods"][0]["quantizer"], said["methods"][0]["method"])
    assert made["path"] == str(path.with_name("model.int8.onnx"))


@pytest.mark.parametrize("quantizer", ["onnxruntime", "modelopt"])
def test_int8_graph_is_signed_and_symmetric_at_its_opset(exported, calibrated, quantizer, tmp_path):
    """What TensorRT 8.5 and later parse: opset 17, int8 zero points of zero, no quantised bias; metadata stays."""
    said = answer(
        "quantize",
        "--model",
        exported,
        "--calibration",
        calibrated[0],
        "--quantizer",
        quantizer,
        "--out",
        tmp_path / "m",
    )
    model = onnx.load(tmp_path / "m")
    onnx.checker.check_model(model, full_check=True)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantised = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert model.opset_import[0].version == 17
    assert quantised
    assert all(constants[node.input[2]].dtype == np.int8 and not constants[node.input[2]].any() for node in quantised)
    assert all(node.input[0] not in constants for node in quantised), (
        "weights are stored as INT8, not quantised on the way"
    )
    assert metadata_of(model)["mien.precision"] == "int8"
    assert said["int8_layers"] > 40
    assert said["size_bytes"] < 0.3 * exported.stat().st_size


def test_unsigned_twin_finds_the_same(exported, calibrated, tmp_path, photographs):
    """The CPU's twin has the same scales and gives nearly the same boxes and scores."""
    common = ("--model", exported, "--calibration", calibrated[0])
    answer("quantize", *common, "--out", tmp_path / "s.onnx")
    answer("quantize", *common, "--out", tmp_path / "u.onnx", "--unsigned")
    frame = np.ascontiguousarray(photographs[0][:96, :96][None])
    with open_engine(tmp_path / "s.onnx", "onnxruntime") as one, open_engine(tmp_path / "u.onnx", "onnxruntime") as two:
        assert np.abs(one.infer(frame).scores - two.infer(frame).scores).max() < 0.02
    signed, unsigned = (onnx.load(tmp_path / name).graph for name in ("s.onnx", "u.onnx"))
    scales = [
        {t.name: t.raw_data for t in graph.initializer if t.name.endswith("_scale")} for graph in (signed, unsigned)
    ]
    assert scales[0] == scales[1]


def test_sensitivity_ranks_layers_and_draws_the_curve(exported, data, tmp_path):
    """Every layer has a loss of its own, the worst first; the file grows as layers return to floating point.

    A tiny layer's Q/DQ nodes are larger than what INT8 saves in its weights, so from point to point it may shrink a bit.
    """
    found = answer(
        "sensitivity", "--model", exported, "--data", data, "--frames", 16, "--calibration-images", 32,
        "--method", "max", "--plot", tmp_path / "curve.svg",
    )  # fmt: skip
    losses = [layer["loss"] for layer in found["layers"]]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) > 40
    assert losses[0] > losses[-1]
    sizes = [point["size_bytes"] for point in found["curve"]]
    assert (sizes[0], sizes[-1]) == (min(sizes), max(sizes))
    assert all(later > earlier - 4096 for earlier, later in itertools.pairwise(sizes))
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")


def test_a_layer_stays_float_when_it_is_told_to(exported, calibrated, tmp_path):
    """One layer fewer is INT8, and a layer that does not exist is refused with names of some that do."""
    common = ("--model", exported, "--calibration", calibrated[0], "--out", tmp_path / "m.onnx")
    all_layers = answer("quantize", *common)
    first = next(node.name for node in onnx.load(exported).graph.node if node.op_type == "Conv")
    fewer = answer("quantize", *common, "--keep-float", first)
    assert (fewer["int8_layers"], fewer["float_layers"]) == (all_layers["int8_layers"] - 1, [first])
    done = mien("quantize", *common, "--keep-float", "nothing", "--json")
    assert done.returncode == ExitCode.CONFIG
    assert first in json.loads(done.stdout)["wanted"]


def test_defaults_are_said_and_what_was_asked_for_is_not(exported, calibrated, tmp_path):
    """A default quantiser or method is named with the way to a truer one; what was named is taken without a word."""
    common = ("quantize", "--model", exported, "--calibration", calibrated[0], "--out", tmp_path / "m.onnx")
    said = answer(*common)
    assert (said["quantizer"], said["method"]) == ("onnxruntime", "percentile")
    assert ["--quantizer onnxruntime and --method percentile by default" in note for note in said["notes"]] == [True]
    assert "mien optimize calibrate" in said["notes"][0]
    (note,) = answer(*common, "--quantizer", "modelopt")["notes"]
    assert note.startswith("--method percentile by default")
    asked = answer(*common, "--quantizer", "onnxruntime", "--method", "mse")
    assert (asked["method"], asked["notes"]) == ("mse", [])


def test_an_archive_serves_wherever_a_bundle_does(tmp_path):
    """inspect, check, bench and drill read it as it is; unpack makes the folder again, and says what to do with it."""
    make_bundle(tmp_path / "bundle")
    archive = answer("pack", tmp_path / "bundle")["archive"]
    assert answer("inspect", archive)["variants"] == answer("inspect", tmp_path / "bundle")["variants"]
    assert answer("check", archive)["bundle"] == archive
    assert answer("bench", archive, "--rounds", 10)["bundle"] == archive
    folder = tmp_path / "my bundle"
    said = answer("unpack", archive, "--out", folder)
    assert said["release"] == "faces@1.0.0"
    assert f"mien fleet publish '{folder}'" in said["next"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in (tmp_path / "bundle").iterdir()
    )


def test_weights_are_no_graph(weights, data, tmp_path):
    """Calibrating weights is answered with the export that comes first, and that export works."""
    done = mien("calibrate", "--model", weights, "--data", data, "--out", tmp_path / "c.npz", "--json")
    assert done.returncode == ExitCode.MODEL, done.stderr
    remedy = json.loads(done.stdout)["remedy"]
    assert f"mien optimize export --weights {weights} --out " in remedy


def test_bench_times_every_variant(tmp_path):
    """Each file of a bundle has its times, and FP32 is as fast as itself."""
    make_bundle(tmp_path / "bundle")
    found = answer("bench", tmp_path / "bundle", "--rounds", 10)
    assert found["variants"]
    assert all(0 < row["median_ms"] <= row["p95_ms"] * 1.01 for row in found["variants"])
    assert next(row["speedup"] for row in found["variants"] if row["precision"] == "fp32") == 1


@pytest.mark.parametrize(
    ("make", "code", "word"),
    [
        (lambda path: path.write_bytes(b"not a graph"), ExitCode.MODEL, "could not load"),
        (lambda path: onnx.save(foreign(), path), ExitCode.MODEL, "not a mien graph"),
    ],
)
def test_other_graphs_are_refused(tmp_path, data, make, code, word):
    """A file that is no graph, and a graph that is none of ours, are named; nothing is written."""
    make(tmp_path / "x.onnx")
    done = mien("calibrate", "--model", tmp_path / "x.onnx", "--data", data, "--out", tmp_path / "c.npz", "--json")
    assert done.returncode == code, done.stderr
    assert word in json.loads(done.stdout)["what"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def test_graph_of_other_classes_is_refused(exported, data, tmp_path):
    """A data set whose classes the graph does not know cannot calibrate it."""
    text = data.read_text().replace("[class0, class1, class2]", "[happy, sad, class2]")
    (tmp_path / "data.yaml").write_text(text)
    done = mien(
        "calibrate", "--model", exported, "--data", tmp_path / "data.yaml", "--out", tmp_path / "c.npz", "--json"
    )
    assert done.returncode == ExitCode.MODEL, done.stderr
    assert "different classes" in json.loads(done.stdout)["what"]


def test_calibration_of_another_graph_is_refused(calibrated, weights, tmp_path):
    """Scales of one graph are not put into another."""
    answer("export", "--weights", weights, "--imgsz", "64", "--out", tmp_path / "other.onnx")
    done = mien(
        "quantize",
        "--model",
        tmp_path / "other.onnx",
        "--calibration",
        calibrated[0],
        "--out",
        tmp_path / "m",
        "--json",
    )
    assert done.returncode == ExitCode.DATA, done.stderr
    assert "another graph" in json.loads(done.stdout)["what"]


def foreign():
    """A valid graph with other tensors."""
    helper = onnx.helper
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
