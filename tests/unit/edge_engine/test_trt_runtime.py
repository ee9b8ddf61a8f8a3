"""Opening and running TensorRT engines, on a module and a GPU in memory."""

import json

import numpy as np
import pytest

from edge.engine.cuda import Gpu
from edge.engine.interface import EngineError
from edge.engine.tensorrt import BuildOptions, TensorRtBuilder, TensorRtEngine
from edge.engine.tensorrt.sidecar import read_record, sidecar_of, write_record
from mien.files import sha256_of
from tests.fakes.fake_tensorrt import ORIN, SIDE, TOP_K, FakeCuda, FakeTensorRt, write_graph


@pytest.fixture
def engine(tmp_path):
    """An engine of TensorRT 10.3.0 for an Orin."""
    model = write_graph(tmp_path / "model.onnx", "int8")
    return TensorRtBuilder(library=FakeTensorRt(10), cuda=FakeCuda).build(model, tmp_path / "engine")


def opened(path, *, generation=10, gpu=ORIN, graph=None, library=None, cuda=None, **options):
    cuda = cuda or FakeCuda(gpu)
    library = library or FakeTensorRt(generation)
    try:
        return TensorRtEngine(path, library=library, cuda=cuda, graph_sha256=graph, **options), cuda
    except EngineError:
        assert cuda.closed
        assert not cuda.held
        raise


@pytest.mark.parametrize("generation", [8, 10, 11])
def test_engine_runs(tmp_path, generation):
    """Frames go up, outputs come down with the promised types, and belong to the caller."""
    model = write_graph(tmp_path / "model.onnx", "fp16", batch=2)
    library = FakeTensorRt(generation)
    path = TensorRtBuilder(library=library, cuda=FakeCuda).build(model, tmp_path / "engine")
    frames = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    frames[1] = 255
    with TensorRtEngine(path, library=library, cuda=FakeCuda()) as engine:
        first = engine.infer(frames)
        engine.infer(255 - frames)
        assert (engine.info.precision, engine.info.input_shape, engine.info.top_k) == ("fp16", (2, 8, 8, 3), TOP_K)
    assert first.scores[:, 0].tolist() == [0.0, 1.0]
    assert (first.boxes.dtype, first.scores.dtype, first.classes.dtype) == (np.float32, np.float32, np.int32)


def test_closing_gives_everything_back(engine):
    """After closing, twice over, no memory is held and a frame is refused."""
    running, cuda = opened(engine)
    running.close()
    running.close()
    assert cuda.closed
    assert not cuda.held
    with pytest.raises(EngineError, match="closed"):
        running.infer(np.zeros((1, SIDE, SIDE, 3), np.uint8))


def test_other_graph_is_refused(engine):
    """An engine that came from another graph than the wanted one names both."""
    running, _ = opened(engine, graph=sha256_of(engine.with_name("model.onnx")))
    running.close()
    with pytest.raises(EngineError, match="something else") as caught:
        opened(engine, graph="0" * 64)
    assert f"graph: built {sha256_of(engine.with_name('model.onnx'))}, here {'0' * 64}" in caught.value.found


def test_every_difference_is_named(engine):
    """Another GPU and another TensorRT are told together, before TensorRT sees the plan."""
    other = Gpu(name="Thor", compute_capability="11.0", integrated=True, clock_khz=None)
    with pytest.raises(EngineError, match="something else") as caught:
        opened(engine, generation=11, gpu=other)
    assert caught.value.found == ("compute capability: built 8.7, here 11.0; TensorRT: built 10.3.0, here 11.4.0.106")
    assert "build it again" in caught.value.remedy


def test_damaged_engine_is_refused(engine):
    """One changed byte is found by the hash, not by TensorRT."""
    content = bytearray(engine.read_bytes())
    content[7] ^= 1
    engine.write_bytes(bytes(content))
    with pytest.raises(EngineError, match="something else") as caught:
        opened(engine)
    assert caught.value.found.startswith("engine's bytes: ")


def test_engine_without_record_is_refused(engine):
    """Nobody knows what it is, so it is not loaded; the remedy is to build it again."""
    sidecar_of(engine).unlink()
    with pytest.raises(EngineError, match="no record") as caught:
        opened(engine)
    assert "build it again" in caught.value.remedy


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"schema_version": 2}'])
def test_damaged_record_is_refused(engine, content):
    """A record that is none names its file."""
    sidecar_of(engine).write_text(content)
    with pytest.raises(EngineError, match="no engine's record"):
        opened(engine)


def test_another_model_of_the_same_class_is_told(engine, caplog):
    """A GPU of another name but the same class runs the engine, and the log says so."""
    sibling = Gpu(name="Orin (nvgpu)", compute_capability="8.7", integrated=True, clock_khz=None)
    running, _ = opened(engine, gpu=sibling)
    running.close()
    assert "built on Orin and runs on Orin (nvgpu)" in caplog.text


def forged(engine, content):
    """An engine whose record fits its bytes, whatever they are."""
    engine.write_bytes(content)
    write_record(engine, read_record(engine).model_copy(update={"engine_sha256": sha256_of(engine)}))


def test_plan_that_tensorrt_refuses_is_told_in_its_words(engine):
    """When the record fits and TensorRT still refuses, its own words are in the message."""
    forged(engine, b"garbage")
    with pytest.raises(EngineError, match=r"TensorRT 10\.3\.0 could not load") as caught:
        opened(engine)
    assert "magic tag" in caught.value.found


def test_other_names_are_no_mien_graph(engine):
    """An engine with other tensors is refused by their names."""
    forged(engine, json.dumps({**json.loads(engine.read_bytes()), "input": "images"}).encode())
    with pytest.raises(EngineError, match="not a mien graph"):
        opened(engine)


def test_engine_on_dla_opens_on_its_core(tmp_path):
    """The runtime is put on the core that the engine was built for."""
    model = write_graph(tmp_path / "model.onnx", "fp16")
    library = FakeTensorRt(10, dla_cores=2)
    options = BuildOptions(dla_core=1, allow_gpu_fallback=True)
    path = TensorRtBuilder(library=library, cuda=FakeCuda, options=options).build(model, tmp_path / "engine")
    with TensorRtEngine(path, library=library, cuda=FakeCuda()) as engine:
        assert engine.record.dla_core == 1
        assert engine._runtime.DLA_core == 1
