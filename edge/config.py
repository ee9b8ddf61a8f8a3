"""The device's settings: what a site may choose, with the defaults that suit a Jetson with one camera.

Reads a file and checks it; opens nothing. ``configs/edge/default.yaml`` states every key.
"""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from edge.camera.options import CameraOptions, Codec, Decoder, PixelFormat, Transport
from edge.pipeline.batching import BatchMode
from edge.transport.way_choice import Transport as Transfer
from mien.config import Settings, read_yaml, settings_from
from mien.errors import ConfigError
from mien.release import Precision
from mien.streams import LEAST_BLOCK_BYTES, MOST_ASKED_BYTES, MOST_BLOCK_BYTES
from mien.windows import MaintenanceWindow, zone_named

PowerName = Literal["auto", "jtop", "tegrastats", "ina3221", "nvml", "rapl", "replay", "none"]


class CameraSettings(Settings):
    """Where frames come from, and how; each is explained at :class:`edge.camera.options.CameraOptions`."""

    name: str = Field(default="camera", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What telemetry, events and the live page call it."""
    source: str = "/dev/video0"
    """A form that :func:`edge.camera.chooser.open_camera` knows."""
    realtime: bool = True
    """Play a video file or folder at its own rate, as a camera would; ``false`` reads every frame, losing none."""
    loop: bool = True
    """Start a video file or folder again at its end."""
    max_fps: float | None = Field(default=None, gt=0)
    """Frames per second taken from a live source at most."""
    width: int | None = Field(default=None, ge=16, le=16384)
    height: int | None = Field(default=None, ge=16, le=16384)
    fps: float | None = Field(default=None, gt=0, le=1000)
    pixel_format: PixelFormat = "auto"
    decoder: Decoder = "auto"
    codec: Codec = "auto"
    transport: Transport = "tcp"
    latency_ms: int | None = Field(default=None, ge=0, le=60_000)
    read_timeout_s: float = Field(default=10.0, ge=0.5, le=600)
    give_up_after_s: float | None = Field(default=None, ge=0)
    """How long a lost camera is waited for; by default for ever, since nobody is there to start the device again."""
    wait_for_first: bool = True
    """Whether a camera that is not there at the start is waited for: after a power cut it may start more slowly."""

    def options(self) -> CameraOptions:
        """All but name and source, as a camera takes it.

        Raises:
            ConfigError: width without height, or height without width.
        """
        return CameraOptions(**self.model_dump(exclude={"name", "source"}))

    @model_validator(mode="after")
    def _options_agree(self) -> CameraSettings:
        try:
            self.options()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class EngineSettings(Settings):
    """How the engine runs and which variants a site takes."""

    threads: int = Field(default=1, ge=1, le=64)
    """CPU threads that onnxruntime takes for a frame."""
    calls_at_once: int = Field(default=1, ge=1, le=64)
    """Frames that onnxruntime computes side by side: more frames a second for several cameras, none sooner."""
    precisions: tuple[Precision, ...] = Field(default=("int8", "fp16", "fp32"), min_length=1)
    allow_build: bool = True
    batching: BatchMode = "latency"
    """``latency``: each frame goes alone, at once. ``throughput``: frames of all cameras share calls of the engine."""
    batch_wait_ms: float = Field(default=20.0, ge=0, le=1000)
    """With ``throughput``, how long the first frame of a call waits for others at most."""
    stalled_after_s: float = Field(default=5.0, ge=0.5, le=600)
    """A call of the engine that takes longer is told as an event."""
    reopen_after_errors: int = Field(default=10, ge=1, le=10_000)
    """So many failed calls in a row, and the engine is opened anew."""


class TelemetrySettings(Settings):
    """Telemetry windows and the spool which keeps them."""

    window_s: float = Field(default=10.0, ge=0.5, le=600)
    spool_bytes: int = Field(default=64 * 1024 * 1024, ge=64 * 1024)
    """Kept through an outage; beyond it the oldest windows are made coarser, and only then messages are given up."""
    spool_detail_days: float = Field(default=2.0, gt=0)
    """Windows older than this are made coarser even where there is room. Days count while the device runs."""
    spool_days: float = Field(default=30.0, gt=0)
    """Windows and events older than this are given up."""
    catch_up_per_s: float = Field(default=10.0, gt=0, le=1000)
    """Windows of an outage that are sent in a second at most, beside the live ones."""


class PowerSettings(Settings):
    """Where power figures come from."""

    source: PowerName = "auto"
    """``auto``: the first that answers of jtop, tegrastats, ina3221, nvml, rapl, the replay if one is named, none."""
    replay: Path | None = None
    """A tegrastats recording, replayed and labelled as such."""
    interval_s: float = Field(default=1.0, ge=0.1, le=60)


class FleetSettings(Settings):
    """How the device deals with its fleet."""

    url: str | None = None
    """Where the fleet service is now; by default where it was at enrolment, whose trust counts either way."""
    session_check_s: float = Field(default=300.0, ge=1)
    """How often a running device asks whether its identity is still accepted."""
    download_attempts: int = Field(default=8, ge=1, le=100)
    transport: Transfer = "auto"
    """How signed files come. ``mqtt``: in blocks over the broker's port; ``auto``: HTTPS, MQTT where that is shut."""
    https_failures: int = Field(default=2, ge=1, le=100)
    """With ``auto``: so many connections that fail in a row, and files come over MQTT."""
    https_again_s: float = Field(default=3600.0, ge=10)
    """With ``auto``: after so long over MQTT, HTTPS is tried again."""
    stream_block_bytes: int = Field(default=32 * 1024, ge=LEAST_BLOCK_BYTES, le=MOST_BLOCK_BYTES)
    """Of one message over MQTT; a cut costs one block at most."""
    stream_window: int = Field(default=8, ge=1, le=64)
    """Blocks that may be on their way at once."""

    @model_validator(mode="after")
    def _window_is_served(self) -> FleetSettings:
        under_way = self.stream_block_bytes * self.stream_window
        if under_way > MOST_ASKED_BYTES:
            raise ValueError(
                f"stream_block_bytes times stream_window must be at most {MOST_ASKED_BYTES}, and is {under_way}"
            )
        return self


class UpdateSettings(Settings):
    """When this site lets its device update, and how fast. A fleet sets windows and limits too; the stricter wins.

    A return to the release before waits for no window.
    """

    time_zone: str | None = Field(default=None, max_length=64)
    """IANA name, for windows that name none; by default this machine's own."""
    download_windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=32)
    """When releases may be downloaded, checked and built; none: at any time."""
    install_windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=32)
    """When the device may switch to one."""
    max_bytes_per_s: int | None = Field(default=None, ge=1024)
    """Of a download, and of an engine that is offered."""
    least_memory: float = Field(default=0.05, ge=0, le=0.9)
    """Free memory, as a fraction of all, below which the build of an engine is ended; what runs goes on."""
    take_engines: bool = True
    """Whether engines that other devices of this hardware class built are taken, once the fleet signed them and they
    showed the reference detections here; otherwise each one is built here."""
    share_engines: bool = False
    """Whether engines that were built here are offered to the fleet. They are code which others would run, and they
    take this site's bandwidth: so only where it says yes."""

    @model_validator(mode="after")
    def _windows_can_be_kept(self) -> UpdateSettings:
        named = [self.time_zone, *(window.time_zone for window in (*self.download_windows, *self.install_windows))]
        try:
            for name in filter(None, named):
                zone_named(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class ProbeSettings(Settings):
    """What the device adds to the probe policy that came with a deployment."""

    latency_slack_ms: float = Field(default=10.0, ge=0)
    """A latency that rose by less than this passes whatever its ratio: a busy neighbour is no bad release."""
    settle_s: float = Field(default=0.5, ge=0)
    """Frames in this time after a switch are not counted."""


class FacesSettings(Settings):
    """How faces are followed from frame to frame, how their expressions are smoothed, and what is told of them."""

    half_life_s: float = Field(default=0.5, gt=0, le=60)
    """After so long, what was seen of an expression counts half; a label stays at least so long."""
    margin: float = Field(default=0.1, ge=0, lt=1)
    """Another expression takes over only when its share of the evidence is larger by this much."""
    strong_score: float = Field(default=0.4, ge=0, le=1)
    """A weaker detection continues a face but never begins one."""
    least_iou: float = Field(default=0.3, gt=0, lt=1)
    """Overlap with where the face was expected, for a detection to be taken as the same face."""
    double_iou: float = Field(default=0.7, gt=0, le=1)
    """Two boxes that overlap so much are one face, whatever their expressions."""
    birth_hits: int = Field(default=3, ge=1, le=100)
    """Frames in a row that must show a face before it gets a number."""
    death_after_s: float = Field(default=1.0, gt=0, le=60)
    """A face that was not seen for so long has left."""
    events: bool = False
    """Send events of single faces to the fleet: appeared, left, expression changed. Off, only counts are sent."""
    hold_s: float = Field(default=1.0, ge=0, le=600)
    """An expression is told when it stood for so long."""
    dwell_s: float = Field(default=1.0, ge=0, le=600)
    """A face is told when it was there for so long; a shorter visit is not told at all."""
    most_events_per_minute: int = Field(default=30, ge=1, le=6000)
    """Of one camera; events beyond are counted and not sent."""


class LimitsSettings(Settings):
    """When the device does less to stay within heat, current and memory, and when it does more again."""

    enabled: bool = True
    hot_c: float = Field(default=85.0, ge=30, le=120)
    cool_c: float = Field(default=75.0, ge=20, le=119)
    """Hottest sensor; between the two nothing changes."""
    memory_low: float = Field(default=0.05, ge=0, le=0.9)
    memory_enough: float = Field(default=0.10, ge=0, le=0.95)
    """Free memory as a fraction of all; between the two nothing changes."""
    down_after_s: float = Field(default=10.0, ge=0, le=3600)
    """A limit must be exceeded for so long before each step down."""
    up_after_s: float = Field(default=120.0, ge=1, le=86_400)
    """All must be well for so long before each step up; twice as long after each relapse."""
    most_up_after_s: float = Field(default=3600.0, ge=1, le=604_800)
    """The longest that the wait before a step up becomes. So long at full rate, and relapses are forgotten."""
    rates: tuple[float, ...] = Field(default=(1.0, 0.5, 0.25), min_length=1, max_length=16)
    """Frame rates to step down through, as fractions of the full one."""
    lighter_rates: tuple[float, ...] = Field(default=(0.25, 0.125), max_length=16)
    """Rates of the steps below those, with the lighter variant where one is at hand; empty: never a lighter one."""

    @model_validator(mode="after")
    def _steps_go_down(self) -> LimitsSettings:
        if self.cool_c >= self.hot_c:
            raise ValueError(f"cool_c ({self.cool_c}) must be below hot_c ({self.hot_c})")
        if self.memory_enough < self.memory_low:
            raise ValueError(f"memory_enough ({self.memory_enough}) must not be below memory_low ({self.memory_low})")
        if self.most_up_after_s < self.up_after_s:
            raise ValueError(f"most_up_after_s must be at least up_after_s ({self.up_after_s})")
        if self.rates[0] != 1.0:
            raise ValueError("rates must begin with 1, the full rate")
        self._check_falling("rates", self.rates)
        self._check_falling("lighter_rates", self.lighter_rates)
        if self.lighter_rates and self.lighter_rates[0] > self.rates[-1]:
            raise ValueError(f"lighter_rates must begin at or below the last of rates ({self.rates[-1]})")
        return self

    @staticmethod
    def _check_falling(name: str, rates: tuple[float, ...]) -> None:
        if any(not 0 < rate <= 1 for rate in rates) or any(b >= a for a, b in pairwise(rates)):
            raise ValueError(f"{name} must fall, each above 0 and at most 1")


class ApiSettings(Settings):
    """The local API: on the loopback interface, or elsewhere with a token and TLS."""

    enabled: bool = False
    host: str = "127.0.0.1"
    """An address of this machine. Any but 127.0.0.1 and ::1 wants ``token_file``, ``certificate`` and ``key``."""
    port: int = Field(default=8330, ge=0, le=65535)
    token_file: Path | None = None
    """Holds the token that callers must show; only its owner may read it. Without one, all of this machine may call."""
    certificate: Path | None = None
    """PEM, with its chain; with ``key``, the API speaks HTTPS only."""
    key: Path | None = None
    preview: bool = False
    """Show what the cameras see on the live page, while somebody looks at it."""
    preview_fps: float = Field(default=5.0, gt=0, le=15)
    preview_width: int = Field(default=640, ge=160, le=1280)
    preview_quality: int = Field(default=70, ge=20, le=90)
    """Of the page's JPEG pictures."""

    @field_validator("host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        return str(ip_address(host))

    @model_validator(mode="after")
    def _is_guarded_beyond_loopback(self) -> ApiSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: name both files, or neither")
        missing = [name for name in ("token_file", "certificate", "key") if getattr(self, name) is None]
        if missing and not ip_address(self.host).is_loopback:
            raise ValueError(
                f"host {self.host} is open to others and wants {', '.join(missing)}: name the files, "
                "or use host 127.0.0.1"
            )
        return self


class PrivacySettings(Settings):
    """What of a face may be seen, and by whom."""

    images_leave_device: Literal[False] = False
    """No image is ever sent to a fleet: there is no code that does."""
    show_faces: bool = False
    """Show faces on the live page as they are; otherwise each one that the model finds is covered."""


class EdgeSettings(Settings):
    """Everything a device reads from its configuration file."""

    state: Path = Path("/var/lib/mien")
    """The folder of identity, slots, journal and spool."""
    camera: CameraSettings = CameraSettings()
    cameras: tuple[CameraSettings, ...] = Field(default=(), max_length=16)
    """Several cameras that share the engine, instead of ``camera``; each with a ``name`` of its own."""
    engine: EngineSettings = EngineSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    power: PowerSettings = PowerSettings()
    fleet: FleetSettings = FleetSettings()
    updates: UpdateSettings = UpdateSettings()
    probe: ProbeSettings = ProbeSettings()
    faces: FacesSettings = FacesSettings()
    limits: LimitsSettings = LimitsSettings()
    api: ApiSettings = ApiSettings()
    privacy: PrivacySettings = PrivacySettings()

    @field_validator("state")
    @classmethod
    def _home_is_expanded(cls, path: Path) -> Path:
        return path.expanduser()

    @model_validator(mode="after")
    def _cameras_are_told_apart(self) -> EdgeSettings:
        if self.cameras and "camera" in self.model_fields_set:
            raise ValueError("camera and cameras are both given: keep one of them")
        names = [camera.name for camera in self.cameras]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"cameras share the name {', '.join(twice)}: give each its own")
        return self

    @property
    def all_cameras(self) -> tuple[CameraSettings, ...]:
        """The cameras, one or more."""
        return self.cameras or (self.camera,)


def read_edge_settings(path: Path | None, overrides: dict[str, Any] | None = None) -> EdgeSettings:
    """Read the settings file, with values of the command line on top.

    Args:
        path: the YAML file; ``None`` takes the defaults.
        overrides: by dotted name, such as ``{"camera.source": "/dev/video1"}``; ``None`` values are ignored.

    Raises:
        ConfigError: with all faults in one report.
    """
    values: Any = (read_yaml(path) or {}) if path is not None else {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a table of settings", found=type(values).__name__, wanted="key: value lines")
    for name, value in (overrides or {}).items():
        if value is not None:
            _put(values, name.split("."), value)
    return settings_from(EdgeSettings, values, source=str(path or "the command line"))


def with_camera(settings: EdgeSettings, camera: str | None) -> EdgeSettings:
    """The settings with the one camera that a command line names; all of it stays with ``None``.

    Args:
        settings: of the device.
        camera: the name of one of its cameras, or a source. Where there is one camera its options stay with another
            source; where there are several, nobody said whose would count, and none do.

    Raises:
        ConfigError: there are several cameras, and this is neither the name of one nor a source.
    """
    if camera is None:
        return settings
    named = {one.name: one for one in settings.all_cameras}
    if camera in named:
        return settings.model_copy(update={"cameras": (named[camera],) if settings.cameras else ()})
    if not settings.cameras:
        return settings.model_copy(update={"camera": settings.camera.model_copy(update={"source": camera})})
    if "/" not in camera and not Path(camera).exists():
        raise ConfigError(
            f"no camera is called {camera}",
            wanted=f"{', '.join(named)}, or a source such as /dev/video0",
            remedy="name one of them with --camera",
        )
    return settings.model_copy(update={"camera": CameraSettings(source=camera), "cameras": ()})


def _put(values: dict[str, Any], keys: list[str], value: object) -> None:
    *sections, last = keys
    for section in sections:
        inner = values.get(section)
        values[section] = dict(inner) if isinstance(inner, dict) else {}
        values = values[section]
    values[last] = value
