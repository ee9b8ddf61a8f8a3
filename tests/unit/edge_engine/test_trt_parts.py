"""The decisions behind the TensorRT builder, as plain values."""

import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.engine.cuda import Gpu
from edge.engine.tensorrt import load_tensorrt
from edge.engine.tensorrt.capabilities import NAMES, Capabilities, missing
from edge.engine.tensorrt.host import clocks_of, device_class, read_host
from edge.engine.tensorrt.inspector import summary_of, type_of
from edge.engine.tensorrt.sidecar import DeviceClass, EngineRecord, differences
from edge.engine.tensorrt.timing_cache import cache_name
from edge.engine.tensorrt.workspace import (
    LEAST_BYTES,
    available_bytes,
    is_out_of_memory,
    smaller,
    workspace_limit,
)
from mien.errors import UnsupportedError
from tests.fakes.fake_tensorrt import ORIN, FakeCuda, FakeTensorRt

WORDS = st.text("abc019.", min_size=1, max_size=4)
DEVICES = st.builds(DeviceClass, os=WORDS, arch=WORDS, compute_capability=WORDS, gpu=WORDS)


def record(device, *, tensorrt="10.3.0", graph="g", engine="e"):
    return EngineRecord(
        device=device,
        tensorrt=tensorrt,
        graph_sha256=graph,
        engine_sha256=engine,
        precision="fp16",
        typing="strong",
        workspace_mb=(64,),
        timing_cache="none",
        seconds=1.0,
    )


@given(DEVICES, DEVICES, WORDS, WORDS)
def test_differences_are_exactly_what_differs(built, here, version, wanted):
    """Each differing fact but the GPU's name has one sentence with both values, and an equal one has none."""
    found = differences(record(built, tensorrt=version), device=here, tensorrt=wanted, engine_sha256="e")
    pairs = {
        "operating system": (built.os, here.os),
        "architecture": (built.arch, here.arch),
        "compute capability": (built.compute_capability, here.compute_capability),
        "TensorRT": (version, wanted),
    }
    assert found == tuple(f"{what}: built {a}, here {b}" for what, (a, b) in pairs.items() if a != b)


@given(DEVICES)
def test_record_survives_its_file(device):
    """What is written is what is read."""
    value = record(device)
    assert EngineRecord.model_validate_json(value.model_dump_json()) == value


@given(st.integers(0, 1 << 45))
def test_workspace_steps_down_to_the_least_and_ends(free_bytes):
    """From any free memory, limits fall strictly to the least one, which is the last."""
    limits = [workspace_limit(free_bytes)]
    while (less := smaller(limits[-1])) is not None:
        limits.append(less)
    assert limits == sorted(set(limits), reverse=True)
    assert limits[-1] == LEAST_BYTES
    assert len(limits) <= 8


@pytest.mark.parametrize(
    "message",
    [
        "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "Requested amount of memory (150994944 bytes) could not be allocated.",
        "Error Code 9: Skipping tactic due to exception autotuning: User allocator error allocating 15485030400-byte buffer",
        "../rtSafe/WeightsPtr.cpp (92) - OutOfMemory Error in allocate: 0",
    ],
)
def test_out_of_memory_is_recognised(message):
    """The words of several versions for an allocation that failed."""
    assert is_out_of_memory(["something else", message])


def test_too_little_workspace_is_no_lack_of_memory():
    """A tactic that wants more workspace is not helped by less of it."""
    assert not is_out_of_memory(["Could not find any implementation for node due to insufficient workspace."])
    assert not is_out_of_memory([])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("MemTotal: 8 kB\nMemAvailable:    2048 kB\n", 2 << 20), ("MemTotal: 8 kB\n", None), ("", None)],
)
def test_available_memory_is_read(text, wanted):
    """``/proc/meminfo`` with and without the line."""
    assert available_bytes(text) == wanted


def test_jetson_counts_its_shared_memory(tmp_path):
    """A GPU that shares memory goes by what the system calls available, another by what CUDA calls free."""
    (tmp_path / "meminfo").write_text("MemAvailable: 1048576 kB\n")
    card = Gpu(name="RTX 3080", compute_capability="8.6", integrated=False, clock_khz=1_710_000)
    shared = read_host(FakeCuda(ORIN, free_mb=100), meminfo=tmp_path / "meminfo", devfreq=tmp_path)
    own = read_host(FakeCuda(card, free_mb=100), meminfo=tmp_path / "meminfo", devfreq=tmp_path)
    unread = read_host(FakeCuda(ORIN, free_mb=100), meminfo=tmp_path / "none", devfreq=tmp_path)
    assert [host.free_bytes >> 20 for host in (shared, own, unread)] == [1024, 100, 100]


def test_clock_is_the_power_modes_own(tmp_path):
    """Devfreq's highest clock counts on a Jetson; other devices under devfreq do not."""
    for name, hz in (("17000000.gpu", "624750000"), ("15340000.vic", "729600000"), ("gpu-gpc-1", "broken")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "max_freq").write_text(hz)
    assert read_host(FakeCuda(), devfreq=tmp_path).clocks == "624MHz"


@pytest.mark.parametrize(
    ("devfreq", "khz", "wanted"), [([], 1_300_000, "1300MHz"), ([], None, "unknown"), ([9 * 10**8], 1, "900MHz")]
)
def test_clock_falls_back_and_says_so(devfreq, khz, wanted):
    """Without devfreq CUDA's figure counts, without either the clock is unknown."""
    assert clocks_of(devfreq, khz) == wanted


def test_cache_name_tells_gpus_versions_and_clocks_apart():
    """Names are safe as files and differ wherever timings do."""
    host = read_host(FakeCuda())
    other = host.device.model_copy(update={"gpu": "NVIDIA A100/SXM4"})
    names = {
        cache_name(host, "10.3.0"),
        cache_name(host, "10.3.1"),
        cache_name(type(host)(device=host.device, free_bytes=0, clocks="918MHz"), "10.3.0"),
        cache_name(type(host)(device=other, free_bytes=0, clocks=host.clocks), "10.3.0"),
    }
    assert len(names) == 4
    assert "nvidia-a100-sxm4_sm8.7_trt10.3.0" in max(names, key=len)
    assert not any("/" in name for name in names)


EIGHT = """{"Layers": [
 {"Name": "Reformatting CopyNode for Input Tensor 0 to conv1", "LayerType": "Reformat",
  "Inputs": [{"Name": "x", "Format/Datatype": "Row major linear FP32"}],
  "Outputs": [{"Name": "y", "Format/Datatype": "Channel major INT8 format where channel % 4 == 0"}]},
 {"Name": "conv1", "LayerType": "CaskConvolution", "Weights": {"Type": "Int8", "Count": 432},
  "Inputs": [{"Name": "y", "Format/Datatype": "Four wide channel vectorized row major Int8 format"}],
  "Outputs": [{"Name": "z", "Format/Datatype": "Row major linear FP16 format"}]},
 {"Name": "pool", "LayerType": "CaskPooling", "Weights": {},
  "Inputs": [{"Name": "z", "Format/Datatype": "Row major linear FP16 format"}], "Outputs": []}],
 "Bindings": ["frames"]}"""
ELEVEN = """{"Layers": [
 {"Name": "cast", "LayerType": "kgen",
  "Inputs": [{"Name": "frames", "Datatype": "UInt8", "Format": "(Linear) Row major linear format"}], "Outputs": []},
 {"Name": "mul", "LayerType": "kgen", "Inputs": [],
  "Outputs": [{"Name": "z", "Datatype": "Float", "Format": "(NHWC) Channel major format"}]},
 {"Name": "gemm", "LayerType": "gemm", "Inputs": [{"Name": "a", "Format/Datatype": "Half(64,1:8,8,8)"}], "Outputs": []}],
 "I/O Tensors": []}"""


def test_inspector_of_8_is_understood():
    """A reformat is counted apart, a convolution goes by its weights, a pool by its input."""
    found = summary_of(EIGHT)
    assert (found.layers, found.reformats) == (3, 1)
    assert found.precisions == {"conv1": "int8", "pool": "fp16"}


def test_inspector_of_11_is_understood():
    """Format and type in two keys, and the short words of later versions."""
    assert summary_of(ELEVEN).precisions == {"cast": "uint8", "mul": "fp32", "gemm": "fp16"}


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"Layers": []}', '{"Layers": 3}'])
def test_empty_inspection_is_none(text):
    """A text without layers gives no summary, not a wrong one."""
    assert summary_of(text) is None


def test_names_alone_are_counted():
    """With names only, layers are counted and their types unknown."""
    found = summary_of('{"Layers": ["conv1", "Reformatting CopyNode for Output Tensor 0 to conv1", {"Name": null}]}')
    assert (found.layers, found.reformats, found.by_precision) == (3, 1, {"unknown": 2})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("Row major linear BOOL", "bool"), ("BFloat16", "bf16"), ("FP8", "fp8"), ("Int64", "int64"), ("N/A", "unknown")],
)
def test_types_are_told_apart(text, wanted):
    """Words that contain one another do not mix."""
    assert type_of(text) == wanted


@pytest.mark.parametrize(
    ("generation", "wanted"),
    [
        (8, {"explicit_batch", "precision_flags", "speed_hints", "calibrators"}),
        (10, set(NAMES)),
        (11, {"strong_typing", "progress_monitor"}),
    ],
)
def test_capabilities_follow_from_names(generation, wanted):
    """A capability is there when all its names are."""
    found = Capabilities.of(FakeTensorRt(generation))
    assert {name for name in NAMES if getattr(found, name)} == wanted


def test_one_missing_name_takes_the_capability():
    """Half a capability is none."""
    library = FakeTensorRt(10)
    del library.IInt8EntropyCalibrator2.get_batch
    assert not Capabilities.of(library).calibrators
    assert missing(library, ("Builder", "Nothing.at.all")) == ("Nothing.at.all",)


@pytest.fixture
def installed(monkeypatch):
    """Makes ``import tensorrt`` find something."""

    def install(**names):
        module = types.ModuleType("tensorrt")
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return install


def test_library_of_8_5_is_taken(installed):
    """A module with everything that 8.5 has is taken."""
    fake = FakeTensorRt(8)
    names = {name: getattr(fake, name) for name in dir(fake) if not name.startswith("_")}
    module = installed(**names, __version__="8.5.2.2")
    assert load_tensorrt() is module


def test_older_library_is_refused_by_what_it_lacks(installed):
    """8.4 has no pixels as input and no tensors with names: refused, with its version and the remedy."""
    installed(Builder=object, IExecutionContext=object, ICudaEngine=object, __version__="8.4.1.5")
    with pytest.raises(UnsupportedError, match="too old") as caught:
        load_tensorrt()
    assert "8.4.1.5, without uint8, IExecutionContext.execute_async_v3" in caught.value.found


def test_empty_package_is_no_tensorrt(installed):
    """A folder of that name without a builder, as type stubs leave one, is not taken for TensorRT."""
    installed()
    with pytest.raises(UnsupportedError, match="not installed"):
        load_tensorrt()


def test_device_class_is_this_machines():
    """Operating system and architecture come from here, the rest from the GPU."""
    found = device_class(ORIN)
    assert (found.gpu, found.compute_capability) == ("Orin", "8.7")
    assert found.os == "linux"
