"""Batches under way on a TensorRT engine: on a GPU in memory that does nothing before somebody waits for it."""

import threading

import numpy as np
import pytest

from edge.engine.interface import EngineError, OverlappingEngine
from edge.engine.tensorrt import TensorRtBuilder, TensorRtEngine
from tests.fakes.fake_cuda import DISCRETE, ORIN
from tests.fakes.fake_tensorrt import SIDE, FakeCuda, FakeTensorRt, write_graph

WAYS = [
    pytest.param(gpu, graphs, id=f"{kind}, {'graph' if graphs else 'plain'}")
    for gpu, kind in ((ORIN, "mapped"), (DISCRETE, "copies"))
    for graphs in (True, False)
]


@pytest.fixture
def path(tmp_path):
    """An engine of TensorRT 10.3.0, of a class that both GPUs belong to."""
    model = write_graph(tmp_path / "model.onnx", "fp16", half_scores=True)
    return TensorRtBuilder(library=FakeTensorRt(10), cuda=FakeCuda).build(model, tmp_path / "engine")


def frames(level):
    """A frame of one brightness, whose score is a part of 255."""
    return np.full((1, SIDE, SIDE, 3), level, np.uint8)


def level(raw):
    """The brightness that an answer is for."""
    return round(float(raw.scores[0, 0]) * 255)


def opened(path, cuda, library=None, **options):
    return TensorRtEngine(path, library=library or FakeTensorRt(10), cuda=cuda, **options)


@pytest.mark.parametrize(("gpu", "graphs"), WAYS)
def test_batches_under_way_keep_their_frames(path, gpu, graphs):
    """The pipeline's order: one batch ahead, its buffer filled again at once, and each answer is for its own frames."""
    with opened(path, FakeCuda(gpu, graphs=graphs)) as engine:
        assert isinstance(engine, OverlappingEngine)
        found, buffer = [], frames(0)
        tickets = [engine.submit(buffer)]
        for number in range(1, 8):
            buffer[...] = number * 10
            tickets.append(engine.submit(buffer))
            buffer[...] = 255
            found.append(level(engine.collect(tickets.pop(0))))
        found.append(level(engine.collect(tickets.pop())))
    assert found == [number * 10 for number in range(8)]


@pytest.mark.parametrize(("gpu", "graphs"), WAYS)
def test_a_frame_aside_disturbs_no_batch(path, gpu, graphs):
    """``infer`` between submitting and collecting answers for its own frame, and so do the batches under way."""
    with opened(path, FakeCuda(gpu, graphs=graphs)) as engine:
        first, second = engine.submit(frames(40)), engine.submit(frames(80))
        assert level(engine.infer(frames(200))) == 200
        assert level(engine.collect(first)) == 40
        assert level(engine.infer(frames(10))) == 10
        assert level(engine.collect(second)) == 80


def test_answers_belong_to_the_caller(path):
    """Later batches in the same buffers do not change an answer, and its types are the promised ones."""
    with opened(path, FakeCuda()) as engine:
        kept = engine.collect(engine.submit(frames(90)))
        for _ in range(4):
            engine.collect(engine.submit(frames(5)))
    assert level(kept) == 90
    assert (kept.boxes.dtype, kept.scores.dtype, kept.classes.dtype) == (np.float32, np.float32, np.int32)


def test_one_batch_too_many_is_refused(path):
    """A third batch is refused with the number that may be under way, and the first two are not lost."""
    with opened(path, FakeCuda()) as engine:
        tickets = [engine.submit(frames(number)) for number in (1, 2)]
        with pytest.raises(EngineError, match="too many batches") as caught:
            engine.submit(frames(3))
        assert (caught.value.found, caught.value.wanted) == ("2", "at most 2")
        assert [level(engine.collect(ticket)) for ticket in tickets] == [1, 2]


@pytest.mark.parametrize("asked", ["the second", "twice", "invented"])
def test_only_the_oldest_batch_can_be_collected(path, asked):
    """Another ticket than the oldest is refused, and the oldest is still there."""
    with opened(path, FakeCuda()) as engine:
        done, first, second = engine.submit(frames(9)), engine.submit(frames(1)), None
        engine.collect(done)
        second = engine.submit(frames(2))
        with pytest.raises(EngineError, match="not the next to be collected") as caught:
            engine.collect({"the second": second, "twice": done, "invented": 99}[asked])
        assert caught.value.found == f"{first}, {second}"
        assert level(engine.collect(first)) == 1


def test_work_is_captured_once_for_each_buffer(path):
    """Opening warms up and captures three times; afterwards TensorRT is not called again, only graphs are launched."""
    library, cuda = FakeTensorRt(10), FakeCuda()
    with opened(path, cuda, library) as engine:
        assert (engine.plain_because, cuda.calls["capture"], library.executions) == (None, 3, 6)
        for number in range(5):
            assert level(engine.collect(engine.submit(frames(number)))) == number
            assert level(engine.infer(frames(100 + number))) == 100 + number
        assert (cuda.calls["launch"], library.executions) == (10, 6)


@pytest.mark.parametrize("call", [1, 3])
def test_failing_capture_falls_back(path, caplog, call):
    """When one capture fails every batch is enqueued plainly; the reason is kept, and told once."""
    library, cuda = FakeTensorRt(10), FakeCuda(fails={"capture": call})
    with opened(path, cuda, library) as engine:
        assert engine.plain_because == "capture failed: made to fail"
        before = library.executions
        assert [level(engine.collect(engine.submit(frames(number)))) for number in range(4)] == [0, 1, 2, 3]
        assert (cuda.calls["launch"], library.executions - before) == (0, 4)
    assert caplog.text.count("without a CUDA graph") == 1
    assert not cuda.held


def test_engine_that_cannot_be_captured_falls_back(path):
    """TensorRT refusing while its work is captured ends in plain work too."""
    library = FakeTensorRt(10)
    library.refused_executions = {2}
    with opened(path, FakeCuda(), library) as engine:
        assert engine.plain_because == "TensorRT refuses to run the engine"
        assert level(engine.infer(frames(7))) == 7


def test_engine_that_cannot_run_is_not_opened(path):
    """TensorRT refusing outside a capture is a fault of the engine; nothing is held."""
    library, cuda = FakeTensorRt(10), FakeCuda()
    library.refused_executions = {1}
    with pytest.raises(EngineError, match="failed on a frame") as caught:
        opened(path, cuda, library)
    assert "TensorRT refuses to run" in caught.value.found
    assert (cuda.closed, cuda.held) == (True, {})


def test_binding_without_graphs_says_so(path):
    """Nothing is captured, and the reason names the binding."""
    cuda = FakeCuda(graphs=False)
    with opened(path, cuda) as engine:
        assert engine.plain_because == "fake has no CUDA graphs"
        assert cuda.calls["capture"] == 0


def test_graph_can_be_switched_off(path):
    """For comparison: the same answers without a capture, and the reason says that it was asked for."""
    library, cuda = FakeTensorRt(10), FakeCuda()
    with opened(path, cuda, library, graph=False) as engine:
        assert (engine.plain_because, library.executions) == ("switched off", 0)
        assert level(engine.infer(frames(30))) == 30


@pytest.mark.parametrize(
    ("gpu", "asked", "mapped"),
    [(ORIN, None, True), (DISCRETE, None, False), (ORIN, False, False), (DISCRETE, True, True)],
)
def test_shared_memory_is_not_copied(path, gpu, asked, mapped):
    """Where GPU and CPU share memory nothing is copied, unless the caller chose otherwise."""
    cuda = FakeCuda(gpu)
    with opened(path, cuda, mapped=asked) as engine:
        assert level(engine.infer(frames(60))) == 60
        assert engine.mapped == mapped
    copies = cuda.calls["upload"] + cuda.calls["download"]
    assert (copies == 0, cuda.calls["mapped"], cuda.calls["allocate"]) == (mapped, 12 * mapped, 12 * (not mapped))


@pytest.mark.parametrize("name", ["allocate", "pinned", "event", "upload", "record", "hold", "download", "wait"])
@pytest.mark.parametrize("call", [1, 2])
def test_failing_to_open_leaves_nothing(path, name, call):
    """Whatever fails in the middle of opening, all that was made before is given back."""
    cuda = FakeCuda(DISCRETE, fails={name: call})
    with pytest.raises(EngineError):
        opened(path, cuda)
    assert (cuda.closed, cuda.held) == (True, {})


@pytest.mark.parametrize("name", ["upload", "launch", "download", "record", "hold"])
def test_failing_batch_is_not_under_way(path, name):
    """A batch that could not be begun has no ticket; those before and after it are answered."""
    cuda = FakeCuda(DISCRETE)
    with opened(path, cuda) as engine:
        first = engine.submit(frames(20))
        cuda._fails = {name: cuda.calls[name] + 1}
        with pytest.raises(EngineError, match="failed on a frame") as caught:
            engine.submit(frames(30))
        assert f"{name} failed" in caught.value.found
        second = engine.submit(frames(40))
        assert [level(engine.collect(ticket)) for ticket in (first, second)] == [20, 40]


def test_failing_answer_frees_its_buffer(path):
    """After an answer that could not be fetched as many batches can be under way as before."""
    cuda = FakeCuda(DISCRETE)
    with opened(path, cuda) as engine:
        lost = engine.submit(frames(20))
        cuda._fails = {"wait": cuda.calls["wait"] + 1}
        with pytest.raises(EngineError, match="failed on a frame"):
            engine.collect(lost)
        tickets = [engine.submit(frames(number)) for number in (1, 2)]
        assert [level(engine.collect(ticket)) for ticket in tickets] == [1, 2]


def test_threads_work_inside_the_context(path):
    """An engine opened in one thread is used in another, where the device is made current for TensorRT."""
    cuda = FakeCuda(graphs=False)
    found = []
    with opened(path, cuda) as engine:
        thread = threading.Thread(target=lambda: found.append(level(engine.infer(frames(50)))))
        thread.start()
        thread.join()
        found.append(level(engine.infer(frames(60))))
    assert found == [50, 60]
    assert len(cuda.threads) == 2
    assert cuda.entered == 0


@pytest.mark.parametrize("fails", [{}, {"synchronise": 1}])
def test_closing_with_batches_under_way(path, caplog, fails):
    """The GPU comes to rest before memory goes; when it does not, that is told and everything is given back all the same."""
    cuda = FakeCuda(fails=fails)
    engine = opened(path, cuda)
    ticket = engine.submit(frames(1))
    engine.close()
    assert (cuda.calls["synchronise"], cuda.held) == (1, {})
    assert ("did not come to rest" in caplog.text) == bool(fails)
    for call in (lambda: engine.collect(ticket), lambda: engine.submit(frames(2)), engine.enqueue):
        with pytest.raises(EngineError, match="closed"):
            call()
