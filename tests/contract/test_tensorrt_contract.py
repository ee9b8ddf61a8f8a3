"""Every attribute, enum member and call that mien uses of TensorRT exists in every version, or is asked for first."""

import pytest

from edge.engine.tensorrt.capabilities import NAMES, REQUIRED, Capabilities
from tests.contract.agreement import disagreements
from tests.contract.conftest import WHEELS, usage_in
from tests.fakes.fake_tensorrt import FakeTensorRt

OLD = {"explicit_batch", "precision_flags", "speed_hints", "calibrators"}
NEW = {"strong_typing", "progress_monitor"}
CAPABILITIES = {
    "8.5.3.1": OLD,
    "8.6.1": OLD,
    "10.3.0": OLD | NEW,
    "10.16.1.11": OLD | NEW,
    "11.4.0.106": NEW,
    "rtx": NEW,
}
VERSIONS = [pytest.param(version, marks=pytest.mark.slow) if version in WHEELS else version for version in CAPABILITIES]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_use_is_offered(genuine, used, version):
    """No name is used that a version lacks, unless behind a capability that it lacks too; no call has other arguments."""
    assert disagreements(used, genuine(version)) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_capabilities_are_what_is_known(genuine, version):
    """Capabilities found by looking are those of NVIDIA's migration guide."""
    surface = genuine(version)
    assert set(surface["capabilities"]) == CAPABILITIES[version]
    assert surface["version"].startswith("1.7." if version == "rtx" else version)


@pytest.mark.parametrize("version", VERSIONS)
def test_required_names_are_everywhere(genuine, version):
    """What tells 8.5 from older versions is in every supported one."""
    surface = genuine(version)
    for name in REQUIRED:
        owner, _, member = name.rpartition(".")
        assert member in (surface["classes"][owner] if owner else surface["module"])


@pytest.mark.parametrize(("generation", "version"), [(8, "8.5.3.1"), (10, "10.3.0"), (11, "11.4.0.106")])
def test_fakes_can_what_the_genuine_can(genuine, generation, version):
    """The unit tests' modules in memory have the capabilities of the version that they stand for."""
    can = Capabilities.of(FakeTensorRt(generation))
    assert {name for name in NAMES if getattr(can, name)} == set(genuine(version)["capabilities"])


def test_usage_was_found(used):
    """Mypy saw the code: the calls that must be there are."""
    names = {tuple(name) for name in used["names"]}
    assert {
        ("", "Builder"),
        ("Builder", "build_serialized_network"),
        ("IBuilderConfig", "int8_calibrator"),
        ("IExecutionContext", "execute_async_v3"),
        ("IExecutionContext", "set_input_shape"),
        ("ICudaEngine", "get_tensor_profile_shape"),
        ("IBuilderConfig", "set_calibration_profile"),
        ("ILogger.Severity", "ERROR"),
        ("ParserError", "desc"),
    } <= names
    assert ["IBuilderConfig", "set_timing_cache", 2, []] in used["calls"]
    assert ["IOptimizationProfile", "set_shape", 4, []] in used["calls"]
    assert ["IExecutionContext", "set_tensor_address", 2, []] in used["calls"]
    assert {entry["base"] for entry in used["derived"]} == {"ILogger", "IProgressMonitor", "IInt8EntropyCalibrator2"}


PROBE = """
from __future__ import annotations
from typing import TYPE_CHECKING
from edge.engine.tensorrt.library import TensorRt
if TYPE_CHECKING:
    import tensorrt as trt
def use(library: TensorRt, config: trt.IBuilderConfig, cache: trt.ITimingCache) -> None:
    config.become_faster()
    library.Invented
    config.set_flag(library.BuilderFlag.FP8)
    config.l2_limit_for_tiling = 1
    config.set_timing_cache(cache)
    config.set_timing_cache(cache, False, strict=True)
    library.Runtime()
    class Monitor(library.IProgressMonitor):
        def phase_finish(self) -> None: ...
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """What code uses that breaks the contract in many ways."""
    path = tmp_path_factory.mktemp("probe") / "probe.py"
    path.write_text(PROBE)
    return usage_in("edge/engine/tensorrt/library.py", path)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("10.16.1.11", "IBuilderConfig.become_faster is not there and no capability"),
        ("8.5.3.1", "Invented is not there and no capability"),
        ("11.4.0.106", "BuilderFlag.FP8 is not there and no capability"),
        ("10.3.0", "IBuilderConfig.l2_limit_for_tiling is not there and no capability"),
        ("10.3.0", "IBuilderConfig.set_timing_cache does not take 1 arguments []"),
        ("10.3.0", "IBuilderConfig.set_timing_cache does not take 2 arguments ['strict']"),
        ("10.3.0", "Runtime.__init__ does not take 0 arguments"),
        ("10.3.0", "IProgressMonitor.phase_finish is called with"),
    ],
)
def test_the_contract_can_be_broken(genuine, broken, version, wanted):
    """An invented name, one of other versions only, and a call or method with other arguments are each found."""
    assert [sentence for sentence in disagreements(broken, genuine(version)) if sentence.startswith(wanted)]


def test_what_a_version_has_is_no_fault(genuine, broken):
    """The same name is a fault in one version and none in another."""
    assert not [found for found in disagreements(broken, genuine("10.16.1.11")) if "l2_limit" in found]


def test_guarded_names_are_let_through_only_where_the_capability_is_absent():
    """A guarded name that is missing although its capability is there is a fault of the table."""
    usage = {"names": [["BuilderFlag", "FP16"]], "calls": [], "derived": []}
    surface = {"module": [], "classes": {"BuilderFlag": {}}, "capabilities": []}
    assert disagreements(usage, surface) == []
    assert disagreements(usage, {**surface, "capabilities": ["precision_flags"]}) == [
        "BuilderFlag.FP16 is not there, but its capability precision_flags is"
    ]
