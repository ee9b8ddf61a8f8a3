"""Real engines: built, opened, held against onnxruntime on the same frames."""

import cv2
import numpy as np
import onnx
import pytest

from edge.engine.chooser import open_engine
from edge.engine.interface import EngineError
from edge.engine.tensorrt import BuildOptions, TensorRtBuilder, TensorRtEngine, load_tensorrt
from edge.engine.tensorrt.calibrator import Calibration
from edge.engine.tensorrt.capabilities import Capabilities
from edge.engine.tensorrt.sidecar import read_record, write_record
from mien.errors import UnsupportedError
from mien.files import sha256_of
from tests.fakes.precisions import letterboxed, write_precisions
from tests.fakes.tiny_bundle import bright_square, tiny_graph
from tests.integration.optimize.conftest import lively

pytestmark = pytest.mark.gpu
SIDE = 320


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """FP32, FP16 and INT8 graphs of a YOLOv8n with random numbers, and frames from photographs."""
    from ultralytics.utils import ASSETS

    folder = tmp_path_factory.mktemp("graphs")
    photographs = [cv2.imread(str(path)) for path in sorted(ASSETS.glob("*.jpg"))]
    frames = letterboxed(photographs, 32, SIDE)
    weights = lively("yolov8n.yaml", classes=3, path=folder / "w.pt", size=(SIDE, SIDE))
    return write_precisions(weights, folder, frames), frames


def built(graph, out, **options):
    """An engine of this GPU."""
    return TensorRtBuilder(options=BuildOptions(**options)).build(graph, out)


def test_engine_finds_what_onnxruntime_finds(tmp_path):
    """A graph of a few operators answers alike, batch after batch."""
    onnx.save(tiny_graph(), tmp_path / "model.onnx")
    path = built(tmp_path / "model.onnx", tmp_path / "engine")
    graph = sha256_of(tmp_path / "model.onnx")
    with (
        open_engine(path, "tensorrt", graph_sha256=graph) as engine,
        open_engine(tmp_path / "model.onnx", "onnxruntime") as wanted,
    ):
        for place in range(4):
            frame = bright_square(place, 3 - place)[None]
            found, right = engine.infer(frame), wanted.infer(frame)
            assert found.boxes[0, 0].tolist() == right.boxes[0, 0].tolist()
            assert np.allclose(found.scores, right.scores, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "close"), [("fp32", 0.01), ("fp16", 0.03), ("int8", 0.1)])
def test_precisions_agree_with_onnxruntime(tmp_path, graphs, name, close):
    """The best scores of every frame are those of onnxruntime on the same graph, within the precision's reach."""
    paths, frames = graphs
    graph = paths[name]
    path = built(graph, tmp_path / "engine")
    record = read_record(path)
    assert record.precision == name
    assert record.inspection.layers > 0
    with open_engine(path, "tensorrt") as engine, open_engine(graph, "onnxruntime") as wanted:
        for frame in frames[:8]:
            found, right = engine.infer(frame[None]).scores, wanted.infer(frame[None]).scores
            assert np.abs(np.sort(found)[:, ::-1][:, :10] - np.sort(right)[:, ::-1][:, :10]).max() < close


@pytest.mark.slow
def test_second_build_takes_up_the_timings(tmp_path, graphs):
    """What the first build measured is there for the second."""
    graph = graphs[0]["fp16"]
    uses = [
        read_record(built(graph, tmp_path / name, timing_cache=tmp_path / "timing")).timing_cache for name in ("a", "b")
    ]
    assert uses == ["cold", "warm"]
    assert len(list((tmp_path / "timing").iterdir())) == 1


@pytest.mark.slow
def test_implicit_scales_where_they_still_exist(tmp_path, graphs):
    """TensorRT before 11 finds scales from frames; later ones refuse."""
    paths, frames = graphs
    calibration = Calibration(frames=frames, cache=tmp_path / "scales")
    if not Capabilities.of(load_tensorrt()).calibrators:
        with pytest.raises(UnsupportedError, match="no implicit INT8"):
            built(paths["fp32"], tmp_path / "engine", calibration=calibration)
        return
    record = read_record(built(paths["fp32"], tmp_path / "engine", calibration=calibration))
    assert (record.precision, record.implicit_int8) == ("int8", True)
    assert len(list((tmp_path / "scales").iterdir())) == 1


def test_engine_of_another_version_never_reaches_tensorrt(tmp_path):
    """A record of another version is refused with both versions."""
    onnx.save(tiny_graph(), tmp_path / "model.onnx")
    path = built(tmp_path / "model.onnx", tmp_path / "engine")
    write_record(path, read_record(path).model_copy(update={"tensorrt": "8.0.0"}))
    with pytest.raises(EngineError, match="something else") as caught:
        TensorRtEngine(path)
    assert f"TensorRT: built 8.0.0, here {load_tensorrt().__version__}" in caught.value.found


def test_missing_dla_core_is_refused(tmp_path):
    """A core that no GPU has is refused with those that are there."""
    onnx.save(tiny_graph(), tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match="no DLA core 99"):
        built(tmp_path / "model.onnx", tmp_path / "engine", dla_core=99)
    assert not (tmp_path / "engine").exists()
