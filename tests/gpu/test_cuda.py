"""The CUDA adapters on a real GPU, each binding that is installed."""

import threading

import numpy as np
import pytest

from edge.engine.cuda.cuda_python import CudaPython
from edge.engine.cuda.pycuda import PyCuda
from edge.engine.interface import EngineError

pytestmark = pytest.mark.gpu
COUNT = 1 << 20


@pytest.fixture(params=[CudaPython, PyCuda], ids=lambda kind: kind.name)
def cuda(request):
    """A binding, closed at the end."""
    try:
        cuda = request.param()
    except (ImportError, EngineError) as error:
        pytest.skip(f"{request.param.name}: {error}")
    yield cuda
    cuda.close()


def test_copies_come_back(cuda):
    """What goes up on one stream comes down on the other, held by a mark."""
    there, back, address = cuda.pinned((COUNT,), np.int32), cuda.pinned((COUNT,), np.int32), cuda.allocate(4 * COUNT)
    mark, done = cuda.event(), cuda.event()
    for turn in range(20):
        there[...] = np.arange(COUNT) + turn
        cuda.upload(address, there)
        cuda.record(mark, cuda.uploads)
        cuda.hold(cuda.stream, mark)
        cuda.download(back, address)
        cuda.record(done, cuda.stream)
        cuda.wait(done)
        assert (back == there).all()


def test_mapped_memory_is_one(cuda):
    """What is written at the device's address stands in the host's array, and the other way round."""
    source, back = cuda.pinned((COUNT,), np.int32), cuda.pinned((COUNT,), np.int32)
    mapped, address = cuda.mapped((COUNT,), np.int32)
    source[...] = 7
    cuda.upload(address, source)
    cuda.synchronise()
    assert (mapped == 7).all()
    mapped[...] = 9
    cuda.download(back, address)
    cuda.synchronise()
    assert (back == 9).all()


def test_captured_work_is_replayed(cuda):
    """A graph does its work at each launch and not when it is captured."""
    if not cuda.graphs:
        pytest.skip(f"{cuda.name} has no CUDA graphs")
    source, back, address = cuda.pinned((8,), np.int32), cuda.pinned((8,), np.int32), cuda.allocate(32)
    back[...] = 0
    graph = cuda.capture(lambda: cuda.download(back, address))
    for value in (1, 2):
        source[...] = value
        cuda.upload(address, source)
        cuda.synchronise()
        assert (back != value).all()
        cuda.launch(graph)
        cuda.synchronise()
        assert (back == value).all()


def test_spoilt_capture_leaves_the_stream_usable(cuda):
    """Waiting cannot be captured; afterwards the stream works as before."""
    if not cuda.graphs:
        pytest.skip(f"{cuda.name} has no CUDA graphs")
    with pytest.raises(EngineError):
        cuda.capture(cuda.synchronise)
    source, back, address = cuda.pinned((8,), np.int32), cuda.pinned((8,), np.int32), cuda.allocate(32)
    source[...] = 5
    cuda.upload(address, source)
    cuda.synchronise()
    cuda.download(back, address)
    cuda.synchronise()
    assert (back == 5).all()


def test_every_thread_can_call(cuda):
    """A thread that never chose a device uses the same memory."""
    source, back, address = cuda.pinned((8,), np.int32), cuda.pinned((8,), np.int32), cuda.allocate(32)
    source[...] = 3

    def work():
        cuda.upload(address, source)
        cuda.synchronise()
        cuda.download(back, address)
        cuda.synchronise()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (back == 3).all()


def test_memory_comes_back(cuda):
    """After many openings and closings as much device memory is free as after the first."""
    free = []
    for _ in range(12):
        other = type(cuda)()
        other.allocate(64 << 20)
        other.mapped((1 << 20,), np.uint8)
        other.close()
        free.append(cuda.free_bytes())
    assert free[-1] > free[1] - (32 << 20)
