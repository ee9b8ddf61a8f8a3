"""The onnxruntime engine, with a graph of a few operators."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.engine.chooser import builder_for, open_engine
from edge.engine.interface import PRECISION_KEY, EngineError
from mien.errors import UnsupportedError
from tests.fakes.tiny_bundle import SIZE, bright_square, tiny_graph


@pytest.fixture
def model(tmp_path):
    graph = tiny_graph()
    onnx.helper.set_model_props(graph, {PRECISION_KEY: "fp32"})
    onnx.save(graph, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def save(path, inputs, outputs):
    names = [value.name for value in outputs]
    nodes = [helper.make_node("Identity", [inputs[0].name], [name]) for name in names]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), ir_version=8)
    model.opset_import[0].version = 13
    onnx.save(model, path)
    return path


def tensor(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape)


def test_opened_graph_says_what_it_is(model):
    """Input shape, number of boxes and precision come from the file."""
    with open_engine(model, "onnxruntime", threads=2) as engine:
        info = engine.info
    assert (info.input_shape, info.top_k, info.precision, info.threads) == ((1, SIZE, SIZE, 3), 16, "fp32", 2)


def test_result_has_the_promised_types(model):
    """Boxes and scores are float32, classes int32, best first."""
    with open_engine(model, "onnxruntime") as engine:
        raw = engine.infer(bright_square(1, 2)[None])
    assert (raw.boxes.dtype, raw.scores.dtype, raw.classes.dtype) == (np.float32, np.float32, np.int32)
    assert raw.boxes[0, 0].tolist() == [16, 32, 32, 48]
    assert (np.diff(raw.scores[0]) <= 0).all()


def test_results_are_not_overwritten(model):
    """The arrays of one call stay what they are when the next frame runs."""
    with open_engine(model, "onnxruntime") as engine:
        first = engine.infer(bright_square(1, 2)[None])
        kept = first.boxes.copy()
        engine.infer(bright_square(3, 3)[None])
    assert (first.boxes == kept).all()


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((2, SIZE, SIZE, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
    ],
)
def test_other_frames_are_refused(model, frames):
    """Wrong type, batch or size names what was found and wanted."""
    with open_engine(model, "onnxruntime") as engine, pytest.raises(EngineError) as caught:
        engine.infer(frames)
    assert str(frames.dtype) in caught.value.found
    assert "uint8[1, 64, 64, 3]" in caught.value.wanted


def test_closed_engine_refuses(model):
    """After closing, a frame is refused with a sentence."""
    engine = open_engine(model, "onnxruntime")
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(bright_square(0, 0)[None])


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x08" + bytes(400)])
def test_garbage_is_no_engine(tmp_path, content):
    """A file that is no graph is named, with what to do."""
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(EngineError, match=r"x\.onnx") as caught:
        open_engine(tmp_path / "x.onnx", "onnxruntime")
    assert caught.value.remedy or caught.value.wanted


def test_missing_file_is_told(tmp_path):
    """A path without a file says so."""
    with pytest.raises(EngineError, match="could not open") as caught:
        open_engine(tmp_path / "x.onnx", "onnxruntime")
    assert caught.value.found == "no such file"


def test_other_names_are_no_mien_graph(tmp_path):
    """A graph of another make is refused by its tensor names."""
    path = save(
        tmp_path / "x.onnx", [tensor("images", TensorProto.FLOAT, 1, 3)], [tensor("output0", TensorProto.FLOAT, 1, 3)]
    )
    with pytest.raises(EngineError, match="not a mien graph") as caught:
        open_engine(path, "onnxruntime")
    assert "output0" in caught.value.found


def test_float_input_is_refused(tmp_path):
    """The right names with another type are refused too."""
    outputs = [tensor(name, TensorProto.FLOAT, 1, 8, 8, 3) for name in ("boxes", "scores", "classes")]
    path = save(tmp_path / "x.onnx", [tensor("frames", TensorProto.FLOAT, 1, 8, 8, 3)], outputs)
    with pytest.raises(EngineError, match="input"):
        open_engine(path, "onnxruntime")


def test_built_engine_finds_the_same(model, tmp_path):
    """The engine built for this CPU answers as the portable model does."""
    built = builder_for("onnxruntime").build(model, tmp_path / "slot" / "engine.ort")
    frame = bright_square(2, 1)[None]
    with open_engine(model, "onnxruntime") as portable, open_engine(built, "onnxruntime") as engine:
        wanted, found = portable.infer(frame), engine.infer(frame)
        assert engine.info.precision == "fp32"
    assert (wanted.boxes == found.boxes).all()
    assert np.allclose(wanted.scores, found.scores, atol=1e-6)
    assert sorted(path.name for path in built.parent.iterdir()) == ["engine.ort"]


def test_what_a_killed_build_left_is_swept(model, tmp_path):
    """Folder and file of a process that is gone are removed by the next build of the same engine."""
    dead = 4_194_304  # one more than the largest process id of Linux
    (tmp_path / f".engine.{dead}-0123abcd.part").mkdir()
    (tmp_path / f".engine.{dead}-4567cdef.part").write_bytes(b"half")
    builder_for("onnxruntime").build(model, tmp_path / "engine")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "engine"}


def test_engine_of_another_version_is_refused(model, tmp_path):
    """An engine that another onnxruntime built must be built again."""
    built = builder_for("onnxruntime").build(model, tmp_path / "engine.ort")
    content = built.read_bytes()
    version = content[-content[::-1].index(b"\x12") + 1 :]
    built.write_bytes(content[: -len(version)] + b"0.0.0"[: len(version)].ljust(len(version), b"0"))
    with pytest.raises(EngineError, match="another onnxruntime") as caught:
        open_engine(built, "onnxruntime")
    assert "build it again" in caught.value.remedy


def test_failed_build_leaves_nothing(tmp_path):
    """A model that cannot be built leaves no engine and no half of one."""
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError):
        builder_for("onnxruntime").build(tmp_path / "x.onnx", tmp_path / "out" / "engine.ort")
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_runtime_is_named(model):
    """Another runtime is refused, with the valid ones."""
    with pytest.raises(UnsupportedError, match="runtime") as caught:
        open_engine(model, "openvino")
    assert "onnxruntime" in caught.value.wanted


def test_missing_tensorrt_is_named(model):
    """Without TensorRT a sentence says what is missing and what to do."""
    pytest.importorskip("onnxruntime")
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(UnsupportedError, match="TensorRT"):
            open_engine(model, "tensorrt")
    else:
        pytest.skip("this machine has TensorRT")
