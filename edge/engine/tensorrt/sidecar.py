"""What stands beside an engine, as ``<engine>.json``: what it was built for, from what, and how it turned out.

The loader reads it before TensorRT sees the plan, and refuses an engine that was built for something else with a
sentence for each difference. An engine without it is refused as well: nobody knows what it is. The GPU's name is told
and not held against an engine: devices of one hardware class (``mien.facts``) exchange engines.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.engine.interface import EngineError
from mien.files import write_text
from mien.release import Precision

_talk = logging.getLogger(__name__)
_REBUILD = "build it again from the portable model of the release"

Typing = Literal["strong", "weak"]
CacheUse = Literal["none", "cold", "warm"]


class DeviceClass(BaseModel):
    """What an engine is bound to besides TensorRT."""

    model_config = ConfigDict(frozen=True)

    os: str
    arch: str
    compute_capability: str
    gpu: str


class Inspection(BaseModel):
    """What TensorRT made of the graph."""

    model_config = ConfigDict(frozen=True)

    layers: int
    by_precision: dict[str, int]
    """Number of layers that compute in each type; reformats are not among them."""
    reformats: int
    """Layers that only copy a tensor into another layout or type."""
    precisions: dict[str, str]
    """Each layer's type, by its name."""


class EngineRecord(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    device: DeviceClass
    tensorrt: str
    """The exact version."""
    graph_sha256: str
    engine_sha256: str
    precision: Precision
    typing: Typing
    implicit_int8: bool = False
    """Whether TensorRT found the INT8 scales itself."""
    workspace_mb: tuple[int, ...]
    """Every limit that was tried; the last one succeeded."""
    timing_cache: CacheUse
    dla_core: int | None = None
    gpu_fallback: tuple[str, ...] = ()
    """Layers that DLA could not take."""
    inspection: Inspection | None = None
    """``None`` when the engine was built for a GPU that is not here."""
    seconds: float


def sidecar_of(engine: Path) -> Path:
    """Where an engine's record stands."""
    return engine.with_name(f"{engine.name}.json")


def write_record(engine: Path, record: EngineRecord) -> None:
    """Write an engine's record.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    write_text(sidecar_of(engine), record.model_dump_json(indent=2) + "\n")


def read_record(engine: Path) -> EngineRecord:
    """An engine's record.

    Raises:
        EngineError: there is none, or it is damaged.
    """
    path = sidecar_of(engine)
    try:
        return EngineRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EngineError(
            f"{engine} has no record of what it was built for",
            found=f"{path}: {error.strerror or error}",
            wanted="the file that the builder writes beside an engine",
            remedy=_REBUILD,
        ) from error
    except ValidationError as error:
        raise EngineError(
            f"{path} is no engine's record",
            found=f"{error.error_count()} faults, first: {error.errors()[0]['msg']}",
            remedy=_REBUILD,
        ) from error


def differences(
    record: EngineRecord, *, device: DeviceClass, tensorrt: str, engine_sha256: str, graph_sha256: str | None = None
) -> tuple[str, ...]:
    """A sentence for everything that keeps an engine from being loaded here.

    Args:
        record: what it was built for.
        device: where it is to run.
        tensorrt: the exact version that is to run it.
        engine_sha256: of the file that was found.
        graph_sha256: of the graph that is wanted, when that is known.
    """
    pairs = (
        ("operating system", record.device.os, device.os),
        ("architecture", record.device.arch, device.arch),
        ("compute capability", record.device.compute_capability, device.compute_capability),
        ("TensorRT", record.tensorrt, tensorrt),
        ("graph", record.graph_sha256, graph_sha256 or record.graph_sha256),
        ("engine's bytes", record.engine_sha256, engine_sha256),
    )
    return tuple(f"{what}: built {had}, here {have}" for what, had, have in pairs if had != have)


def check_engine(
    engine: Path, content: bytes, *, device: DeviceClass, tensorrt: str, graph_sha256: str | None = None
) -> EngineRecord:
    """Hold an engine against its record and against where it is to run.

    Raises:
        EngineError: no record, or it differs; names every difference.
    """
    record = read_record(engine)
    found = differences(
        record,
        device=device,
        tensorrt=tensorrt,
        engine_sha256=hashlib.sha256(content).hexdigest(),
        graph_sha256=graph_sha256,
    )
    if found:
        raise EngineError(
            f"{engine} was built for something else",
            found="; ".join(found),
            wanted="an engine built here, from this graph, with this TensorRT",
            remedy=_REBUILD,
        )
    if record.device.gpu != device.gpu:
        _talk.warning(
            "%s was built on %s and runs on %s: the same class, perhaps not the fastest engine",
            *(engine, record.device.gpu, device.gpu),
        )
    return record
