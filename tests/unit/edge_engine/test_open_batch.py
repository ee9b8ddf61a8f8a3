"""Graphs whose batch is open: which batch is run, by either runtime."""

import numpy as np
import onnx
import pytest

from edge.engine.chooser import batch_for, builder_for, open_engine
from edge.engine.interface import MAX_BATCH_KEY, EngineError, infer_one
from edge.engine.tensorrt import BuildOptions, TensorRtBuilder, TensorRtEngine
from edge.engine.tensorrt.calibrator import Calibration
from tests.fakes.fake_tensorrt import SIDE, FakeCuda, FakeTensorRt, write_graph
from tests.fakes.open_batch import open_graph
from tests.fakes.tiny_bundle import SIZE, bright_square


def said(value):
    """An entry of a graph's metadata, as bytes of a protocol buffer."""
    entry = onnx.StringStringEntryProto(key=MAX_BATCH_KEY, value=value).SerializeToString()
    return bytes([14 << 3 | 2, len(entry)]) + entry


def build(tmp_path, library, *, batch=-1, metadata=b"", **options):
    model = write_graph(tmp_path / "model.onnx", batch=batch, metadata=metadata)
    builder = TensorRtBuilder(library=library, cuda=FakeCuda, options=BuildOptions(**options))
    return builder.build(model, tmp_path / "engine")


@pytest.mark.parametrize(
    ("generation", "metadata", "asked", "batch"),
    [(8, "4", None, 4), (10, "4", 2, 2), (11, None, None, 1), (11, None, 3, 3)],
)
def test_tensorrt_runs_the_largest_batch(tmp_path, generation, metadata, asked, batch):
    """One profile fixes what the graph says, unless the caller asks for another; each frame has its own answer."""
    library = FakeTensorRt(generation)
    path = build(tmp_path, library, metadata=said(metadata) if metadata else b"", max_batch=asked)
    assert library.built[-1]["profiles"] == [(batch, SIDE, SIDE, 3)]
    frames = np.stack([np.full((SIDE, SIDE, 3), 10 * number, np.uint8) for number in range(batch)])
    with TensorRtEngine(path, library=library, cuda=FakeCuda()) as engine:
        assert (engine.info.input_shape, engine.info.fixed_batch) == ((batch, SIDE, SIDE, 3), True)
        raw = engine.collect(engine.submit(frames))
        assert np.round(raw.scores[:, 0] * 255).tolist() == [10 * number for number in range(batch)]
        with pytest.raises(EngineError, match="do not fit") as caught:
            engine.infer(frames[:0])
        assert caught.value.wanted == f"uint8[{batch}, {SIDE}, {SIDE}, 3]"


@pytest.mark.parametrize(("stated", "cameras", "batch"), [("4", 1, 1), ("4", 3, 3), ("4", 9, 4), (None, 3, None)])
def test_a_device_builds_for_the_frames_that_come(tmp_path, stated, cameras, batch):
    """As many as cameras share calls, as far as the graph goes; a graph with a batch of its own keeps it."""
    model = write_graph(tmp_path / "model.onnx", batch=-1, metadata=said(stated) if stated else b"")
    assert batch_for(model, cameras) == batch


def test_one_frame_fills_up_a_fixed_batch(tmp_path):
    """Reference frames are looked at one by one, also by an engine that takes three at once."""
    library = FakeTensorRt(10)
    path = build(tmp_path, library, metadata=said("3"))
    frame = np.full((SIDE, SIDE, 3), 100, np.uint8)
    with TensorRtEngine(path, library=library, cuda=FakeCuda()) as engine:
        raw = infer_one(engine, frame)
    assert raw.scores.shape[0] == 1
    assert round(float(raw.scores[0, 0]) * 255) == 100


def test_fixed_graph_needs_no_profile(tmp_path):
    """A graph with a batch of its own is built as it is, and asking for that batch is no fault."""
    library = FakeTensorRt(10)
    build(tmp_path, library, batch=2, max_batch=2)
    assert library.built[-1]["profiles"] == []


def test_another_batch_than_the_graphs_is_refused(tmp_path):
    """A fixed batch is not changed silently."""
    library = FakeTensorRt(10)
    with pytest.raises(EngineError, match="another batch") as caught:
        build(tmp_path, library, batch=2, max_batch=8)
    assert (caught.value.found, library.built) == ("a fixed batch of 2", [])


def test_no_frames_are_no_batch(tmp_path):
    """Asking for a batch of none is refused before anything is built."""
    library = FakeTensorRt(10)
    with pytest.raises(EngineError, match="cannot be built for this batch"):
        build(tmp_path, library, max_batch=0)
    assert library.built == []


def test_implicit_scales_are_found_with_the_same_batch(tmp_path):
    """TensorRT's own calibration sees batches of the size that the engine is built for."""
    library = FakeTensorRt(8)
    frames = np.zeros((6, SIDE, SIDE, 3), np.uint8)
    build(tmp_path, library, metadata=said("3"), calibration=Calibration(frames=frames))
    assert library.built[-1]["scales"] == "2 batches of 3"


@pytest.mark.parametrize("value", ["0", "-1", "", "many", "1.5", "²"])
def test_a_batch_that_is_none_is_refused(tmp_path, value):
    """Neither runtime guesses what a graph might mean."""
    with pytest.raises(EngineError, match="no batch that can be run") as caught:
        build(tmp_path, FakeTensorRt(10), metadata=said(value))
    assert caught.value.found == f"{MAX_BATCH_KEY} = {value!r}"
    onnx.save(open_graph(value), tmp_path / "x.onnx")
    with pytest.raises(EngineError, match="no batch that can be run"):
        open_engine(tmp_path / "x.onnx", "onnxruntime")


@pytest.mark.parametrize("built", [False, True])
def test_onnxruntime_takes_up_to_the_largest_batch(tmp_path, built):
    """Any number of frames up to the stated one runs, in a built engine too; more are refused."""
    onnx.save(open_graph("3"), tmp_path / "model.onnx")
    path = tmp_path / "model.onnx"
    if built:
        path = builder_for("onnxruntime").build(path, tmp_path / "engine")
    frames = np.stack([bright_square(number, 0) for number in range(4)])
    with open_engine(path, "onnxruntime") as engine:
        assert (engine.info.input_shape, engine.info.fixed_batch) == ((3, SIZE, SIZE, 3), False)
        for count in (1, 2, 3):
            raw = engine.infer(frames[:count])
            assert raw.boxes[:, 0, 0].tolist() == [16 * number for number in range(count)]
        with pytest.raises(EngineError, match="do not fit") as caught:
            engine.infer(frames)
    assert caught.value.wanted == f"uint8[1 to 3, {SIZE}, {SIZE}, 3]"


def test_open_graph_that_says_nothing_takes_one_frame(tmp_path):
    """Without a stated batch the least is certain."""
    onnx.save(open_graph(), tmp_path / "model.onnx")
    with open_engine(tmp_path / "model.onnx", "onnxruntime") as engine:
        assert (engine.info.input_shape[0], engine.info.fixed_batch) == (1, False)
