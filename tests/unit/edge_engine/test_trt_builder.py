"""The TensorRT builder's decisions, on modules in memory of the generations 8, 10 and 11."""

import json
import logging
import resource
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from edge.engine.interface import EngineError
from edge.engine.stoppable import Stoppable
from edge.engine.tensorrt import BuildOptions, TensorRtBuilder
from edge.engine.tensorrt.calibrator import Calibration
from edge.engine.tensorrt.host import Host, device_class
from edge.engine.tensorrt.sidecar import read_record, sidecar_of
from edge.update.interface import UpdateCancelled
from mien.errors import UnavailableError, UnsupportedError
from mien.files import sha256_of
from tests.fakes.fake_tensorrt import ORIN, SIDE, FakeCuda, FakeTensorRt, write_graph

GENERATIONS = (8, 10, 11)
FRAMES = np.arange(5 * SIDE * SIDE * 3, dtype=np.uint32).astype(np.uint8).reshape(5, SIDE, SIDE, 3)


class Told:
    """A listener that remembers, and raises when it hears a word."""

    def __init__(self, *, until="", error=None):
        self.lines, self.steps = [], 0
        self._until, self._error = until, error

    def start(self, description, total=None):
        self._say(description)

    def advance(self, units=1, *, note=""):
        self.steps += units
        if note:
            self._say(note)

    def _say(self, line):
        self.lines.append(line)
        if self._until and self._until in line:
            raise self._error


def build(tmp_path, library, graph="fp32", *, cuda=FakeCuda, host=None, progress=None, batch=1, **options):
    """Build a graph; what TensorRT was asked for, and the record."""
    model = write_graph(tmp_path / "model.onnx", graph, batch=batch)
    builder = TensorRtBuilder(library=library, cuda=cuda, host=host, options=BuildOptions(**options))
    engine = builder.build(model, tmp_path / "out" / "engine", progress=progress or Told())
    return library.built[-1], read_record(engine)


def left(tmp_path):
    """What lies where engines are written."""
    folder = tmp_path / "out"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize(
    ("generation", "graph", "network", "flags"),
    [
        (8, "fp32", ["EXPLICIT_BATCH"], []),
        (8, "fp16", ["EXPLICIT_BATCH"], ["FP16"]),
        (8, "int8", ["EXPLICIT_BATCH"], ["INT8"]),
        *((generation, graph, ["STRONGLY_TYPED"], []) for generation in (10, 11) for graph in ("fp32", "fp16", "int8")),
    ],
)
def test_types_are_strong_where_they_can_be(tmp_path, generation, graph, network, flags):
    """TensorRT 8 is allowed exactly the graph's types; later ones get a strongly typed network and no flag."""
    asked, record = build(tmp_path, FakeTensorRt(generation), graph)
    assert (asked["network"], asked["flags"]) == (network, flags)
    assert (record.precision, record.typing) == (graph, "strong" if generation > 8 else "weak")


def test_record_says_what_the_engine_is(tmp_path):
    """Device class, exact version, hashes, memory and what became of the layers stand beside the engine."""
    _, record = build(tmp_path, FakeTensorRt(10), "fp16", cuda=lambda: FakeCuda(free_mb=1 << 20))
    assert (record.device.compute_capability, record.device.gpu, record.tensorrt) == ("8.7", "Orin", "10.3.0")
    assert record.graph_sha256 == sha256_of(tmp_path / "model.onnx")
    assert record.engine_sha256 == sha256_of(tmp_path / "out" / "engine")
    assert (record.inspection.by_precision, record.inspection.reformats) == ({"fp16": 1, "fp32": 1}, 1)
    assert left(tmp_path) == ["engine", "engine.json"]


@pytest.mark.parametrize(("graph", "wanted"), [("int8", "model.fp16.onnx"), ("fp16", "model.fp32.onnx")])
def test_precision_without_instructions_is_refused(tmp_path, graph, wanted):
    """A GPU without FP16 or INT8 is named, with the graph to build instead; nothing is built."""
    library = FakeTensorRt(10, fast=False)
    with pytest.raises(UnsupportedError, match=r"no (INT8|FP16) instructions") as caught:
        build(tmp_path, library, graph)
    assert wanted in caught.value.remedy
    assert library.built == []
    assert left(tmp_path) == []


@pytest.mark.parametrize(("free_mb", "asked_mb", "wanted_mb"), [(3000, None, 1500), (3000, 256, 256), (90, None, 64)])
def test_memory_follows_what_is_free(tmp_path, free_mb, asked_mb, wanted_mb):
    """Without a limit the builder may use half of what is free, with one no more than that."""
    host = Host(device=device_class(ORIN), free_bytes=free_mb << 20, clocks="unknown")
    _, record = build(tmp_path, FakeTensorRt(10), host=host, workspace_mb=asked_mb)
    assert record.workspace_mb == (wanted_mb,)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_out_of_memory_steps_down(tmp_path, generation):
    """Each time TensorRT runs out of memory it gets half, the listener hears it, and the record keeps every step."""
    library, told = FakeTensorRt(generation, spare_mb=300), Told()
    _, record = build(tmp_path, library, workspace_mb=1024, progress=told)
    assert record.workspace_mb == (1024, 512, 256)
    assert [line for line in told.lines if "again with" in line] == [
        "out of memory: again with 512 MiB",
        "out of memory: again with 256 MiB",
    ]


def test_stepping_down_ends(tmp_path):
    """When the least limit is too much as well, the refusal names all that were tried and TensorRT's words."""
    with pytest.raises(EngineError, match="could not build") as caught:
        build(tmp_path, FakeTensorRt(10, spare_mb=1), workspace_mb=200)
    assert "200, 100, 64 MiB" in caught.value.wanted
    assert "out of memory" in caught.value.found
    assert left(tmp_path) == []


def test_other_failures_are_not_tried_again(tmp_path):
    """A build that fails for another reason fails once."""
    library = FakeTensorRt(8)
    library.build = lambda network, config, logger: (
        library.built.append({})
        or logger.log(library.ILogger.Severity.ERROR, "Error Code 10: Could not find any implementation for node conv")
    )
    with pytest.raises(EngineError, match="could not build") as caught:
        build(tmp_path, library)
    assert "any implementation" in caught.value.found
    assert len(library.built) == 1


def test_timings_are_kept_by_gpu_version_and_clock(tmp_path):
    """The second build knows what the first measured; another TensorRT does not."""
    folder = tmp_path / "timing"
    _, first = build(tmp_path, FakeTensorRt(10), timing_cache=folder)
    asked, second = build(tmp_path, FakeTensorRt(10), timing_cache=folder)
    _, other = build(tmp_path, FakeTensorRt(11), timing_cache=folder)
    assert [record.timing_cache for record in (first, second, other)] == ["cold", "warm", "cold"]
    assert asked["known"] == ["cast", "conv"]
    assert len(list(folder.iterdir())) == 2


def test_broken_timings_are_told_and_replaced(tmp_path, caplog):
    """A damaged cache is no reason to fail: the log names it, and the next build has a whole one."""
    folder = tmp_path / "timing"
    build(tmp_path, FakeTensorRt(10), timing_cache=folder)
    (cache,) = folder.iterdir()
    cache.write_bytes(b"\0garbage")
    with caplog.at_level(logging.WARNING):
        _, record = build(tmp_path, FakeTensorRt(10), timing_cache=folder)
    assert record.timing_cache == "cold"
    assert cache.name in caplog.text
    assert json.loads(cache.read_bytes()) == ["cast", "conv"]


def test_timings_of_two_builds_are_joined(tmp_path):
    """What another build wrote meanwhile stays in the cache."""
    folder, library = tmp_path / "timing", FakeTensorRt(10)
    build(tmp_path, library, timing_cache=folder)
    (cache,) = folder.iterdir()
    plain = library.build

    def meanwhile(network, config, logger):
        cache.write_text(json.dumps(["another"]))
        return plain(network, config, logger)

    library.build = meanwhile
    build(tmp_path, library, timing_cache=folder)
    assert json.loads(cache.read_bytes()) == ["another", "cast", "conv"]


def test_unwritable_timings_do_not_end_a_build(tmp_path, caplog):
    """A folder that cannot be made costs the cache, not the engine."""
    (tmp_path / "file").write_text("")
    build(tmp_path, FakeTensorRt(10), timing_cache=tmp_path / "file" / "timing")
    assert left(tmp_path) == ["engine", "engine.json"]
    assert "timing cache" in caplog.text


@pytest.mark.parametrize("generation", [10, 11])
def test_steps_are_told(tmp_path, generation):
    """The outer phase is progress, the inner one its note."""
    told = Told()
    build(tmp_path, FakeTensorRt(generation), progress=told)
    assert list(dict.fromkeys(told.lines)) == ["TensorRT: building engine", "timing tactics"]
    assert told.steps == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UnavailableError("the agent stops")])
def test_interrupted_build_leaves_nothing(tmp_path, error):
    """What a listener raises stops TensorRT, comes out of the builder, and no file has the engine's name."""
    with pytest.raises(type(error)):
        build(tmp_path, FakeTensorRt(10), progress=Told(until="timing tactics", error=error))
    assert left(tmp_path) == []


def test_a_build_is_stopped_within_an_outer_step(tmp_path):
    """The stop comes after the inner phase began: its next step asks, and no file has the engine's name."""
    stop = threading.Event()

    class StopsAtTheInnerPhase(Told):
        def advance(self, units=1, *, note=""):
            super().advance(units, note=note)
            stop.set()

    told = StopsAtTheInnerPhase()
    with pytest.raises(UpdateCancelled):
        build(tmp_path, FakeTensorRt(10), progress=Stoppable(stop, UpdateCancelled, told))
    assert told.steps == 0
    assert left(tmp_path) == []


def test_interrupt_outside_a_step_leaves_nothing(tmp_path):
    """Without a monitor, Ctrl-C ends the build when TensorRT returns; nothing is left either."""
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, FakeTensorRt(8), progress=Told(until="build engine", error=KeyboardInterrupt()))
    assert left(tmp_path) == []


def test_unwritable_folder_is_refused_before_the_build(tmp_path):
    """Where nothing can be written, nobody waits for a build first."""
    (tmp_path / "out").write_text("a file")
    library = FakeTensorRt(10)
    with pytest.raises(UnavailableError, match="could not write"):
        build(tmp_path, library)
    assert library.built == []


@contextmanager
def files_up_to(size_bytes):
    """No file may grow beyond this, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("full_at", ["engine", "record"])
def test_full_disk_keeps_the_old_engine(tmp_path, full_at):
    """When there is no room for either file, the engine and the record that stood there stand unchanged."""
    build(tmp_path, FakeTensorRt(10), "fp32")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    room = len(before["engine"]) // 2 if full_at == "engine" else len(before["engine.json"]) - 100
    assert (room > len(before["engine"]) + 10) == (full_at == "record")
    write_graph(tmp_path / "model.onnx", "fp16")
    with files_up_to(room), pytest.raises(UnavailableError, match="could not write"):
        TensorRtBuilder(library=FakeTensorRt(10), cuda=FakeCuda).build(
            tmp_path / "model.onnx", tmp_path / "out" / "engine"
        )
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_garbage_graph_is_refused_with_the_parsers_words(tmp_path):
    """A file that is no graph names itself, and leaves nothing."""
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError, match="parser refuses") as caught:
        TensorRtBuilder(library=FakeTensorRt(8), cuda=FakeCuda).build(tmp_path / "x.onnx", tmp_path / "out" / "engine")
    assert "Failed to parse" in caught.value.found
    assert left(tmp_path) == []


def test_missing_graph_is_told(tmp_path):
    """A path without a file says so."""
    with pytest.raises(EngineError, match="could not read"):
        TensorRtBuilder(library=FakeTensorRt(8), cuda=FakeCuda).build(tmp_path / "x.onnx", tmp_path / "out" / "engine")


def test_no_gpu_is_told(tmp_path):
    """Where TensorRT's bindings give nothing, a sentence says that there is no GPU and what to use instead."""
    with pytest.raises(UnsupportedError, match="does not start here") as caught:
        build(tmp_path, FakeTensorRt(10, gpu=False))
    assert "onnxruntime" in caught.value.remedy


@pytest.mark.parametrize(("cores", "core", "there"), [(0, 0, "no DLA"), (2, 2, "cores 0, 1"), (1, -1, "cores 0")])
def test_missing_dla_core_is_refused(tmp_path, cores, core, there):
    """A core that is not there is refused, with those that are."""
    library = FakeTensorRt(10, dla_cores=cores)
    with pytest.raises(UnsupportedError, match="no DLA core") as caught:
        build(tmp_path, library, "fp16", dla_core=core)
    assert caught.value.found == there
    assert library.built == []


def test_dla_refuses_fp32(tmp_path):
    """DLA does not compute in FP32; the graphs that it takes are named."""
    with pytest.raises(UnsupportedError, match="FP32") as caught:
        build(tmp_path, FakeTensorRt(10, dla_cores=2), "fp32", dla_core=0)
    assert "model.int8.onnx" in caught.value.remedy


def test_layers_that_dla_cannot_take_are_refused_by_name(tmp_path):
    """Without leave to fall back, the layers are named and nothing is built."""
    library = FakeTensorRt(10, dla_cores=2)
    with pytest.raises(UnsupportedError, match="1 of the graph's 2 layers") as caught:
        build(tmp_path, library, "fp16", dla_core=1)
    assert caught.value.found == "cast"
    assert "--allow-gpu-fallback" in caught.value.remedy
    assert library.built == []


@pytest.mark.parametrize(
    ("generation", "network", "flags"),
    [
        (8, ["EXPLICIT_BATCH"], ["FP16", "GPU_FALLBACK"]),
        (10, ["EXPLICIT_BATCH"], ["FP16", "GPU_FALLBACK"]),
        (11, ["STRONGLY_TYPED"], ["GPU_FALLBACK"]),
    ],
)
def test_allowed_fallback_is_recorded(tmp_path, generation, network, flags):
    """With leave, the record lists what runs on the GPU; types are the graph's in every generation's own way."""
    library = FakeTensorRt(generation, dla_cores=2)
    asked, record = build(tmp_path, library, "fp16", dla_core=1, allow_gpu_fallback=True)
    assert (asked["network"], asked["flags"], asked["dla"]) == (network, flags, 1)
    assert (record.dla_core, record.gpu_fallback) == (1, ("cast",))


def test_fallback_is_not_set_when_nothing_falls_back(tmp_path):
    """A graph that DLA takes whole runs there whole, whatever was allowed."""
    layers = [{"name": "conv", "dtype": "HALF", "dla": True}]
    asked, record = build(tmp_path, FakeTensorRt(8, dla_cores=1), layers, dla_core=0, allow_gpu_fallback=True)
    assert asked["flags"] == ["FP16"]
    assert record.gpu_fallback == ()


@pytest.mark.parametrize("generation", [8, 10])
def test_implicit_scales_are_found_when_asked_for(tmp_path, generation):
    """The calibrator sees every whole batch of frames, in the older way of typing, and keeps its scales."""
    cudas = []

    def cuda():
        cudas.append(FakeCuda())
        return cudas[-1]

    calibration = Calibration(frames=FRAMES, cache=tmp_path / "scales")
    asked, record = build(tmp_path, FakeTensorRt(generation), "fp16", cuda=cuda, batch=2, calibration=calibration)
    assert (asked["network"], asked["flags"], asked["scales"]) == (
        ["EXPLICIT_BATCH"],
        ["FP16", "INT8"],
        "2 batches of 2",
    )
    assert (record.precision, record.implicit_int8, record.typing) == ("int8", True, "weak")
    assert cudas[-1].uploaded == [FRAMES[:2].tobytes(), FRAMES[2:4].tobytes()]
    assert [path.read_text() for path in (tmp_path / "scales").iterdir()] == ["2 batches of 2"]
    assert cudas[-1].closed


def test_kept_scales_are_for_one_graph_and_its_frames(tmp_path):
    """The same graph and frames take up their scales; another graph or other frames find their own."""
    folder = tmp_path / "scales"
    build(tmp_path, FakeTensorRt(8), calibration=Calibration(frames=FRAMES, cache=folder))
    (kept,) = folder.iterdir()
    kept.write_text("kept")
    same, _ = build(tmp_path, FakeTensorRt(8), calibration=Calibration(frames=FRAMES.copy(), cache=folder))
    graph, _ = build(tmp_path, FakeTensorRt(8), "fp16", calibration=Calibration(frames=FRAMES, cache=folder))
    frames, _ = build(tmp_path, FakeTensorRt(8), calibration=Calibration(frames=FRAMES[:3], cache=folder))
    assert [asked["scales"] for asked in (same, graph, frames)] == ["kept", "5 batches of 1", "3 batches of 1"]


def test_implicit_scales_are_refused_where_they_are_gone(tmp_path):
    """TensorRT 11 finds no scales: refused before anything is read, with the graph to build."""
    with pytest.raises(UnsupportedError, match="no implicit INT8") as caught:
        build(tmp_path, FakeTensorRt(11), calibration=Calibration(frames=FRAMES))
    assert "model.int8.onnx" in caught.value.remedy


def test_graph_with_scales_takes_no_others(tmp_path):
    """An INT8 graph brings its scales; finding others is refused."""
    with pytest.raises(UnsupportedError, match="its own INT8 scales"):
        build(tmp_path, FakeTensorRt(8), "int8", calibration=Calibration(frames=FRAMES))


@pytest.mark.parametrize("frames", [FRAMES[:, :4], FRAMES.astype(np.float32), FRAMES[:0]])
def test_frames_must_fit_the_graph(tmp_path, frames):
    """Frames of another size or type, or too few, are refused with what was wanted."""
    with pytest.raises(EngineError, match="do not fit") as caught:
        build(tmp_path, FakeTensorRt(8), calibration=Calibration(frames=frames))
    assert caught.value.wanted == f"uint8[1, {SIDE}, {SIDE}, 3], at least one batch"


def test_engine_for_another_gpu_is_not_inspected(tmp_path):
    """Where the plan cannot be opened the record says so with nothing, and the engine stands."""
    library = FakeTensorRt(11)
    library.Runtime.deserialize_cuda_engine = lambda self, plan: None
    _, record = build(tmp_path, library)
    assert record.inspection is None
    assert sidecar_of(tmp_path / "out" / "engine").is_file()
