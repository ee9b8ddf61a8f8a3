"""``mien optimize build``: what it makes, and what it refuses before it makes anything."""

import json
import sys

import onnx
import pytest
import typer
from typer.testing import CliRunner

from edge.engine.chooser import open_engine
from edge.engine.interface import EngineError
from mien.errors import ConfigError, UnsupportedError
from mien.files import sha256_of
from optimize import cli_build
from tests.fakes.fake_tensorrt import FakeCuda, FakeTensorRt, write_graph
from tests.fakes.tiny_bundle import tiny_graph


@pytest.fixture
def command():
    """Runs the command; a refusal comes out as it is."""
    app = typer.Typer()
    cli_build.add_to(app)
    runner = CliRunner()

    def run(*arguments):
        done = runner.invoke(app, [str(argument) for argument in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


@pytest.fixture
def model(tmp_path):
    onnx.save(tiny_graph(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def library(monkeypatch):
    """A TensorRT and a GPU in memory stand where the command looks for them."""
    found = FakeTensorRt(10, dla_cores=2)
    monkeypatch.setitem(sys.modules, "tensorrt", found)
    monkeypatch.setattr("edge.engine.tensorrt.builder.open_cuda", FakeCuda)
    return found


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_a_graph_of_another_kind_is_not_built(command, library, tmp_path, runtime):
    """A graph whose tensors are none of a detector's is refused before minutes are spent on it, and nothing is left."""
    if runtime == "tensorrt":
        content = json.loads(write_graph(tmp_path / "x.onnx").read_text())
        (tmp_path / "x.onnx").write_text(json.dumps(content | {"names": ["x", "y", "z", "w"]}))
    else:
        nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
        ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
        graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:])
        opsets = [onnx.helper.make_opsetid("", 17)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(EngineError, match="not a mien graph"):
        command("--model", tmp_path / "x.onnx", "--out", tmp_path / "engine", "--runtime", runtime)
    assert [path.name for path in tmp_path.iterdir() if path.name != "timing"] == ["x.onnx"]


def test_onnxruntime_builds_for_real(command, model, tmp_path):
    """The engine opens, and the answer names it by its hash."""
    done = command("--model", model, "--out", tmp_path / "engine", "--runtime", "onnxruntime", "--json")
    answer = json.loads(done.stdout)
    assert answer["engine_sha256"] == sha256_of(tmp_path / "engine")
    assert answer["graph_sha256"] == sha256_of(model)
    with open_engine(tmp_path / "engine", "onnxruntime") as engine:
        assert engine.info.top_k == 16


def test_tensorrt_builds_what_was_asked_for(command, library, tmp_path):
    """Core, fallback and workspace reach TensorRT, and the answer lists what fell back and what became of the graph."""
    model = write_graph(tmp_path / "model.onnx", "fp16")
    asked = ["--model", model, "--out", tmp_path / "engine", "--workspace-mb", "512", "--timing-cache", tmp_path / "t"]
    answer = json.loads(command(*asked, "--dla", "1", "--allow-gpu-fallback", "--json").stdout)
    assert (library.built[-1]["dla"], library.built[-1]["workspace"]) == (1, 512 << 20)
    assert (answer["gpu_fallback"], answer["precision"], answer["timing_cache"]) == (["cast"], "fp16", "cold")
    assert answer["record"] == str(tmp_path / "engine.json")
    assert "inspection: 3 layers: 1 fp16, 1 fp32, 1 reformats" in command(*asked).stdout


def test_layers_that_dla_cannot_take_are_a_refusal(command, library, tmp_path):
    """Without leave to fall back the layers are named and no engine stands."""
    model = write_graph(tmp_path / "model.onnx", "fp16")
    with pytest.raises(UnsupportedError, match="DLA cannot take") as caught:
        command("--model", model, "--out", tmp_path / "engine", "--dla", "0")
    assert caught.value.found == "cast"
    assert not (tmp_path / "engine").exists()


def test_without_tensorrt_the_refusal_says_what_is_missing(command, model, tmp_path, monkeypatch):
    """TensorRT is what is built for unless told otherwise; where it is missing nothing else is built instead."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UnsupportedError, match="TensorRT is not installed") as caught:
        command("--model", model, "--out", tmp_path / "engine")
    assert caught.value.exit_code == 9
    assert not (tmp_path / "engine").exists()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--runtime", "openvino"], "openvino"),
        (["--runtime", "onnxruntime", "--dla", "0"], "--dla"),
        (
            ["--runtime", "onnxruntime", "--workspace-mb", "512", "--timing-cache", "x"],
            "--workspace-mb, --timing-cache",
        ),
        (["--implicit-int8"], "--implicit-int8 without --data"),
        (["--data", "data.yaml"], "--data without --implicit-int8"),
        (["--allow-gpu-fallback"], "--allow-gpu-fallback without --dla"),
    ],
)
def test_options_that_mean_nothing_are_refused(command, model, tmp_path, arguments, found):
    """Nothing that was asked for is left out without a word."""
    with pytest.raises(ConfigError) as caught:
        command("--model", model, "--out", tmp_path / "engine", *arguments)
    assert caught.value.found == found
    assert not (tmp_path / "engine").exists()


def test_garbage_is_refused(command, tmp_path):
    """A file that is no graph is named, and leaves no engine."""
    (tmp_path / "x.onnx").write_bytes(b"garbage")
    with pytest.raises(EngineError, match=r"x\.onnx"):
        command("--model", tmp_path / "x.onnx", "--out", tmp_path / "engine", "--runtime", "onnxruntime")
    assert not (tmp_path / "engine").exists()
