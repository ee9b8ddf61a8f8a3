"""The release manifest: what a bundle contains, what was measured of it, and which part of it a device can run.

Decides by pure functions which variant a device takes. Leaves packing, verifying bytes and building to others.
The manifest is ``manifest.json`` in a bundle; paths in it are relative to the bundle's folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mien.errors import BundleError
from mien.facts import DeviceFacts

MANIFEST = "manifest.json"
REFERENCE = "reference.npz"

_PATH = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")

ComparedOn = Literal["held-out training images", "the calibration images"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ReleaseName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Version = Annotated[str, Field(pattern=rf"^{_SEMVER.pattern}$")]
Precision = Literal["fp32", "fp16", "int8"]
Runtime = Literal["tensorrt", "onnxruntime"]


def _relative(path: str) -> str:
    parts = path.split("/")
    if not _PATH.fullmatch(path) or any(part in {"", ".", ".."} for part in parts):
        raise ValueError("not a plain path inside the bundle")
    return path


BundlePath = Annotated[str, AfterValidator(_relative)]
"""A path inside a bundle: letters, digits, dots, hyphens and slashes; never absolute, never upwards."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class ReleaseRef(_Part):
    """A release by name and version; written ``name@version``."""

    name: ReleaseName
    version: Version

    def __str__(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> ReleaseRef:
        """Read ``name@version``.

        Raises:
            BundleError: the text has another form.
        """
        name, _, version = text.partition("@")
        try:
            return cls(name=name, version=version)
        except ValidationError as error:
            raise BundleError(
                f"'{text}' names no release", wanted="name@major.minor.patch, such as faces@1.2.0"
            ) from error


class InputSpec(_Part):
    """What goes into the graph: one uint8 tensor ``[N, height, width, 3]``, letterboxed, channels as a camera gives."""

    tensor: str = "frames"
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    colour: Literal["bgr"] = "bgr"
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["uint8"] = "uint8"
    pad_value: int = Field(default=114, ge=0, le=255)


class OutputSpec(_Part):
    """What comes out: boxes ``[N,K,4]`` xyxy in input pixels, scores ``[N,K]`` and classes ``[N,K]``, best first."""

    boxes: str = "boxes"
    scores: str = "scores"
    classes: str = "classes"
    top_k: int = Field(gt=0)
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    iou_threshold: float = Field(default=0.7, ge=0, le=1)


class Accuracy(_Part):
    """What was measured by running the variant on the validation images with the device's own code."""

    images: int
    map50: float
    map50_95: float
    per_class: dict[str, float] = {}
    """mAP50-95 of each class; a class without ground truth is absent."""
    mean_confidence: float | None = None
    confidence_shift: float | None = None
    """Mean difference of matched scores to FP32; zero for FP32 itself."""
    changed_images: int | None = None


class Requires(_Part):
    """What a device must be to run this file; an absent field means "any"."""

    runtimes: tuple[Runtime, ...]
    os: str | None = None
    arch: str | None = None
    compute_capability: str | None = None
    tensorrt: str | None = None
    onnxruntime: str | None = None
    cpu: str | None = None


class Variant(_Part):
    """One runnable file of the bundle."""

    precision: Precision
    format: Literal["onnx", "tensorrt", "onnxruntime"]
    """``onnx`` is portable and built on the device; the other two are built engines."""
    path: BundlePath
    sha256: Sha256
    size_bytes: int = Field(ge=0)
    requires: Requires
    accuracy: Accuracy | None = None
    latency_ms: float | None = None
    """Median time of one inference where it was packed; see ``latency_on``."""
    latency_on: str | None = None
    reference_agreement: float | None = Field(default=None, ge=0, le=1)
    """Share of the bundle's reference detections which this variant reproduced when it was packed."""

    @property
    def portable(self) -> bool:
        """Whether a device builds its own engine from this file."""
        return self.format == "onnx"


class FileEntry(_Part):
    """A file of the bundle that is no variant: reference outputs, model card, report."""

    path: BundlePath
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class CalibrationSample(_Part):
    """A training image that INT8 scales were found with."""

    name: str
    sha256: Sha256


class MethodResult(_Part):
    """How true INT8 stayed to FP32 with one way of finding scales, on frames that no scale was found with."""

    method: str
    quantizer: str
    map50_95: float
    """With FP32's detections as the truth; 1 is FP32 itself."""
    confidence_shift: float | None = None
    changed_images: int
    images: int


class Calibration(_Part):
    """How the INT8 scales were found."""

    method: str
    quantizer: str
    images: int
    data_sha256: Sha256
    """Over names and contents of ``samples``."""
    samples: tuple[CalibrationSample, ...] = ()
    compared: tuple[MethodResult, ...] = ()
    """The methods that were tried, best first."""
    compared_on: ComparedOn = "held-out training images"
    """The latter where the training split leaves too few others."""
    float_layers: tuple[str, ...] = ()
    """Layers that went back to floating point because the gate asked for it, the most sensitive first."""


class Target(_Part):
    """The class of devices that a bundle was made for. It informs: what a device takes is decided by ``requires``."""

    name: str
    jetpack: str
    tensorrt: str
    compute_capability: str


class GateCheck(_Part):
    """One limit held against one measurement."""

    variant: str
    name: str
    value: float
    limit: float
    passed: bool


class GateResult(_Part):
    """All checks of all packed variants; refused variants are listed with their reason."""

    passed: bool
    checks: tuple[GateCheck, ...]
    refused: dict[str, str] = {}
    small_classes: tuple[str, ...] = ()
    """Classes with too few labelled objects to be held against a limit of their own."""


class Provenance(_Part):
    """Where the model comes from."""

    created_at: str
    git_commit: str | None = None
    data_sha256: str | None = None
    training_run: str | None = None
    weights_sha256: str | None = None
    tools: dict[str, str] = {}
    licences: dict[str, str] = {}


class Manifest(_Part):
    """A release bundle's own description; field meanings are part of the contract between all parts of mien."""

    schema_version: Literal[1] = 1
    name: ReleaseName
    version: Version
    labels: tuple[str, ...] = Field(min_length=1)
    input: InputSpec
    outputs: OutputSpec
    variants: tuple[Variant, ...] = Field(min_length=1)
    files: tuple[FileEntry, ...] = ()
    calibration: Calibration | None = None
    target: Target | None = None
    provenance: Provenance
    gate: GateResult
    intended_use: str
    known_limits: tuple[str, ...] = ()

    @field_validator("labels")
    @classmethod
    def _labels_are_unique(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError("labels repeat")
        return labels

    @model_validator(mode="after")
    def _paths_are_unique(self) -> Manifest:
        paths = [entry.path for entry in self.entries()]
        if len(set(paths)) != len(paths):
            raise ValueError("two files of the bundle share a path")
        return self

    @property
    def ref(self) -> ReleaseRef:
        """Name and version."""
        return ReleaseRef(name=self.name, version=self.version)

    def entries(self) -> tuple[Variant | FileEntry, ...]:
        """Every file that the bundle must contain besides the manifest."""
        return (*self.variants, *self.files)


def parse_manifest(content: bytes, *, source: str) -> Manifest:
    """Read a manifest from JSON bytes.

    Args:
        content: the bytes of ``manifest.json``.
        source: where they came from, for the message.

    Raises:
        BundleError: not JSON, or not a manifest; says which fields.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:8])
        raise BundleError(
            f"{source} is not a release manifest", found=faults, remedy="pack the bundle again: mien optimize run"
        ) from error


def version_key(version: str) -> tuple[int, int, int]:
    """A semantic version as a tuple that sorts.

    Raises:
        BundleError: the text is not ``major.minor.patch``.
    """
    match = _SEMVER.fullmatch(version)
    if match is None:
        raise BundleError(f"'{version}' is not a version", wanted="major.minor.patch, such as 1.2.0")
    return (int(match[1]), int(match[2]), int(match[3]))


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantPolicy:
    """What a site prefers, best first."""

    precisions: tuple[Precision, ...] = ("int8", "fp16", "fp32")
    allow_build: bool = True
    lighter: bool = False
    """Bring a lighter variant as well, for times when the device must do less; it costs room and a build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEngine:
    """An engine that matches this device exactly: download and load it."""

    variant: Variant
    runtime: Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEngine:
    """A portable model: download it and build the engine on this device."""

    variant: Variant
    runtime: Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No variant fits; one reason for each variant that was looked at."""

    reasons: tuple[str, ...]


Choice = LoadEngine | BuildEngine | Refusal


def choose_variant(manifest: Manifest, facts: DeviceFacts, policy: VariantPolicy | None = None) -> Choice:
    """Choose what a device takes from a release, before it downloads anything.

    Order: runtime (TensorRT before onnxruntime), then precision as the policy prefers, then a matching built engine
    before a portable model.

    Returns:
        An engine to load, a model to build from, or a refusal that names for each variant what differs.
    """
    policy = policy or VariantPolicy()
    for runtime in facts.runtimes():
        for precision in policy.precisions:
            chosen = _first_fitting(manifest.variants, runtime, precision, facts=facts, policy=policy)
            if chosen is not None:
                return chosen
    return Refusal(
        reasons=tuple(
            f"{variant.path}: {'; '.join(_differences(variant, facts, policy))}" for variant in manifest.variants
        )
    )


_LIGHTER: dict[Runtime, tuple[Precision, ...]] = {
    "tensorrt": ("int8", "fp16", "fp32"),
    "onnxruntime": ("int8", "fp32"),  # a CPU turns FP16 into FP32 and gains nothing
}
"""Precisions by what a frame costs, lightest first."""


def choose_lighter(
    manifest: Manifest, facts: DeviceFacts, policy: VariantPolicy, chosen: LoadEngine | BuildEngine
) -> LoadEngine | BuildEngine | None:
    """The lightest variant that the site takes, on the chosen one's runtime, if it is lighter than that one.

    Args:
        manifest: the release.
        facts: of the device.
        policy: what the site takes; with ``lighter`` false it takes no second variant.
        chosen: what the device runs.
    """
    order = _LIGHTER[chosen.runtime]
    if not policy.lighter or chosen.variant.precision not in order:
        return None
    for precision in order[: order.index(chosen.variant.precision)]:
        if precision in policy.precisions:
            found = _first_fitting(manifest.variants, chosen.runtime, precision, facts=facts, policy=policy)
            if found is not None:
                return found
    return None


def _first_fitting(
    variants: Sequence[Variant], runtime: str, precision: str, *, facts: DeviceFacts, policy: VariantPolicy
) -> LoadEngine | BuildEngine | None:
    fitting = [
        variant
        for variant in variants
        if variant.precision == precision
        and runtime in variant.requires.runtimes
        and not _differences(variant, facts, policy)
    ]
    chosen_runtime: Runtime = "tensorrt" if runtime == "tensorrt" else "onnxruntime"
    for variant in sorted(fitting, key=lambda candidate: candidate.portable):
        kind = BuildEngine if variant.portable else LoadEngine
        return kind(variant=variant, runtime=chosen_runtime)
    return None


def _differences(variant: Variant, facts: DeviceFacts, policy: VariantPolicy) -> list[str]:
    wanted = variant.requires
    found: list[str] = []
    if not set(wanted.runtimes) & set(facts.runtimes()):
        found.append(f"runs on {' or '.join(wanted.runtimes)}, device has {', '.join(facts.runtimes()) or 'neither'}")
    for field in ("os", "arch", "compute_capability", "tensorrt", "onnxruntime", "cpu"):
        need, have = getattr(wanted, field), getattr(facts, field)
        if need is not None and need != have:
            found.append(f"needs {field} {need}, device has {have}")
    if variant.precision not in policy.precisions:
        found.append(f"{variant.precision} is not allowed here ({', '.join(policy.precisions)})")
    if variant.portable and not policy.allow_build:
        found.append("building on the device is switched off")
    return found
