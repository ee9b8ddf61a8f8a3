"""A device takes exactly the variant that fits it, or is told what differs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import BundleError
from mien.facts import DeviceFacts
from mien.release import (
    BuildEngine,
    LoadEngine,
    Manifest,
    Refusal,
    ReleaseRef,
    VariantPolicy,
    choose_variant,
    parse_manifest,
    version_key,
)

SHA = "0" * 64
CPU = DeviceFacts(
    arch="x86_64", cpu="Test CPU", cpu_count=2, memory_bytes=1 << 30, python="3.11.0", onnxruntime="1.24.4"
)
ORIN = DeviceFacts(
    arch="aarch64",
    cpu="Cortex-A78AE",
    cpu_count=6,
    memory_bytes=8 << 30,
    python="3.10.12",
    compute_capability="8.7",
    tensorrt="10.3.0",
    onnxruntime="1.23.2",
)


def variant(path, precision, runtimes, *, form="onnx", **requires):
    return {
        "precision": precision,
        "format": form,
        "path": path,
        "sha256": SHA,
        "size_bytes": 1,
        "requires": {"runtimes": runtimes, **requires},
    }


FP32 = variant("model.fp32.onnx", "fp32", ["tensorrt", "onnxruntime"])
INT8 = variant("model.int8.onnx", "int8", ["tensorrt"])
INT8_CPU = variant("model.int8.cpu.onnx", "int8", ["onnxruntime"])
ENGINE = variant(
    "engines/a.engine",
    "int8",
    ["tensorrt"],
    form="tensorrt",
    tensorrt="10.3.0",
    compute_capability="8.7",
    arch="aarch64",
)


def manifest(*variants, **changes):
    return Manifest.model_validate(
        {
            "name": "faces",
            "version": "1.0.0",
            "labels": ["happy", "sad"],
            "input": {"width": 160, "height": 160},
            "outputs": {"top_k": 100},
            "variants": list(variants),
            "provenance": {"created_at": "2026-01-01T00:00:00Z"},
            "gate": {"passed": True, "checks": []},
            "intended_use": "tests",
            **changes,
        }
    )


def test_a_cpu_takes_the_cpu_twin_of_the_preferred_precision():
    """The signed TensorRT file is passed over for the file that says it runs on onnxruntime."""
    choice = choose_variant(manifest(FP32, INT8, INT8_CPU), CPU)
    assert isinstance(choice, BuildEngine)
    assert (choice.variant.path, choice.runtime) == ("model.int8.cpu.onnx", "onnxruntime")


def test_a_matching_engine_wins_over_building():
    """An engine for exactly this class is loaded, not built again."""
    choice = choose_variant(manifest(FP32, INT8, ENGINE), ORIN)
    assert isinstance(choice, LoadEngine)
    assert choice.variant.path == "engines/a.engine"


@pytest.mark.parametrize("field", ["tensorrt", "compute_capability", "arch"])
def test_an_engine_of_another_class_is_never_loaded(field):
    """One differing fact is enough to build from the portable model instead."""
    other = ORIN.model_copy(update={field: "other"})
    choice = choose_variant(manifest(FP32, INT8, ENGINE), other)
    assert isinstance(choice, BuildEngine)
    assert choice.variant.path == "model.int8.onnx"


def test_a_refusal_names_what_differs_for_every_variant():
    """A device without TensorRT learns why each file does not fit."""
    choice = choose_variant(manifest(INT8, ENGINE), CPU)
    assert isinstance(choice, Refusal)
    assert len(choice.reasons) == 2
    assert "needs compute_capability 8.7, device has None" in choice.reasons[1]


def test_building_switched_off_is_respected():
    """With building off, a portable model is refused rather than built silently."""
    assert isinstance(choose_variant(manifest(FP32), CPU, VariantPolicy(allow_build=False)), Refusal)


@given(st.permutations([FP32, INT8, INT8_CPU, ENGINE]), st.sampled_from([CPU, ORIN]))
def test_the_order_in_the_manifest_does_not_matter(variants, facts):
    """The choice depends on facts and policy, not on the order of the file."""
    assert choose_variant(manifest(*variants), facts) == choose_variant(manifest(FP32, INT8, INT8_CPU, ENGINE), facts)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a//b", "a b", ""])
def test_a_path_that_leaves_the_bundle_is_refused(path):
    """A hostile manifest cannot name a file outside its bundle."""
    hostile = json.loads(manifest(FP32).model_dump_json())
    hostile["variants"][0]["path"] = path
    with pytest.raises(BundleError, match="not a release manifest"):
        parse_manifest(json.dumps(hostile).encode(), source="test")


def test_two_files_with_one_path_are_refused():
    """A manifest with a repeated path is no manifest."""
    with pytest.raises(ValueError, match="share a path"):
        manifest(FP32, FP32)


def test_a_field_from_the_future_is_kept():
    """An older device passes on what a newer packer wrote."""
    assert manifest(FP32, future="kept").model_dump()["future"] == "kept"


@given(st.tuples(*[st.integers(0, 999)] * 3), st.tuples(*[st.integers(0, 999)] * 3))
def test_versions_sort_as_numbers(one, other):
    """1.10.0 is newer than 1.9.0."""
    text = [".".join(map(str, version)) for version in (one, other)]
    assert (version_key(text[0]) < version_key(text[1])) == (one < other)


@pytest.mark.parametrize("text", ["1.0", "v1.0.0", "1.0.0-rc1", "01.0.0", ""])
def test_what_is_no_version_is_refused(text):
    """Only major.minor.patch without leading zeros is a version."""
    with pytest.raises(BundleError):
        version_key(text)


def test_a_release_reference_reads_what_it_writes():
    """name@version goes both ways; anything else is refused."""
    assert ReleaseRef.parse(str(ReleaseRef(name="faces", version="1.2.0"))).version == "1.2.0"
    with pytest.raises(BundleError):
        ReleaseRef.parse("faces-1.2.0")
