"""The CUDA adapters, over bindings in memory that answer as the genuine ones do."""

import sys
import threading
import types

import numpy as np
import pytest

from edge.engine.cuda import Gpu, open_cuda
from edge.engine.interface import EngineError
from mien.errors import UnsupportedError
from tests.fakes.cuda_bindings import DEVICE_SIDE, Driver, Runtime

UNDO = ("cudaFree", "cudaFreeHost", "cudaEventDestroy", "cudaGraphExecDestroy", "cudaStreamDestroy")


@pytest.fixture
def installed(monkeypatch):
    """Makes these bindings importable, and no others."""

    def install(*modules):
        for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart", "pycuda", "pycuda.driver"):
            monkeypatch.setitem(sys.modules, name, None)
        for one in modules:
            for parent in (one.__name__.rsplit(".", count)[0] for count in range(one.__name__.count("."), 0, -1)):
                package = types.ModuleType(parent)
                package.__path__ = []
                monkeypatch.setitem(sys.modules, parent, package)
            monkeypatch.setitem(sys.modules, one.__name__, one)
        return modules[0]

    return install


def in_another_thread(work):
    """Run something in a thread of its own; what it raised."""
    raised = []

    def run():
        try:
            work()
        except Exception as error:  # noqa: BLE001 - handed on to the test
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


@pytest.mark.parametrize("name", ["cuda.bindings.runtime", "cuda.cudart"])
def test_cuda_python_tells_its_gpu(installed, name):
    """Both places of the runtime module give the same facts; a name loses its padding."""
    installed(Runtime(name))
    cuda = open_cuda()
    assert (cuda.name, cuda.graphs, cuda.free_bytes()) == ("cuda-python", True, 3 << 30)
    assert cuda.gpu() == Gpu(name="Orin", compute_capability="8.7", integrated=True, clock_khz=1_300_500)


def test_pycuda_tells_its_gpu(installed):
    """Where only pycuda is there it serves, inside its context; a clock of zero is none."""
    driver = installed(Driver())
    cuda = open_cuda()
    assert (cuda.name, cuda.graphs, cuda.free_bytes()) == ("pycuda", False, 1 << 30)
    assert cuda.gpu() == Gpu(name="Orin", compute_capability="8.7", integrated=True, clock_khz=None)
    assert set(driver.by_thread.values()) == {0}


def test_no_gpu_names_what_each_binding_said(installed):
    """A binding that finds nothing and one that is missing are both told."""
    installed(Runtime(devices=0))
    with pytest.raises(UnsupportedError, match="no CUDA binding") as caught:
        open_cuda()
    assert "cuda-python: CUDA finds no GPU" in caught.value.found
    assert "pycuda:" in caught.value.found


def test_a_missing_driver_is_no_gpu(installed):
    """Older versions of the binding raise where others answer a code; the sentence stands in the refusal."""
    runtime = installed(Runtime())

    def no_driver():
        raise RuntimeError("Failed to dlopen libcuda.so.1\n")

    runtime.cudaGetDeviceCount = no_driver
    with pytest.raises(UnsupportedError, match="no CUDA binding") as caught:
        open_cuda()
    assert "Failed to dlopen libcuda.so.1;" in caught.value.found


def test_a_half_opened_binding_gives_its_stream_back(installed):
    """When the second stream cannot be had the first is destroyed, and the next binding is asked."""
    runtime = installed(Runtime(fails={"cudaStreamCreateWithFlags": 2}), Driver())
    assert open_cuda().name == "pycuda"
    assert len(runtime.named("cudaStreamDestroy")) == 1


def test_copies_go_up_on_a_stream_of_their_own(installed):
    """Uploads and downloads are on different streams, and marks join them."""
    runtime = installed(Runtime())
    cuda = open_cuda()
    host, address, mark = cuda.pinned((2, 3), np.float32), cuda.allocate(24), cuda.event()
    host[...] = 7
    cuda.upload(address, host)
    cuda.record(mark, cuda.uploads)
    cuda.hold(cuda.stream, mark)
    cuda.download(host, address)
    place = host.ctypes.data
    assert cuda.stream != cuda.uploads
    assert runtime.named("cudaMemcpyAsync", "cudaEventRecord", "cudaStreamWaitEvent") == [
        ("cudaMemcpyAsync", address, place, 24, "up", cuda.uploads),
        ("cudaEventRecord", mark, cuda.uploads),
        ("cudaStreamWaitEvent", cuda.stream, mark, 0),
        ("cudaMemcpyAsync", place, address, 24, "down", cuda.stream),
    ]


def test_mapped_memory_has_an_address_on_the_device(installed):
    """Memory of the host is asked for as mapped, and its other address is the device's."""
    runtime = installed(Runtime())
    host, address = open_cuda().mapped((4,), np.int32)
    assert address == host.ctypes.data + DEVICE_SIDE
    assert runtime.named("cudaHostAlloc") == [("cudaHostAlloc", 16, runtime.cudaHostAllocMapped)]


def held(cuda):
    """One of everything, as calls that give it back, oldest first."""
    streams = [("cudaStreamDestroy", cuda.stream), ("cudaStreamDestroy", cuda.uploads)]
    block = ("cudaFree", cuda.allocate(8))
    host = ("cudaFreeHost", cuda.pinned((1,), np.uint8).ctypes.data)
    mapped = ("cudaFreeHost", cuda.mapped((1,), np.uint8)[0].ctypes.data)
    event = ("cudaEventDestroy", cuda.event())
    return [*streams, block, host, mapped, event, ("cudaGraphExecDestroy", cuda.capture(lambda: None))]


def test_closing_gives_everything_back_once_and_newest_first(installed):
    """Graph, event, memory and streams go back in the reverse order; a second closing has nothing left."""
    runtime = installed(Runtime())
    cuda = open_cuda()
    wanted = held(cuda)
    cuda.close()
    cuda.close()
    assert runtime.named(*UNDO) == wanted[::-1]


@pytest.mark.parametrize("name", UNDO)
def test_what_cannot_be_given_back_keeps_nothing_else(installed, name):
    """When one thing cannot be freed all others are, and the failure is told."""
    runtime = installed(Runtime(fails={name: 1}))
    cuda = open_cuda()
    wanted = held(cuda)
    with pytest.raises(EngineError, match=f"{name} failed"):
        cuda.close()
    assert runtime.named(*UNDO) == wanted[::-1]


def test_each_thread_chooses_the_device_first(installed):
    """A thread's first call of any kind is preceded by the choice, which is made once."""
    runtime = installed(Runtime())
    cuda = open_cuda()
    assert in_another_thread(lambda: (cuda.free_bytes(), cuda.synchronise())) == []
    assert in_another_thread(lambda: cuda.current().__enter__()) == []
    mine = [name for who, name in runtime.threads if who == threading.get_ident()]
    others = [name for who, name in runtime.threads if who != threading.get_ident()]
    assert mine[:2] == ["cudaGetDeviceCount", "cudaSetDevice"]
    assert mine.count("cudaSetDevice") == 1
    assert others == [
        "cudaSetDevice",
        "cudaMemGetInfo",
        "cudaStreamSynchronize",
        "cudaStreamSynchronize",
        "cudaSetDevice",
    ]


CAPTURE = (
    *("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags", "cudaGraphDestroy"),
    *("cudaGetLastError", "cudaGraphExecDestroy", "cudaGraphLaunch"),
)


def names_of(runtime):
    return [call[0] for call in runtime.named(*CAPTURE)]


def test_captured_work_can_be_launched(installed):
    """Work between the two ends of a capture becomes a graph, of which only the launchable form is kept."""
    runtime = installed(Runtime())
    cuda = open_cuda()
    cuda.launch(cuda.capture(lambda: runtime.calls.append(("cudaGraphLaunch", "the work"))))
    begin, work, end, made, destroyed, launched = runtime.named(*CAPTURE)
    assert begin == ("cudaStreamBeginCapture", cuda.stream, "thread")
    assert (work[1], end) == ("the work", ("cudaStreamEndCapture", cuda.stream))
    assert (made[0], made[1], destroyed) == (
        "cudaGraphInstantiateWithFlags",
        destroyed[1],
        ("cudaGraphDestroy", made[1]),
    )
    assert launched[0::2] == ("cudaGraphLaunch", cuda.stream)


def test_failing_work_leaves_the_stream_usable(installed):
    """Work that raises ends the capture, and what was captured is destroyed."""
    runtime = installed(Runtime())

    def work():
        raise EngineError("no")

    with pytest.raises(EngineError, match="no"):
        open_cuda().capture(work)
    assert names_of(runtime) == [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphDestroy",
        "cudaGetLastError",
    ]


def test_spoilt_capture_is_forgotten(installed):
    """Work that CUDA cannot capture fails at the end of the capture, without a graph to destroy."""
    runtime = installed(Runtime(fails={"cudaStreamEndCapture": 1}))
    with pytest.raises(EngineError, match="cudaStreamEndCapture failed"):
        open_cuda().capture(lambda: None)
    assert "cudaGraphDestroy" not in names_of(runtime)
    assert names_of(runtime)[-1] == "cudaGetLastError"


def test_graph_that_cannot_be_made_launchable_is_destroyed(installed):
    """Nothing is left of a capture whose last step fails."""
    runtime = installed(Runtime(fails={"cudaGraphInstantiateWithFlags": 1}))
    cuda = open_cuda()
    with pytest.raises(EngineError, match="cudaGraphInstantiateWithFlags failed"):
        cuda.capture(lambda: None)
    cuda.close()
    assert names_of(runtime)[-1] == "cudaGraphDestroy"


def test_pycuda_pushes_its_context_in_every_thread(installed):
    """Each thread has the context while it calls and not afterwards; what is called inside does not push it again."""
    driver = installed(Driver())
    cuda = open_cuda()

    def work():
        with cuda.current():
            cuda.free_bytes()
            cuda.synchronise()
        cuda.free_bytes()

    work()
    assert in_another_thread(work) == []
    assert (driver.calls.count("mem_get_info"), driver.most_deep) == (4, 1)
    assert list(driver.by_thread.values()) == [0, 0]


def test_pycuda_pops_its_context_after_a_failure(installed):
    """An error of CUDA becomes an engine's error, and the thread is left without a context."""
    driver = installed(Driver(fails="mem_alloc"))
    cuda = open_cuda()
    with pytest.raises(EngineError, match="CUDA failed") as caught:
        cuda.allocate(1)
    assert "out of memory" in caught.value.found
    assert list(driver.by_thread.values()) == [0]


def test_pycuda_copies_beside_the_work(installed):
    """Uploads, marks and downloads are on the streams that they belong to; waiting threads sleep."""
    driver = installed(Driver())
    cuda = open_cuda()
    host, address, mark = cuda.pinned((2,), np.uint8), cuda.allocate(2), cuda.event()
    cuda.upload(address, host)
    cuda.record(mark, cuda.uploads)
    cuda.hold(cuda.stream, mark)
    cuda.download(host, address)
    cuda.wait(mark)
    up, work = cuda.uploads, cuda.stream
    assert up != work
    assert driver.calls[2:] == [
        *(
            "pagelocked_empty(0)",
            "mem_alloc",
            "Event(3)",
            f"up {up}",
            f"record {up}",
            f"hold {work}",
            f"down {work}",
            "wait",
        )
    ]


def test_pycuda_maps_memory(installed):
    """Memory is asked for as mapped, and its other address is the device's."""
    driver = installed(Driver())
    _, address = open_cuda().mapped((4,), np.int32)
    assert address == 8192 + DEVICE_SIDE
    assert driver.calls[2:] == ["pagelocked_empty(2)", "get_device_pointer"]


def test_pycuda_has_no_graphs(installed):
    """It says so, and refuses to make or launch one."""
    installed(Driver())
    cuda = open_cuda()
    for asked in (lambda: cuda.capture(lambda: None), lambda: cuda.launch(1)):
        with pytest.raises(EngineError, match="no CUDA graphs"):
            asked()


def test_pycuda_lets_its_context_go_last(installed):
    """Every block is freed inside the context before it is given back, once."""
    driver = installed(Driver())
    cuda = open_cuda()
    cuda.allocate(1)
    cuda.pinned((1,), np.uint8)
    cuda.mapped((1,), np.uint8)
    cuda.event()
    before = len(driver.calls)
    cuda.close()
    cuda.close()
    assert driver.calls[before:] == ["free", "free", "free", "detach"]


def test_pycuda_gives_the_rest_back_when_one_thing_fails(installed):
    """A block that cannot be freed keeps neither the others nor the context."""
    driver = installed(Driver(fails="free"))
    cuda = open_cuda()
    cuda.allocate(1)
    cuda.allocate(2)
    with pytest.raises(EngineError, match="CUDA failed"):
        cuda.close()
    assert driver.calls[-3:] == ["free", "free", "detach"]
