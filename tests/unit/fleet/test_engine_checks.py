"""Whether an offered engine may be signed: what refuses it, what may still come, and who has to say yes."""

import json
from dataclasses import replace

import pytest

from fleet.engines.checks import (
    Builder,
    EngineRules,
    Finding,
    Published,
    Update,
    check,
    decide,
    sidecar_faults,
)
from fleet.engines.savings import Builds
from mien.engines import EngineFile, EngineRecord, class_part, engine_path, record_from, signed_custom
from mien.release import ReleaseRef
from tests.fakes.paper_bundle import write_bundle

CLASS = "linux-aarch64-sm8.7-trt10.3.0.30"
RULES = EngineRules(most_bytes=1 << 30, reference_margin=0.05)
BUILDER = Builder(device_id="cam-1", is_accepted=True, hardware_class=CLASS, runtime_versions={"tensorrt": "10.3.0.30"})


@pytest.fixture
def known(tmp_path):
    """A record that is right in all, with what the fleet knows of it."""
    manifest = write_bundle(tmp_path / "bundle")
    record = EngineRecord(
        release=manifest.ref,
        manifest_sha256="1" * 64,
        variant_sha256=manifest.variants[2].sha256,
        precision="int8",
        runtime="tensorrt",
        runtime_version="10.3.0.30",
        hardware_class=CLASS,
        engine={"sha256": "e" * 64, "size_bytes": 5000},
        sidecar={"sha256": "f" * 64, "size_bytes": 500},
        reference_agreement=0.98,
        device_id="cam-1",
        deployment_id="d1",
        build_s=61.5,
    )
    update = Update(
        device_id="cam-1",
        release="faces@1.0.0",
        manifest_sha256="1" * 64,
        state="SUCCEEDED",
        built_engine=True,
        reference_agreement=0.98,
    )
    return record, {
        "published": Published(manifest=manifest, manifest_sha256="1" * 64),
        "builder": BUILDER,
        "update": update,
        "rules": RULES,
    }


def test_a_true_record_is_right_in_all(known):
    """Nothing is wrong and nothing missing."""
    record, facts = known
    assert check(record, **facts) == Finding()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"manifest_sha256": "2" * 64}, "another one than is published"),
        ({"variant_sha256": "2" * 64}, "no int8 model to build from"),
        ({"precision": "fp16"}, "no fp16 model to build from"),
        ({"hardware_class": "linux-aarch64-sm7.2-trt8.5.2"}, "cam-1 is linux-aarch64-sm8.7"),
        ({"runtime_version": "8.5.2"}, "cam-1 has 10.3.0.30"),
        ({"reference_agreement": 0.9}, "at least 0.95 wanted"),
        ({"reference_agreement": 1.0}, "its probe reported an agreement of 0.980"),
        ({"engine": {"sha256": "e" * 64, "size_bytes": 1 << 29}}, "too many for a model of 3400"),
        ({"engine": {"sha256": "e" * 64, "size_bytes": 2 << 30}}, "at most 1073741824 are taken"),
        ({"sidecar": None}, "comes with what stands beside it"),
        ({"device_id": "cam-2"}, "was of faces@1.0.0 on cam-1"),
    ],
)
def test_a_record_that_differs_from_what_is_known_is_refused(known, change, reason):
    """With the difference named."""
    record, facts = known
    false = EngineRecord.model_validate(record.model_dump() | change)
    finding = check(false, **facts)
    assert any(reason in text for text in finding.wrong), finding
    assert decide(finding, false, RULES).do == "reject"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("published", None, "is not published"),
        ("builder", None, "is not an accepted device"),
        ("builder", replace(BUILDER, is_accepted=False), "is not an accepted device"),
        ("update", None, "no rollout here made"),
    ],
)
def test_what_the_fleet_does_not_know_is_refused(known, name, value, reason):
    """A release that was never published, a device that was revoked, an update that nobody ordered."""
    record, facts = known
    assert any(reason in text for text in check(record, **facts | {name: value}).wrong)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "FAILED"}, "its update is FAILED"),
        ({"built_engine": False}, "did not build an engine"),
        ({"reference_agreement": None}, "measured no agreement"),
        ({"device_id": "cam-9"}, "on cam-9"),
    ],
)
def test_an_update_that_did_not_end_well_speaks_for_nothing(known, change, reason):
    """The execution must have SUCCEEDED, on that device, with an engine that was built and measured."""
    record, facts = known
    finding = check(record, **facts | {"update": replace(facts["update"], **change)})
    assert any(reason in text for text in finding.wrong)


@pytest.mark.parametrize("change", [{"update": "IN_PROGRESS"}, {"builder": None}])
def test_what_may_still_come_is_waited_for(known, change):
    """An update that has not been counted yet, and a device that has not said what it is."""
    record, facts = known
    if "update" in change:
        facts["update"] = replace(facts["update"], state=change["update"])
    else:
        facts["builder"] = replace(BUILDER, hardware_class=None)
    finding = check(record, **facts)
    assert finding.wrong == ()
    assert decide(finding, record, RULES).do == "look again"


@pytest.mark.parametrize(
    ("rules", "same", "do"),
    [
        ({}, {"cam-2", "cam-3"}, "wait"),
        ({"approve": "builders", "builders": ("cam-1",)}, set(), "sign"),
        ({"approve": "builders", "builders": ("cam-2",)}, set(), "wait"),
        ({"approve": "witnesses"}, set(), "wait"),
        ({"approve": "witnesses"}, {"cam-1"}, "wait"),
        ({"approve": "witnesses"}, {"cam-2"}, "sign"),
        ({"approve": "witnesses", "witnesses": 2}, {"cam-2"}, "wait"),
    ],
)
def test_who_says_yes_is_the_sites_choice(known, rules, same, do):
    """A person by default; a device never speaks for itself as its own witness."""
    record, _ = known
    assert decide(Finding(), record, replace(RULES, **rules), same_bytes_from=same).do == do


def test_what_stands_beside_a_tensorrt_engine_must_speak_of_it(known):
    """Its own hashes, its TensorRT, its precision."""
    record, _ = known
    true = {
        "engine_sha256": "e" * 64,
        "graph_sha256": record.variant_sha256,
        "tensorrt": "10.3.0.30",
        "precision": "int8",
    }
    assert sidecar_faults(json.dumps(true).encode(), record) == ()
    assert "another graph" in sidecar_faults(json.dumps(true | {"graph_sha256": "0"}).encode(), record)[0]
    for content in (b"\xff", b"[" * 100_000):
        assert sidecar_faults(content, record) == ("what stands beside the engine is no record of one",)


def test_what_stands_beside_an_engine_is_small(known):
    """It is read whole, so an engine's length of it is not taken."""
    record, rest = known
    large = record.model_copy(update={"sidecar": EngineFile(sha256="f" * 64, size_bytes=2 << 20)})
    assert "at most" in check(large, **rest).wrong[0]


def test_nothing_is_signed_that_nobody_checked(known):
    """What a record says in fields that this version does not know stays out of the signed metadata."""
    record, _ = known
    body = json.loads(record.model_dump_json())
    more = EngineRecord.model_validate(body | {"plugin": "x", "engine": body["engine"] | {"url": "x"}})
    assert record_from(signed_custom(more), source="-") == record


def test_an_engines_name_has_four_parts_whatever_a_cpu_calls_itself():
    """The delegated role is trusted for such names alone, and two classes never share one."""
    release = ReleaseRef(name="faces", version="1.0.0")
    odd, other = "linux-x86_64-intel(r)-xeon(r)-cpu-@-2.20ghz-ort1.24.4", "linux-x86_64-intel r -xeon-ort1.24.4"
    path = engine_path(release, f"{odd}/../..", "a" * 64)
    assert path.split("/")[:3] == ["engines", "faces", "1.0.0"]
    assert path.count("/") == 4
    assert class_part(odd) != class_part(other)


def test_savings_are_told_where_engines_came_into_it():
    """And nothing is said where none did."""
    assert Builds(built=0, saved=0).sentence() is None
    assert Builds(built=1, saved=9).sentence() == (
        "Engines: 1 built on devices, 9 builds saved by engines that others had built."
    )
