"""The CUDA adapters, over bindings in memory that answer as the genuine ones do."""

import sys
import types
from types import SimpleNamespace

import pytest

from edge.engine.cuda import Gpu, open_cuda
from mien.errors import UnsupportedError


def module(name, **names):
    made = types.ModuleType(name)
    vars(made).update(names)
    return made


@pytest.fixture
def installed(monkeypatch):
    """Makes these bindings importable, and no others."""

    def install(*modules):
        for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart", "pycuda", "pycuda.driver"):
            monkeypatch.setitem(sys.modules, name, None)
        for one in modules:
            for parent in (one.__name__.rsplit(".", count)[0] for count in range(one.__name__.count("."), 0, -1)):
                monkeypatch.setitem(sys.modules, parent, module(parent, __path__=[]))
            monkeypatch.setitem(sys.modules, one.__name__, one)

    return install


def runtime(name="cuda.bindings.runtime", *, devices=1, clock_khz=1_300_500):
    """cuda-python's runtime module: every function answers a code and its values."""
    facts = {"ComputeCapabilityMajor": 8, "ComputeCapabilityMinor": 7, "Integrated": 1, "ClockRate": clock_khz}
    kinds = SimpleNamespace(**{f"cudaDevAttr{fact}": fact for fact in facts})
    return module(
        name,
        cudaDeviceAttr=kinds,
        cudaGetDeviceCount=lambda: (0, devices),
        cudaStreamCreate=lambda: (0, 42),
        cudaStreamDestroy=lambda stream: (0,),
        cudaGetDeviceProperties=lambda device: (0, SimpleNamespace(name=b"Orin\0\0")),
        cudaDeviceGetAttribute=lambda kind, device: (0, facts[kind]),
        cudaMemGetInfo=lambda: (0, 3 << 30, 8 << 30),
    )


class Driver(types.ModuleType):
    """pycuda's driver, which asks for its context around every call."""

    Error = RuntimeError
    device_attribute = SimpleNamespace(INTEGRATED="integrated", CLOCK_RATE="clock")

    def __init__(self):
        super().__init__("pycuda.driver")
        self.depth = 0
        context = SimpleNamespace(push=lambda: self._step(1), pop=lambda: self._step(-1))
        self._device = SimpleNamespace(
            retain_primary_context=lambda: context,
            compute_capability=lambda: (8, 7),
            name=lambda: "Orin",
            get_attribute={"integrated": 1, "clock": 0}.__getitem__,
        )

    def init(self):
        """Find the GPU."""

    def Device(self, number):  # noqa: N802 - pycuda's name
        return self._device

    def Stream(self):  # noqa: N802 - pycuda's name
        return SimpleNamespace(handle=9)

    def mem_get_info(self):
        assert self.depth == 1
        return (1 << 30, 8 << 30)

    def _step(self, by):
        self.depth += by


@pytest.mark.parametrize("name", ["cuda.bindings.runtime", "cuda.cudart"])
def test_cuda_python_tells_its_gpu(installed, name):
    """Both places of the runtime module give the same facts; a name loses its padding."""
    installed(runtime(name))
    cuda = open_cuda()
    assert (cuda.name, cuda.stream, cuda.free_bytes()) == ("cuda-python", 42, 3 << 30)
    assert cuda.gpu() == Gpu(name="Orin", compute_capability="8.7", integrated=True, clock_khz=1_300_500)


def test_pycuda_tells_its_gpu(installed):
    """Where only pycuda is there it serves, inside its context; a clock of zero is none."""
    driver = Driver()
    installed(driver)
    cuda = open_cuda()
    assert (cuda.name, cuda.stream, cuda.free_bytes()) == ("pycuda", 9, 1 << 30)
    assert cuda.gpu() == Gpu(name="Orin", compute_capability="8.7", integrated=True, clock_khz=None)
    assert driver.depth == 0


def test_no_gpu_names_what_each_binding_said(installed):
    """A binding that finds nothing and one that is missing are both told."""
    installed(runtime(devices=0))
    with pytest.raises(UnsupportedError, match="no CUDA binding") as caught:
        open_cuda()
    assert "cuda-python: CUDA finds no GPU" in caught.value.found
    assert "pycuda:" in caught.value.found
