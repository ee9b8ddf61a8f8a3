"""Graphs that take several frames in one call."""

import numpy as np
import onnx
import pytest

from edge.engine.chooser import builder_for, open_engine
from edge.engine.interface import MAX_BATCH_KEY
from optimize.graph.metadata import metadata_of
from tests.fakes.precisions import letterboxed, write_precisions
from tests.integration.optimize.conftest import lively

SIDE, BATCH = 160, 4


@pytest.fixture(scope="module")
def graphs(tmp_path_factory, photographs):
    """Each precision of one detector, for up to four frames in a call."""
    folder = tmp_path_factory.mktemp("batches")
    weights = lively("yolov8n.yaml", classes=3, path=folder / "w.pt", size=(SIDE, SIDE))
    return write_precisions(weights, folder, letterboxed(photographs, 8, SIDE), max_batch=BATCH)


@pytest.fixture(scope="module")
def frames(photographs):
    """Three different frames: fewer than a call takes."""
    return letterboxed(photographs, 3, SIDE)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_frames_of_one_call_do_not_disturb_each_other(graphs, frames, precision):
    """Three frames in one call are answered as each alone, in every precision."""
    with open_engine(graphs[precision], "onnxruntime") as engine:
        together = engine.infer(frames)
        for index, frame in enumerate(frames):
            alone = engine.infer(frame[None])
            assert np.allclose(together.scores[index], alone.scores[0], atol=1e-4)
            assert np.allclose(together.boxes[index], alone.boxes[0], atol=0.05)
            assert (together.classes[index] == alone.classes[0]).all()
        assert together.scores[:, 0].min() > 0


def test_every_precision_says_how_many_frames_it_takes(graphs):
    """The number goes through quantisers and AutoCast, and the batch is open in each graph."""
    for path in graphs.values():
        model = onnx.load(path)
        assert metadata_of(model)[MAX_BATCH_KEY] == str(BATCH)
        for tensor in (*model.graph.input, *model.graph.output):
            assert tensor.type.tensor_type.shape.dim[0].dim_param


def test_a_built_engine_says_it_too(graphs, tmp_path):
    """The CPU's own engine tells the pipeline how many frames it takes, and takes them."""
    built = builder_for("onnxruntime").build(graphs["fp32"], tmp_path / "engine.onnxruntime")
    with open_engine(built, "onnxruntime") as engine:
        assert engine.info.input_shape == (BATCH, SIDE, SIDE, 3)
        assert not engine.info.fixed_batch
        assert engine.infer(np.zeros((BATCH, SIDE, SIDE, 3), np.uint8)).scores.shape[0] == BATCH
