"""NVIDIA's own parser and builder take every graph; no GPU is needed to find out."""

import pytest

from edge.engine.interface import EngineError
from edge.engine.tensorrt import TensorRtBuilder
from mien.dataset import read_dataset
from optimize.calibration.images import calibration_set
from optimize.graph.export import export_fp32, graph_spec
from optimize.graph.weights import open_weights
from optimize.quantize.onnxruntime_qdq import OnnxRuntimeQuantizer
from optimize.variants import FP16, FP32, INT8, Attempt, make_fp16, make_int8
from tests.integration.optimize.conftest import lively

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has wheels for x86_64 only")


def aim_at_sm86(config):
    """Compile for an Ampere GPU, there or not."""
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)


@pytest.mark.parametrize("description", ["yolov8n.yaml", "yolo11n.yaml"])
def test_every_precision_builds(tmp_path, data, description):
    """FP32, FP16 and INT8 graphs of both families parse and compile, through the device's own builder."""
    opened = open_weights(lively(description, classes=3, path=tmp_path / "w.pt"))
    spec = graph_spec(opened, "96", 100)
    export_fp32(opened, spec, tmp_path / FP32)
    frames = calibration_set(read_dataset(data), spec, count=32, seed=0).frames
    make_fp16(tmp_path, frames[:4])
    make_int8(tmp_path, frames, OnnxRuntimeQuantizer(), Attempt(method="max"))
    builder = TensorRtBuilder(trt=trt, configure=aim_at_sm86)
    sizes = {
        name: builder.build(tmp_path / name, tmp_path / f"{name}.plan").stat().st_size for name in (FP32, FP16, INT8)
    }
    assert min(sizes.values()) > 1_000_000
    assert sizes[FP16] < sizes[FP32]


def test_other_file_is_refused_with_the_parsers_words(tmp_path):
    """A file that is no graph names itself and what the parser said, and leaves no plan."""
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError, match="parser refuses"):
        TensorRtBuilder(trt=trt).build(tmp_path / "x.onnx", tmp_path / "x.plan")
    assert not (tmp_path / "x.plan").exists()
