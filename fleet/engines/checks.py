"""Whether an engine that a device offers may be signed. Pure.

An engine is code that no one at the fleet can read: what is checked here is everything around it. The record must
speak of a published release and of a variant in it, for the hardware class and the runtime that its builder reports; it
must come from an accepted device whose own rollout ended in success with an engine built there; and what it says of
agreement must be what that device's probe reported, within the margin. See ADR 18 on what this stops and what not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mien.engines import EngineRecord
from mien.release import Manifest, Variant

_SLACK_BYTES = 32 << 20
_LARGEST_RATIO = 8
"""An engine may be larger than its model: FP16 becomes FP32 on a CPU, and TensorRT keeps weights in several layouts."""
_LARGEST_SIDECAR_BYTES = 1 << 20
"""What stands beside an engine is a page of text, and is read whole."""
_SAME = 1e-6
Approval = Literal["operator", "builders", "witnesses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """The device that offers, as it last described itself."""

    device_id: str
    is_accepted: bool
    hardware_class: str | None
    runtime_versions: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The update in which the engine was built, as its rollout knows it."""

    device_id: str
    release: str
    manifest_sha256: str
    state: str
    built_engine: bool
    reference_agreement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The release that the record names, as it is signed."""

    manifest: Manifest
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRules:
    """What the site asks of an engine."""

    most_bytes: int
    reference_margin: float
    approve: Approval = "operator"
    builders: tuple[str, ...] = ()
    witnesses: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found: what refuses an engine for good, and what may still come."""

    wrong: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do with an engine."""

    do: Literal["sign", "wait", "look again", "reject"]
    reason: str


def check(
    record: EngineRecord,
    *,
    published: Published | None,
    builder: Builder | None,
    update: Update | None,
    rules: EngineRules,
) -> Finding:
    """Hold a record against what the fleet knows.

    Args:
        record: what the builder says.
        published: the release in the registry, if it is there.
        builder: the device, if it is known.
        update: the rollout's part for that device, if there is one.
        rules: of the site.
    """
    wrong = [*_release_faults(record, published, rules), *_size_faults(record, rules), *_part_faults(record)]
    of_builder, missing = _builder_faults(record, builder)
    of_update, more = _update_faults(record, update)
    return Finding(wrong=(*wrong, *of_builder, *of_update), missing=(*missing, *more))


def decide(
    finding: Finding, record: EngineRecord, rules: EngineRules, *, same_bytes_from: Collection[str] = ()
) -> Verdict:
    """Say what happens to an engine.

    Args:
        finding: of :func:`check`.
        record: what the builder says.
        rules: of the site.
        same_bytes_from: other accepted devices that offered the very same engine, with nothing wrong about it.
    """
    if finding.wrong:
        return Verdict(do="reject", reason="; ".join(finding.wrong))
    if finding.missing:
        return Verdict(do="look again", reason="; ".join(finding.missing))
    if rules.approve == "builders" and record.device_id in rules.builders:
        return Verdict(do="sign", reason=f"{record.device_id} is a builder whose engines need no person")
    if rules.approve == "witnesses":
        others = sorted(set(same_bytes_from) - {record.device_id})
        if len(others) >= rules.witnesses:
            return Verdict(do="sign", reason=f"{', '.join(others)} built the very same bytes")
        return Verdict(do="wait", reason=f"{len(others)} of {rules.witnesses} other devices built the very same bytes")
    return Verdict(do="wait", reason="every check passed; a person's yes is missing")


def sidecar_faults(content: bytes, record: EngineRecord) -> tuple[str, ...]:
    """Hold the record that TensorRT's engines have beside them against what the builder says."""
    try:
        found: Any = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return ("what stands beside the engine is no record of one",)
    pairs = (
        ("engine", found.get("engine_sha256"), record.engine.sha256),
        ("graph", found.get("graph_sha256"), record.variant_sha256),
        ("TensorRT", found.get("tensorrt"), record.runtime_version),
        ("precision", found.get("precision"), record.precision),
    )
    return tuple(f"beside the engine stands another {what}: {had}" for what, had, said in pairs if had != said)


def _release_faults(record: EngineRecord, published: Published | None, rules: EngineRules) -> list[str]:
    if published is None:
        return [f"{record.release} is not published here"]
    if published.manifest_sha256 != record.manifest_sha256:
        return [f"its {record.release} is another one than is published here"]
    variant = _variant(published.manifest, record)
    if variant is None:
        return [f"{record.release} has no {record.precision} model to build from with the SHA-256 that it names"]
    faults = []
    if record.runtime not in variant.requires.runtimes:
        faults.append(f"{variant.path} is not for {record.runtime}")
    recorded = 1.0 if variant.reference_agreement is None else variant.reference_agreement
    least = recorded - rules.reference_margin
    if record.reference_agreement < least:
        faults.append(f"reference agreement {record.reference_agreement:.2f}, at least {least:.2f} wanted")
    most = _LARGEST_RATIO * variant.size_bytes + _SLACK_BYTES
    if record.engine.size_bytes > most:
        faults.append(f"{record.engine.size_bytes} bytes are too many for a model of {variant.size_bytes}")
    return faults


def _variant(manifest: Manifest, record: EngineRecord) -> Variant | None:
    for variant in manifest.variants:
        if variant.portable and (variant.sha256, variant.precision) == (record.variant_sha256, record.precision):
            return variant
    return None


def _size_faults(record: EngineRecord, rules: EngineRules) -> list[str]:
    total = sum(file.size_bytes for file in record.files.values())
    if record.sidecar is not None and record.sidecar.size_bytes > _LARGEST_SIDECAR_BYTES:
        return [
            f"what stands beside it has {record.sidecar.size_bytes} bytes, at most {_LARGEST_SIDECAR_BYTES} are read"
        ]
    return [f"{total} bytes, at most {rules.most_bytes} are taken"] if total > rules.most_bytes else []


def _part_faults(record: EngineRecord) -> list[str]:
    if (record.runtime == "tensorrt") == (record.sidecar is not None):
        return []
    return ["a TensorRT engine comes with what stands beside it, and no other does"]


def _builder_faults(record: EngineRecord, builder: Builder | None) -> tuple[list[str], list[str]]:
    if builder is None or not builder.is_accepted:
        return [f"{record.device_id} is not an accepted device"], []
    if builder.hardware_class is None:
        return [], [f"{record.device_id} has not said what it is"]
    faults = []
    if builder.hardware_class != record.hardware_class:
        faults.append(f"its class is {record.hardware_class}, {record.device_id} is {builder.hardware_class}")
    version = builder.runtime_versions.get(record.runtime)
    if version != record.runtime_version:
        faults.append(f"built by {record.runtime} {record.runtime_version}, {record.device_id} has {version or 'none'}")
    return faults, []


def _update_faults(record: EngineRecord, update: Update | None) -> tuple[list[str], list[str]]:
    if update is None:
        return [f"no rollout here made the deployment {record.deployment_id}"], []
    if (update.device_id, update.release, update.manifest_sha256) != (
        record.device_id,
        str(record.release),
        record.manifest_sha256,
    ):
        return [f"the deployment {record.deployment_id} was of {update.release} on {update.device_id}"], []
    if update.state in {"QUEUED", "IN_PROGRESS"}:
        return [], [f"its update is {update.state}"]
    return _outcome_faults(record, update), []


def _outcome_faults(record: EngineRecord, update: Update) -> list[str]:
    if update.state != "SUCCEEDED":
        return [f"its update is {update.state}"]
    if not update.built_engine:
        return ["its update did not build an engine"]
    if update.reference_agreement is None:
        return ["its probe measured no agreement with reference detections"]
    if abs(update.reference_agreement - record.reference_agreement) > _SAME:
        return [f"its probe reported an agreement of {update.reference_agreement:.3f}"]
    return []
