"""Batches under way on a real GPU: with copies and mapped memory, as a CUDA graph and plain."""

import threading

import numpy as np
import onnx
import pytest

from edge.engine.chooser import open_engine
from edge.engine.cuda import open_cuda
from edge.engine.interface import EngineError
from edge.engine.tensorrt import BuildOptions, TensorRtBuilder, TensorRtEngine
from tests.fakes.open_batch import open_graph
from tests.fakes.tiny_bundle import bright_square, tiny_graph

pytestmark = pytest.mark.gpu
GRID = 4
WAYS = [(mapped, graph) for mapped in (False, True) for graph in (False, True)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """An engine of a graph of a few operators."""
    folder = tmp_path_factory.mktemp("engine")
    onnx.save(tiny_graph(), folder / "model.onnx")
    return TensorRtBuilder().build(folder / "model.onnx", folder / "engine")


def frame(number):
    """A frame whose bright square stands at a place of its own."""
    return bright_square(number % GRID, number // GRID % GRID)[None]


def place(raw):
    """Where the answer's best box stands, as a number."""
    x, y, *_ = raw.boxes[0, 0]
    return int(x) // 16 + int(y) // 16 * GRID


@pytest.mark.parametrize(("mapped", "graph"), WAYS)
def test_every_way_answers_for_its_own_frames(path, mapped, graph):
    """One batch ahead, the buffer filled again at once, and frames aside in between: no answer is for another frame."""
    with TensorRtEngine(path, mapped=mapped, graph=graph) as engine:
        assert engine.mapped == mapped
        buffer = frame(0)
        tickets, found = [engine.submit(buffer)], []
        for number in range(1, 200):
            buffer[...] = frame(number)
            tickets.append(engine.submit(buffer))
            buffer[...] = 255
            if number % 7 == 0:
                assert place(engine.infer(frame(number + 5))) == (number + 5) % 16
            found.append(place(engine.collect(tickets.pop(0))))
        found.append(place(engine.collect(tickets.pop())))
    assert found == [number % 16 for number in range(200)]


def test_work_is_a_graph_where_the_binding_can(path):
    """With a binding that knows graphs the work is one; without, the reason names the binding."""
    cuda = open_cuda()
    with TensorRtEngine(path, cuda=cuda) as engine:
        assert engine.plain_because == (None if cuda.graphs else f"{cuda.name} has no CUDA graphs")


def test_memory_is_mapped_where_it_is_shared(path):
    """Unless asked otherwise the way follows the GPU."""
    cuda = open_cuda()
    with TensorRtEngine(path, cuda=cuda) as engine:
        assert engine.mapped == cuda.gpu().integrated


def test_too_many_batches_are_refused(path):
    """A third batch is refused, and the two under way are answered."""
    with TensorRtEngine(path) as engine:
        tickets = [engine.submit(frame(number)) for number in (3, 9)]
        with pytest.raises(EngineError, match="too many batches"):
            engine.submit(frame(1))
        assert [place(engine.collect(ticket)) for ticket in tickets] == [3, 9]


@pytest.mark.parametrize("graph", [False, True])
def test_other_threads_can_use_it(path, graph):
    """An engine opened in one thread answers in another."""
    found = []
    with TensorRtEngine(path, graph=graph) as engine:
        thread = threading.Thread(target=lambda: found.append(place(engine.infer(frame(6)))))
        thread.start()
        thread.join()
    assert found == [6]


@pytest.mark.parametrize(("mapped", "graph"), WAYS)
def test_open_batch_answers_as_onnxruntime(tmp_path, mapped, graph):
    """A graph with an open batch is built for the largest one, and each frame has onnxruntime's answer."""
    onnx.save(open_graph("4"), tmp_path / "model.onnx")
    path = TensorRtBuilder(options=BuildOptions()).build(tmp_path / "model.onnx", tmp_path / "engine")
    frames = np.concatenate([frame(number) for number in (2, 15, 8, 5)])
    with (
        TensorRtEngine(path, mapped=mapped, graph=graph) as engine,
        open_engine(tmp_path / "model.onnx", "onnxruntime") as wanted,
    ):
        assert engine.info.input_shape[0] == 4
        found, right = engine.infer(frames), wanted.infer(frames)
    assert found.boxes[:, 0].tolist() == right.boxes[:, 0].tolist()
    assert np.allclose(found.scores, right.scores, atol=1e-3)


def test_memory_comes_back(path):
    """After many openings and closings as much device memory is free as after the first few."""
    watch, free = open_cuda(), []
    for _ in range(12):
        with TensorRtEngine(path) as engine:
            engine.submit(frame(1))
        free.append(watch.free_bytes())
    watch.close()
    assert free[-1] > free[2] - (32 << 20)
