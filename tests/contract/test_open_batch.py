"""NVIDIA's own builder takes the profile that fixes an open batch; it needs no GPU."""

import onnx
import pytest

from edge.engine.interface import EngineError
from edge.engine.tensorrt import BuildOptions, TensorRtBuilder
from edge.engine.tensorrt.host import Host
from edge.engine.tensorrt.sidecar import DeviceClass, read_record
from mien.files import sha256_of
from tests.fakes.open_batch import open_graph

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has wheels for x86_64 only")

AMPERE = DeviceClass(os="linux", arch="x86_64", compute_capability="8.6", gpu="any of compute capability 8.6")
HOST = Host(device=AMPERE, free_bytes=2 << 30, clocks="unknown")


def build(model, out, profiles, **options):
    """Compile for an Ampere GPU; what the configuration holds at the end."""

    def configure(config):
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
        profiles.append(config.num_optimization_profiles)

    return TensorRtBuilder(library=trt, host=HOST, options=BuildOptions(configure=configure, **options)).build(
        model, out
    )


@pytest.mark.parametrize(("said", "asked"), [("4", None), (None, None), ("4", 2)])
def test_open_batch_is_built(tmp_path, said, asked):
    """The genuine parser sees the open batch, and the genuine builder compiles with one profile."""
    onnx.save(open_graph(said), tmp_path / "model.onnx")
    profiles = []
    plan = build(tmp_path / "model.onnx", tmp_path / "engine", profiles, max_batch=asked)
    assert profiles == [1]
    assert read_record(plan).engine_sha256 == sha256_of(plan)


def test_batches_differ_in_the_plan(tmp_path):
    """The batch that is asked for reaches the engine: two batches make two plans."""
    onnx.save(open_graph("4"), tmp_path / "model.onnx")
    plans = [build(tmp_path / "model.onnx", tmp_path / f"{batch}", [], max_batch=batch) for batch in (1, 4)]
    assert sha256_of(plans[0]) != sha256_of(plans[1])


def test_more_than_the_batch_open_is_refused(tmp_path):
    """A graph whose size is open too is refused before anything is built."""
    model = open_graph()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(EngineError, match="open shapes") as caught:
        build(tmp_path / "model.onnx", tmp_path / "engine", [])
    assert caught.value.found == "[-1, -1, 64, 3]"
