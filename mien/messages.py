"""What devices and the fleet say to each other over MQTT; one model a topic (see :mod:`mien.topics`).

Unknown fields are kept, so that an older part passes on what a newer one said. Times are Unix seconds in UTC.
:func:`decode` is the only way in: it bounds the size before parsing and names what was wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.errors import DataError
from mien.facts import DeviceFacts
from mien.lifecycle import UpdateState
from mien.release import Precision, ReleaseRef, Runtime, Sha256
from mien.windows import MaintenanceWindow

MAX_PAYLOAD_BYTES = 128 * 1024
"""AWS IoT Core's message limit, kept so that a fleet can move there."""

CONFIDENCE_BINS = 20
"""Equal bins over scores 0..1."""
BRIGHTNESS_BINS = 16
"""Equal bins over mean frame luma 0..255."""

LARGEST = 2**63 - 1
"""The largest integer that databases and most languages hold."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]


class Message(BaseModel):
    """Base of all messages: frozen, unknown fields kept."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Status(Message):
    """``status``: retained; the offline form is the device's last will."""

    state: Literal["online", "offline"]
    boot_id: str = Field(max_length=64)
    agent_version: str = Field(max_length=32)
    at: Amount


class Twin(Message):
    """``twin``: retained; what the device is and what it runs."""

    facts: DeviceFacts
    hardware_class: str = Field(max_length=200)
    active: ReleaseRef | None = None
    precision: Precision | None = None
    runtime: Runtime | None = None
    fallback: ReleaseRef | None = None
    known_bad: tuple[ReleaseRef, ...] = ()
    power_source: str = "none"
    capabilities: tuple[str, ...] = ()
    at: Amount


class Percentiles(Message):
    """Latency of one stage over a window, in milliseconds."""

    p50: Amount
    p95: Amount
    p99: Amount


class Power(Message):
    """Power over a window. A source that is not there is ``none`` and its figures are absent, never zero."""

    source: str
    """jtop, tegrastats, ina3221, nvml, rapl, replay or none."""
    total_w: Amount | None = None
    rails_w: dict[str, Amount] = {}
    limits_a: dict[str, Amount] = {}
    """Current at which a rail raises its critical alarm, where one is set."""
    energy_j: Amount | None = None
    energy_per_inference_j: Amount | None = None


class Window(Message):
    """``m``: one telemetry window (10 s by default)."""

    window_id: str = Field(max_length=64)
    """Unique; a window sent twice is stored once."""
    sequence: Count
    boot_id: str = Field(max_length=64)
    started_at: Amount
    ended_at: Amount
    release: ReleaseRef | None = None
    precision: Precision | None = None
    frames: Count
    dropped: Count = 0
    cameras: dict[str, Count] = {}
    """Frames by camera, on a device with several."""
    fps: Amount
    latency_ms: dict[str, Percentiles] = {}
    """By stage: capture, letterbox, infer, decode, total (capture to result)."""
    power: Power
    temperature_c: dict[str, float] = {}
    cpu_percent: Amount | None = None
    gpu_percent: Amount | None = None
    ram_bytes: Count | None = None
    ram_total_bytes: Count | None = None
    clocks_hz: dict[str, Amount] = {}
    """Means over the window: gpu, cpu (the fastest core), emc (memory)."""
    fan_percent: Percent | None = None
    fan_rpm: Amount | None = None
    nvpmodel: str | None = Field(default=None, max_length=64)
    """The power mode by name, never by number."""
    throttled: bool = False
    over_current: bool = False
    alarms: tuple[Annotated[str, Field(max_length=64)], ...] = Field(default=(), max_length=64)
    """What raised the two flags: cooling devices, rails, counters."""
    detections: Count = 0
    expressions: dict[str, Count] = {}
    """Detections by label; every label of the release is present."""
    confidence_mean: Fraction | None = None
    confidence_histogram: tuple[Count, ...] = Field(default=(), max_length=CONFIDENCE_BINS)
    brightness_histogram: tuple[Count, ...] = Field(default=(), max_length=BRIGHTNESS_BINS)
    merged: Annotated[int, Field(ge=1)] = 1
    """Windows in this one, where a full spool made old ones coarser: numbers sequence - merged + 1 to sequence."""
    dropped_messages: dict[str, Count] = {}
    """Windows, events and update reports (window, event, update) that the device gave up since the window before."""


class Event(Message):
    """``e``: something a person may want to know."""

    event_id: str = Field(max_length=64)
    at: Amount
    kind: str = Field(max_length=64)
    """throttled, over_current, camera_lost, camera_back, rolled_back, identity_revoked …"""
    severity: Literal["info", "warning", "error"]
    message: str = Field(max_length=500)
    details: dict[str, str | float | int | bool | None] = {}


class ProbePolicy(Message):
    """What a new engine must show on the device before it is committed."""

    reference_margin: Fraction = 0.05
    """Largest loss of agreement with the bundle's reference outputs against what was measured when packing."""
    live_seconds: Amount = 5.0
    """How long live frames are run before the verdict."""
    min_live_frames: Count = 10
    min_fps_ratio: Fraction = 0.7
    """Smallest fps against the old release's last figures."""
    max_latency_ratio: Amount = 1.5
    max_power_ratio: Amount = 1.5
    min_confidence_ratio: Fraction = 0.7


class Desired(Message):
    """``desired``: retained; the release a device should run. An offline device converges when it returns."""

    deployment_id: str = Field(max_length=64)
    release: ReleaseRef
    manifest_sha256: Sha256
    """The manifest this deployment means, so that a name cannot be re-used for other content."""
    issued_at: Amount
    timeout_s: Amount = 600.0
    rollback: bool = False
    """Return to this release from the local slot; no jitter, no window, no download when it is there."""
    probe: ProbePolicy = ProbePolicy()
    download_windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=32)
    """When the release may be downloaded, checked and built; empty: at any time. A site's own windows hold as well."""
    install_windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=32)
    """When the device may switch to it, likewise."""
    max_bytes_per_s: Annotated[int, Field(ge=1024)] | None = None
    """Of the download, at most; a site may set less."""
    jitter_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 0.0
    """The device begins after a part of this time that is always the same for one deployment on one device."""


class ProbeResult(Message):
    """What the probe measured, and why it said so."""

    passed: bool
    reference_agreement: Fraction | None = None
    fps: Amount | None = None
    fps_before: Amount | None = None
    latency_p95_ms: Amount | None = None
    latency_p95_before_ms: Amount | None = None
    power_w: Amount | None = None
    power_before_w: Amount | None = None
    confidence_mean: Fraction | None = None
    confidence_before: Fraction | None = None
    reasons: tuple[str, ...] = ()
    """Why it did not pass; also what was left out of the verdict, such as live frames while a camera was away."""


WaitsFor = Literal["jitter", "download_window", "install_window", "server"]


class UpdateReport(Message):
    """``update``: progress of one deployment on one device."""

    deployment_id: str = Field(max_length=64)
    release: ReleaseRef
    sequence: Count
    """Rises within a deployment, over restarts too; an older report never overwrites a newer one."""
    state: UpdateState
    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    error_code: str | None = Field(default=None, max_length=64)
    message: str | None = Field(default=None, max_length=1000)
    remedy: str | None = Field(default=None, max_length=500)
    probe: ProbeResult | None = None
    built_engine: bool = False
    took_engine: bool = False
    """Whether it runs an engine that another device of its class built."""
    waits_for: WaitsFor | None = None
    """What the device waits for in this state, if it waits; it is no fault of the device, and not its time."""
    waits_until: Amount | None = None
    """When it goes on, as far as it knows."""
    waited_s: Amount = 0.0
    """How long it has waited so far; the deployment's ``timeout_s`` is about the rest."""
    at: Amount


class Command(Message):
    """``cmd/{op}/{id}``: retained until the requester clears it; the device moves it from init to its end."""

    op: Literal["restart", "diagnostics", "power-mode"]
    state: Literal["init", "executing", "successful", "failed"]
    arguments: dict[str, str] = {}
    reason: str | None = None
    result: dict[str, str] = {}


M = TypeVar("M", bound=Message)

_NUL = b"\\u0000"
_REAL_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MOST_FAULTS = 5


def decode(model: type[M], payload: bytes, *, source: str) -> M:
    """Read one message. What it returns can be stored as it was sent: no database, page or language will choke on it.

    Args:
        model: the message class that the topic carries.
        payload: the bytes as they arrived.
        source: device and topic, for the message.

    Raises:
        DataError: too large, not JSON, not this message, or with a value that not everybody can hold (NUL in a text, a
            number that is not finite or has more than 64 bits); names the fields. Never anything else.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise DataError(
            f"a message from {source} is too large", found=f"{len(payload)} bytes", wanted=f"≤ {MAX_PAYLOAD_BYTES}"
        )
    try:
        message = model.model_validate_json(payload)
    except ValidationError as error:
        raise _refusal(model, source, _faults(error)) from error
    if _NUL in payload and _REAL_NUL.search(payload):
        raise _refusal(model, source, "a text has a NUL in it")
    for value in _unknown(message):
        if (fault := _unfit(value)) is not None:
            raise _refusal(model, source, f"an unknown field: {fault}")
    return message


def encode(message: Message) -> bytes:
    """The bytes that go on the wire: JSON without absent fields."""
    return message.model_dump_json(exclude_none=True).encode()


def _refusal(model: type[Message], source: str, found: str) -> DataError:
    return DataError(
        f"a message from {source} is no {model.__name__}",
        found=found[:500],
        remedy="compare the agent's version with the fleet's",
    )


def _faults(error: ValidationError) -> str:
    listed = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_FAULTS]
    return "; ".join(f"{'.'.join(str(part)[:64] for part in e['loc']) or 'payload'}: {e['msg']}" for e in listed)


def _unknown(message: BaseModel) -> list[Any]:
    """Values of fields that no model knows, at any depth of the message."""
    found: list[Any] = []
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if extra := part.__pydantic_extra__:
            found += extra.values()
        for name in _nested(type(part)):
            held = part.__dict__[name]
            if isinstance(held, dict):
                waiting += held.values()
            elif isinstance(held, tuple):
                waiting += held
            elif held is not None:
                waiting.append(held)
    return found


@lru_cache(maxsize=64)
def _nested(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields that hold other models."""
    return tuple(name for name, field in model.model_fields.items() if _holds_model(field.annotation))


def _holds_model(annotation: Any) -> bool:  # noqa: ANN401 - annotations are any value
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, BaseModel)
    return any(_holds_model(inner) for inner in get_args(annotation))


def _unfit(value: Any) -> str | None:  # noqa: ANN401 - JSON is any value
    """Why not everybody can hold a JSON value, or ``None``. Takes time by its size, whatever its depth."""
    waiting: list[Iterable[Any]] = [(value,)]
    while waiting:
        for item in waiting.pop():
            if isinstance(item, dict):
                waiting.append(item.values())
            elif isinstance(item, list):
                waiting.append(item)
            elif isinstance(item, float) and not math.isfinite(item):
                return "a number is not finite"
            elif isinstance(item, int) and not -LARGEST - 1 <= item <= LARGEST:
                return "a number has more than 64 bits"
    return None
