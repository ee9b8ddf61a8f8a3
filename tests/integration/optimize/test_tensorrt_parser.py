"""NVIDIA's own parser and builder take every graph; no GPU is needed to find out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.engine.interface import EngineError
from edge.engine.tensorrt import BuildOptions, TensorRtBuilder
from edge.engine.tensorrt.calibrator import Calibration
from edge.engine.tensorrt.host import Host
from edge.engine.tensorrt.sidecar import DeviceClass, differences, read_record
from mien.errors import UnsupportedError
from mien.files import sha256_of
from tests.fakes.fake_tensorrt import FakeCuda
from tests.fakes.precisions import letterboxed, write_precisions
from tests.fakes.tiny_bundle import tiny_graph
from tests.integration.optimize.conftest import lively

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has wheels for x86_64 only")

AMPERE = DeviceClass(os="linux", arch="x86_64", compute_capability="8.6", gpu="any of compute capability 8.6")
HOST = Host(device=AMPERE, free_bytes=2 << 30, clocks="unknown")
SIDE = 320


def aim_at_sm86(config):
    """Compile for an Ampere GPU, there or not."""
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)


def builder(**options):
    return TensorRtBuilder(
        library=trt, host=HOST, cuda=FakeCuda, options=BuildOptions(configure=aim_at_sm86, **options)
    )


class Steps:
    """Remembers what it was told; raises on the first step when it has something to raise."""

    def __init__(self, error=None):
        self.phases, self.steps, self._error = [], 0, error

    def start(self, description, total=None):
        self.phases.append((description, total))

    def advance(self, units=1, *, note=""):
        if self._error is not None:
            raise self._error
        self.steps += units


@pytest.fixture
def tiny(tmp_path):
    onnx.save(tiny_graph(), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("description", ["yolov8n.yaml", "yolo11n.yaml"])
def test_every_precision_builds(tmp_path, photographs, description):
    """FP32, FP16 and INT8 graphs of both families parse and compile, and each record says which it is."""
    weights = lively(description, classes=3, path=tmp_path / "w.pt", size=(SIDE, SIDE))
    graphs = write_precisions(weights, tmp_path, letterboxed(photographs, 8, SIDE))
    sizes = {}
    for precision, graph in graphs.items():
        plan = builder().build(graph, tmp_path / f"{precision}.plan")
        record = read_record(plan)
        sizes[precision] = plan.stat().st_size
        assert (record.precision, record.typing, record.workspace_mb) == (precision, "strong", (1024,))
        assert (record.graph_sha256, record.engine_sha256) == (sha256_of(graph), sha256_of(plan))
    assert sizes["int8"] > 1_000_000
    assert sizes["fp16"] < sizes["fp32"]


def test_record_of_a_compiled_plan_tells_other_devices(tiny, tmp_path):
    """What was compiled for one GPU differs from another in exactly what a loader would name."""
    record = read_record(builder().build(tiny, tmp_path / "plan"))
    here = AMPERE.model_copy(update={"compute_capability": "8.7"})
    found = differences(record, device=here, tensorrt=trt.__version__, engine_sha256=sha256_of(tmp_path / "plan"))
    assert found == ("compute capability: built 8.6, here 8.7",)


def test_steps_of_the_real_builder_are_told(tiny, tmp_path):
    """NVIDIA's builder reports its phases through the monitor, and the listener hears every step of the outer one."""
    steps = Steps()
    builder().build(tiny, tmp_path / "plan", progress=steps)
    ((phase, total),) = steps.phases
    assert phase == "TensorRT: building engine"
    assert 0 < steps.steps <= total


def test_interrupt_stops_the_real_builder(tiny, tmp_path):
    """Ctrl-C at a step comes through NVIDIA's code, and no file has the plan's name."""
    with pytest.raises(KeyboardInterrupt):
        builder().build(tiny, tmp_path / "out" / "plan", progress=Steps(KeyboardInterrupt()))
    assert list((tmp_path / "out").iterdir()) == []


def graph_of(path, *nodes, outputs, given="x"):
    """A graph over an input of floats."""
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("elsewhere", 1)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), path)
    return path


def test_other_file_is_refused_with_the_parsers_words(tmp_path):
    """A file that is no graph names itself and what the parser said, and leaves no plan."""
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError, match="parser refuses") as caught:
        builder().build(tmp_path / "x.onnx", tmp_path / "out" / "x.plan")
    assert "Failed to parse" in caught.value.found
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_operator_is_refused_by_the_parser(tmp_path):
    """An operator that TensorRT does not know is told in its own words."""
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="elsewhere")
    model = graph_of(tmp_path / "x.onnx", node, outputs=["y"])
    with pytest.raises(EngineError, match="parser refuses") as caught:
        builder().build(model, tmp_path / "x.plan")
    assert "Plugin not found" in caught.value.found


def test_graph_without_an_implementation_is_refused_by_the_builder(tmp_path):
    """A graph that parses and cannot be built is told in the builder's words, once, and leaves no plan."""
    nodes = [
        helper.make_node("Reshape", ["frames", "to_boxes"], ["boxes"]),
        helper.make_node("Reshape", ["frames", "to_scores"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most"], ["chosen"]),
        helper.make_node("Cast", ["chosen"], ["classes"], to=TensorProto.FLOAT),
    ]
    constants = {"to_boxes": [1, -1, 4], "to_scores": [1, 4, -1], "most": [3]}
    made = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.array(value, np.int64)))
        for name, value in constants.items()
    ]
    model = graph_of(tmp_path / "x.onnx", *made, *nodes, outputs=["boxes", "scores", "classes"], given="frames")
    with pytest.raises(EngineError, match="could not build") as caught:
        builder().build(model, tmp_path / "out" / "x.plan")
    assert "no runners" in caught.value.found
    assert list((tmp_path / "out").iterdir()) == []


def test_what_this_builder_lacks_is_refused(tiny, tmp_path):
    """No DLA core and no implicit calibrator: each refused by what NVIDIA's library says of itself."""
    with pytest.raises(UnsupportedError, match="no DLA core 0"):
        builder(dla_core=0).build(tiny, tmp_path / "plan")
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(UnsupportedError, match="no implicit INT8"):
        builder(calibration=Calibration(frames=frames)).build(tiny, tmp_path / "plan")
    assert not (tmp_path / "plan").exists()
