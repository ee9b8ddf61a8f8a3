"""What the fleet service is told, read once from YAML and the command line.

Decides what is allowed together (no open port without TLS). Leaves opening ports and files to :mod:`fleet.service`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from mien.config import Settings, read_settings, settings_from
from mien.hosts import is_loopback

DEFAULT_HTTP_PORT = 8321
DEFAULT_MQTT_PORT = 18831


class HttpSettings(Settings):
    """Where the API and the dashboard answer."""

    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_HTTP_PORT, ge=1, le=65535)
    tls: Literal["auto"] | None = None
    """``auto``: the fleet's own authority issues the certificate for ``names``, anew at a start when it must."""
    names: tuple[str, ...] = ()
    """Host names and addresses for which that certificate is good, besides this machine's own."""
    tls_cert: Path | None = None
    """With ``tls_key``: a certificate issued by the fleet's authority elsewhere; devices trust no other."""
    tls_key: Path | None = None
    trusted_hosts: tuple[str, ...] = ()
    """Names under which browsers and devices reach the service, besides this machine's own."""

    @model_validator(mode="after")
    def _no_plain_text_beyond_loopback(self) -> HttpSettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; give both or neither")
        if self.tls and self.tls_cert:
            raise ValueError("tls: auto makes a certificate itself; leave it out, or tls_cert and tls_key")
        if self.names and not self.tls:
            raise ValueError("names are for tls: auto alone; add it, or leave them out")
        if not is_loopback(self.host) and self.scheme == "http":
            raise ValueError(
                f"refuses to listen on {self.host} without TLS; give tls: auto with names, tls_cert and tls_key, "
                "or 127.0.0.1"
            )
        if not is_loopback(self.host) and self.tls and not self.names:
            raise ValueError(f"tls: auto on {self.host} needs names: those under which devices reach it")
        return self

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.tls or self.tls_cert else "http"


class MqttSettings(Settings):
    """The broker: one that the service starts itself, or one that runs already."""

    broker: Literal["embedded", "external"] = "embedded"
    """``embedded`` is for a demo on one machine: loopback only, no access rules, nothing kept on the disk."""
    host: str = "127.0.0.1"
    """Where devices and the service reach it."""
    port: int = Field(default=DEFAULT_MQTT_PORT, ge=1, le=65535)
    tls: bool = False
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    folder: Path | None = None
    """What ``mien fleet broker config`` wrote, when that broker runs on this machine: revocations are kept up in it."""

    @model_validator(mode="after")
    def _embedded_stays_on_loopback(self) -> MqttSettings:
        if self.broker == "embedded" and not is_loopback(self.host):
            raise ValueError("the embedded broker listens on loopback only; use broker: external for a site")
        if self.broker == "embedded" and self.folder:
            raise ValueError("folder is a Mosquitto's; the embedded broker has none: use broker: external")
        if self.broker == "embedded" and self.tls:
            raise ValueError("the embedded broker does not enforce client certificates; use broker: external for TLS")
        if self.broker == "external" and not self.tls and not is_loopback(self.host):
            raise ValueError(f"refuses to talk to the broker on {self.host} without TLS; set tls: true")
        return self


class DeviceSettings(Settings):
    """When a device counts as what, and how long its certificate is good."""

    silent_after_s: float = Field(default=120.0, gt=0)
    """A device that says online but has sent nothing for so long is shown as silent."""
    certificate_days: float = Field(default=365.0, gt=0, le=3650)
    """How long a device's certificate is good; it is renewed at two thirds of that."""
    grace_days: float = Field(default=30.0, ge=0)
    """How long after its end a certificate may be renewed without a new token."""


class IngestSettings(Settings):
    """How messages become rows."""

    batch: int = Field(default=2000, ge=1, le=5000)
    """Most messages in one transaction."""
    linger_s: float = Field(default=0.1, ge=0, le=5)
    """Longest time that a message waits for company before it is stored."""
    queue: int = Field(default=10_000, ge=1, le=50_000)
    """Messages that may wait in memory; when it is full, the broker keeps the rest."""
    shared: bool = False
    """Whether telemetry and events are shared with workers, 'mien fleet ingest', each a process of its own."""


class StreamSettings(Settings):
    """Files in blocks over MQTT, for devices that reach the broker alone; the bounds keep them behind telemetry."""

    enabled: bool = True
    bytes_per_s: int = Field(default=8 << 20, ge=1 << 14)
    """Of one process of the service, for all devices together."""
    device_bytes_per_s: int = Field(default=1 << 20, ge=1 << 12)
    queue_bytes: int = Field(default=16 << 20, ge=1 << 20)
    """Asked for and not sent yet; beyond it devices are told when to come back."""
    device_queue_bytes: int = Field(default=1 << 20, ge=1 << 18)
    client_cert: Path | None = None
    """With ``client_key``: as whom streams connect to a broker with TLS; by default the fleet's authority issues it."""
    client_key: Path | None = None

    @model_validator(mode="after")
    def _certificate_has_a_key(self) -> StreamSettings:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together; give both or neither")
        if self.device_queue_bytes > self.queue_bytes:
            raise ValueError(f"device_queue_bytes must not be above queue_bytes ({self.queue_bytes})")
        return self


class EngineSettings(Settings):
    """Engines that devices built and offer to others of their hardware class: code, so by default a person looks."""

    take: bool = False
    """Whether offers are taken at all."""
    approve: Literal["operator", "builders", "witnesses"] = "operator"
    """Who says yes once all checks passed: a person; or nobody for devices in ``builders``; or as many other devices
    as ``witnesses`` that built the very same bytes. A person may say yes in each of them."""
    builders: tuple[str, ...] = ()
    """Devices whose engines are signed without a person, with ``approve: builders``."""
    witnesses: int = Field(default=1, ge=1, le=16)
    most_bytes: int = Field(default=512 << 20, ge=1 << 10, le=8 << 30)
    """The largest engine that is taken."""
    quarantine_bytes: int = Field(default=2 << 30, ge=1 << 10)
    """Room for all engines that are not decided about."""
    offers_a_day: int = Field(default=8, ge=1, le=1000)
    """So many of one device."""
    reference_margin: float = Field(default=0.05, ge=0, le=1)
    """Largest loss of agreement with the reference detections against what was measured when packing."""
    withdraw_after: int = Field(default=2, ge=1, le=1000)
    """A signed engine is withdrawn once so many devices found it of no use."""
    look_s: float = Field(default=5.0, gt=0)
    """How often offers are looked at."""

    @model_validator(mode="after")
    def _builders_are_named(self) -> EngineSettings:
        if (self.approve == "builders") != bool(self.builders):
            raise ValueError("approve: builders and the list of builders belong together; give both or neither")
        return self


class PeopleSettings(Settings):
    """How people log in, and what takes two of them."""

    session_s: float = Field(default=43_200.0, ge=60, le=30 * 86_400)
    """The longest a browser stays logged in."""
    session_idle_s: float = Field(default=3600.0, ge=60, le=30 * 86_400)
    """So long without a person at it, and it is logged out."""
    attempts_per_account: int = Field(default=5, ge=1, le=1000)
    attempts_per_address: int = Field(default=30, ge=1, le=100_000)
    attempts_window_s: float = Field(default=900.0, ge=1, le=86_400)
    """How long a failed login counts."""
    two_person: tuple[Literal["rollout.start", "rollout.approve"], ...] = ()
    """What takes the yes of a second person besides who began it."""


class RegistrySettings(Settings):
    """Where devices fetch signed releases, and where those are copied to."""

    url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Where devices find ``metadata/`` and ``targets/``, if not at this service: any static host."""
    mirror: str | None = Field(default=None, pattern=r"^s3://[^\s?#]+$")
    """``s3://BUCKET/PREFIX``: kept like the registry here after every change."""
    mirror_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Of a store that is not Amazon's. Keys come from the environment or the machine's role, never from here."""
    mirror_region: str | None = None
    mirror_every_s: float = Field(default=15.0, gt=0)


class RolloutSettings(Settings):
    """How often rollouts are looked at."""

    tick_s: float = Field(default=1.0, gt=0)


class RetentionSettings(Settings):
    """How long telemetry is kept."""

    windows_days: float = Field(default=30.0, gt=0)
    events_days: float = Field(default=180.0, gt=0)


class FleetSettings(Settings):
    """All of the service."""

    data: Path = Path("fleet-data")
    database_url: str | None = None
    """SQLAlchemy URL without a password; ``None`` is SQLite in the data folder."""
    database_password_file: Path | None = None
    """Its first line is the database's password; without it, PostgreSQL's own means count (pgpass, certificates)."""
    http: HttpSettings = HttpSettings()
    mqtt: MqttSettings = MqttSettings()
    devices: DeviceSettings = DeviceSettings()
    ingest: IngestSettings = IngestSettings()
    streams: StreamSettings = StreamSettings()
    rollouts: RolloutSettings = RolloutSettings()
    retention: RetentionSettings = RetentionSettings()
    engines: EngineSettings = EngineSettings()
    registry: RegistrySettings = RegistrySettings()
    people: PeopleSettings = PeopleSettings()

    @model_validator(mode="after")
    def _sharing_needs_a_broker_that_can(self) -> FleetSettings:
        if self.ingest.shared and self.mqtt.broker == "embedded":
            raise ValueError("the embedded broker cannot share ingest between processes; use mqtt: {broker: external}")
        return self

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{(self.data / 'fleet.db').resolve()}"


def read_fleet(path: Path | None, overrides: dict[str, Any]) -> FleetSettings:
    """Read the service's settings.

    Args:
        path: a YAML file, or ``None`` for the defaults.
        overrides: dotted names (``http.port``) with values of the command line; ``None`` values are ignored.

    Raises:
        ConfigError: with all faults in one report.
    """
    loaded: dict[str, Any] = {}
    if path is not None:
        loaded = read_settings(FleetSettings, path).model_dump(exclude_unset=True)
    for name, value in overrides.items():
        if value is not None:
            _set(loaded, name.split("."), value)
    return settings_from(FleetSettings, loaded, source=str(path) if path else "the command line")


def _set(values: dict[str, Any], names: list[str], value: Any) -> None:  # noqa: ANN401 - a setting is any value
    for name in names[:-1]:
        values = values.setdefault(name, {})
    values[names[-1]] = value
