"""Engines that one device built and others of its hardware class may take: the record that speaks for one, its place.

An engine is a signed target of the role ``engines``, named ``engines/{name}/{version}/{class}/{variant}.engine``. Its
record stands beside length and hash in the signed metadata, so a device knows all of it before the first byte.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.errors import DataError
from mien.facts import DeviceFacts
from mien.release import Precision, ReleaseRef, Runtime, Sha256

PIECE_BYTES = 192 * 1024
"""So much of an engine travels in one signed request."""
REFUSED_EVENT = "engine_refused"
"""The event with which a device says that a signed engine was of no use to it; ``engine`` is its SHA-256."""
MAX_RECORD_BYTES = 16 * 1024
_CUSTOM = "engine"
_PLAIN = re.compile(r"[^a-z0-9._-]+")
_LONGEST_CLASS = 80
_DIGEST_LENGTH = 12

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class EngineFile(_Part):
    """One file by its content."""

    sha256: Sha256
    size_bytes: int = Field(ge=1)


class EngineRecord(_Part):
    """What a builder says of an engine, and what of it was measured where it was built."""

    release: ReleaseRef
    manifest_sha256: Sha256
    variant_sha256: Sha256
    """Of the portable model that it was built from."""
    precision: Precision
    runtime: Runtime
    runtime_version: str = Field(min_length=1, max_length=64)
    """Exact; an engine is for no other."""
    hardware_class: str = Field(min_length=1, max_length=200)
    """See :meth:`mien.facts.DeviceFacts.hardware_class`."""
    engine: EngineFile
    sidecar: EngineFile | None = None
    """TensorRT's engines have a record of their own beside them, without which none is opened."""
    reference_agreement: float = Field(ge=0, le=1)
    """With the bundle's reference detections, as the builder's probe measured it."""
    device_id: str = Field(min_length=1, max_length=63)
    """Who built it."""
    deployment_id: str = Field(min_length=1, max_length=64)
    """The update in which it was built, probed and committed."""
    build_s: Amount
    peak_memory_bytes: int | None = Field(default=None, ge=0)
    """Largest memory of the agent while it built; ``None`` where that could not be measured."""

    @property
    def path(self) -> str:
        """Where the engine stands among signed files."""
        return engine_path(self.release, self.hardware_class, self.variant_sha256)

    @property
    def files(self) -> dict[str, EngineFile]:
        """What is offered, by its part's name."""
        parts = {"engine": self.engine}
        return parts if self.sidecar is None else parts | {"sidecar": self.sidecar}


def engine_path(release: ReleaseRef, hardware_class: str, variant_sha256: str) -> str:
    """The signed name of the one engine of a variant for a hardware class."""
    return f"engines/{release.name}/{release.version}/{class_part(hardware_class)}/{variant_sha256[:32]}.engine"


def sidecar_path(path: str) -> str:
    """The signed name of what stands beside an engine."""
    return f"{path}.json"


def class_part(hardware_class: str) -> str:
    """A hardware class as one part of a path: readable, and never the same for two classes."""
    digest = hashlib.sha256(hardware_class.encode()).hexdigest()[:_DIGEST_LENGTH]
    readable = _PLAIN.sub("-", hardware_class.lower())[:_LONGEST_CLASS].strip("-.")
    return f"{readable}-{digest}"


def runtime_version(facts: DeviceFacts, runtime: Runtime) -> str | None:
    """The exact version of a runtime on a device."""
    return facts.tensorrt if runtime == "tensorrt" else facts.onnxruntime


def signed_custom(record: EngineRecord) -> dict[str, str]:
    """A record as it stands in signed metadata: as one text, since the signed form of JSON knows no fractions.

    What it has besides the fields of this version is left out: nobody held it against anything.
    """
    file = set(EngineFile.model_fields)
    fields: dict[str, bool | set[str]] = dict.fromkeys(EngineRecord.model_fields, True)
    return {_CUSTOM: record.model_dump_json(exclude_none=True, include=fields | {"engine": file, "sidecar": file})}


def record_from(custom: object, *, source: str) -> EngineRecord:
    """Read a record from signed metadata.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    text = custom.get(_CUSTOM) if isinstance(custom, dict) else None
    return parse_record(text if isinstance(text, str) else "", source=source)


def parse_record(content: bytes | str, *, source: str) -> EngineRecord:
    """Read a record from JSON.

    Raises:
        DataError: too large, or no record; names the fields.
    """
    if len(content) > MAX_RECORD_BYTES:
        raise DataError(
            f"the engine's record from {source} is too large",
            found=f"{len(content)} bytes",
            wanted=f"≤ {MAX_RECORD_BYTES}",
        )
    try:
        return EngineRecord.model_validate_json(content)
    except ValidationError as error:
        listed = error.errors(include_url=False, include_context=False, include_input=False)[:5]
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'record'}: {e['msg']}" for e in listed)
        raise DataError(
            f"what came from {source} is no engine's record",
            found=faults,
            remedy="compare the agent's version with the fleet's",
        ) from error
