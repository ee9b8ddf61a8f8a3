"""The device's settings: what a site may choose, with the defaults that suit a Jetson with one camera.

Reads a file and checks it; opens nothing. ``configs/edge/default.yaml`` states every key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from mien.config import Settings, read_yaml, settings_from
from mien.errors import ConfigError
from mien.release import Precision

PowerName = Literal["auto", "jtop", "tegrastats", "ina3221", "rapl", "replay", "none"]


class CameraSettings(Settings):
    """Where frames come from, and how fast."""

    source: str = "/dev/video0"
    """A form that :func:`edge.camera.chooser.open_camera` knows."""
    realtime: bool = True
    """Play a video file or folder at its own rate, as a camera would; ``false`` reads every frame, losing none."""
    loop: bool = True
    """Start a video file or folder again at its end."""
    max_fps: float | None = Field(default=None, gt=0)
    """Frames per second taken from a live source at most."""


class EngineSettings(Settings):
    """How the engine runs and which variants a site takes."""

    threads: int = Field(default=1, ge=1, le=64)
    precisions: tuple[Precision, ...] = Field(default=("int8", "fp16", "fp32"), min_length=1)
    allow_build: bool = True


class TelemetrySettings(Settings):
    """Telemetry windows and the spool which keeps them."""

    window_s: float = Field(default=10.0, ge=0.5, le=600)
    spool_rows: int = Field(default=50_000, ge=100)
    """Windows and events kept through an outage; the oldest windows go first."""


class PowerSettings(Settings):
    """Where power figures come from."""

    source: PowerName = "auto"
    """``auto``: the first that answers of jtop, tegrastats, ina3221, rapl, the replay if one is named, none."""
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


class ProbeSettings(Settings):
    """What the device adds to the probe policy that came with a deployment."""

    latency_slack_ms: float = Field(default=10.0, ge=0)
    """A latency that rose by less than this passes whatever its ratio: a busy neighbour is no bad release."""
    settle_s: float = Field(default=0.5, ge=0)
    """Frames in this time after a switch are not counted."""


class ApiSettings(Settings):
    """The local API; on the loopback interface only."""

    enabled: bool = False
    host: Literal["127.0.0.1", "::1"] = "127.0.0.1"
    port: int = Field(default=8330, ge=0, le=65535)


class PrivacySettings(Settings):
    """What may leave the device. Images never do: there is no code that sends one."""

    images_leave_device: Literal[False] = False


class EdgeSettings(Settings):
    """Everything a device reads from its configuration file."""

    state: Path = Path("/var/lib/mien")
    """The folder of identity, slots, journal and spool."""
    camera: CameraSettings = CameraSettings()
    engine: EngineSettings = EngineSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    power: PowerSettings = PowerSettings()
    fleet: FleetSettings = FleetSettings()
    probe: ProbeSettings = ProbeSettings()
    api: ApiSettings = ApiSettings()
    privacy: PrivacySettings = PrivacySettings()

    @field_validator("state")
    @classmethod
    def _home_is_expanded(cls, path: Path) -> Path:
        return path.expanduser()


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


def _put(values: dict[str, Any], keys: list[str], value: object) -> None:
    *sections, last = keys
    for section in sections:
        inner = values.get(section)
        values[section] = dict(inner) if isinstance(inner, dict) else {}
        values = values[section]
    values[last] = value
