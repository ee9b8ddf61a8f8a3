"""The tables. Times are Unix seconds in UTC; JSON columns hold messages as they were sent.

Only types that SQLite and PostgreSQL share. The schema is made by the migrations; a test holds the two together.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, MetaData, String, Text, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_KEY = BigInteger().with_variant(Integer, "sqlite")
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Root of the tables."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 - SQLAlchemy's own form


class TokenRow(Base):
    """An enrolment token; the secret by its hash alone."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    group: Mapped[str] = mapped_column("device_group", String(63))
    uses_left: Mapped[int]
    expires_at: Mapped[float]
    created_at: Mapped[float]
    review: Mapped[bool] = mapped_column(server_default=false())
    """Whether a person looks at each device that shows it."""


class DeviceRow(Base):
    """A device: its identity, its last words, and what it should run."""

    __tablename__ = "devices"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    group: Mapped[str] = mapped_column("device_group", String(63), index=True)
    state: Mapped[str] = mapped_column(String(16))
    serial_number: Mapped[str | None] = mapped_column(String(64), index=True)
    """As the device or a list says; a claim, no proof."""
    key_sha256: Mapped[str | None] = mapped_column(String(64), index=True, unique=True)
    """Digest of its public key: who asks again is recognised by it."""
    request_pem: Mapped[str | None] = mapped_column(Text)
    """Its certificate request, for as long as a person may decide about it."""
    certificate_pem: Mapped[str] = mapped_column(Text)
    """The newest one; empty, its serial too and its end 0, for a device that has none."""
    certificate_serial: Mapped[str] = mapped_column(String(64))
    certificate_expires_at: Mapped[float]
    enrolled_at: Mapped[float]
    revoked_at: Mapped[float | None]
    labels: Mapped[dict[str, Any]] = mapped_column(JSON)
    online: Mapped[bool]
    online_since: Mapped[float | None]
    last_seen_at: Mapped[float | None]
    status: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    twin: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    last_window: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    release: Mapped[str | None] = mapped_column(String(160))
    update_state: Mapped[dict[str, Any] | None] = mapped_column("update_report", JSON)
    desired: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    desired_version: Mapped[int]
    """Rises with each change of ``desired``."""
    desired_sent: Mapped[int]
    """The last version which the broker took; below ``desired_version`` there is something to send."""


class CertificateRow(Base):
    """A certificate that was issued. A revoked device is shut out with all that are good still."""

    __tablename__ = "certificates"

    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    issued_at: Mapped[float]
    expires_at: Mapped[float]


class WindowRow(Base):
    """A telemetry window: the figures that are asked for often as columns, all of it as it was sent."""

    __tablename__ = "windows"
    __table_args__ = (
        UniqueConstraint("device_id", "window_id"),
        Index("ix_windows_device_id_started_at", "device_id", "started_at"),
    )

    id: Mapped[int] = mapped_column(_KEY, primary_key=True, autoincrement=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    window_id: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[float]
    ended_at: Mapped[float]
    received_at: Mapped[float] = mapped_column(index=True)
    release: Mapped[str | None] = mapped_column(String(160))
    fps: Mapped[float]
    latency_p95_ms: Mapped[float | None]
    power_w: Mapped[float | None]
    energy_per_inference_j: Mapped[float | None]
    confidence_mean: Mapped[float | None]
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)


class EventRow(Base):
    """Something that a device or the fleet wants a person to know; ``device_id`` is absent for the fleet itself."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("device_id", "event_id"),)

    id: Mapped[int] = mapped_column(_KEY, primary_key=True, autoincrement=True)
    device_id: Mapped[str | None] = mapped_column(ForeignKey("devices.id"), index=True)
    event_id: Mapped[str] = mapped_column(String(64))
    at: Mapped[float] = mapped_column(index=True)
    received_at: Mapped[float]
    kind: Mapped[str] = mapped_column(String(64))
    severity: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)


class ReleaseRow(Base):
    """A signed release, read from the registry."""

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("name", "version"),)

    ref: Mapped[str] = mapped_column(String(160), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(64))
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    published_at: Mapped[float]


class RolloutRow(Base):
    """A rollout: one release, one policy, its state in hawkBit's words."""

    __tablename__ = "rollouts"

    id: Mapped[int] = mapped_column(_KEY, primary_key=True, autoincrement=True)
    release: Mapped[str] = mapped_column(ForeignKey("releases.ref"))
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    policy_name: Mapped[str] = mapped_column(String(64))
    policy: Mapped[dict[str, Any]] = mapped_column(JSON)
    seed: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(24), index=True)
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    reverts: Mapped[bool]
    """Whether a halt takes devices back that have the release already."""
    halted_because: Mapped[str | None] = mapped_column(Text)
    paused_because: Mapped[str | None] = mapped_column(Text)
    forgiven_at: Mapped[float | None]
    """Failures up to this time count no more."""
    approved_wave: Mapped[int] = mapped_column(server_default="-1")
    """The last wave that a person let begin, where the policy asks for that."""
    created_by: Mapped[str | None] = mapped_column(String(64))
    remarks: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What people said when they approved or denied: ``{"said": [{"at", "actor", "command", "remark"}]}``."""


class WaveRow(Base):
    """A wave of a rollout that has begun."""

    __tablename__ = "waves"

    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollouts.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[float]
    soak_started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class ExecutionRow(Base):
    """One device's part in a rollout, its state in the words of AWS IoT Jobs."""

    __tablename__ = "executions"
    __table_args__ = (
        Index(None, "rollout_id", "state", "waiting", "wave"),
        Index(None, "rollout_id", "revert_state"),
    )

    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollouts.id"), primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    wave: Mapped[int]
    deployment_id: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    detail: Mapped[str] = mapped_column(Text)
    previous: Mapped[str | None] = mapped_column(String(160))
    queued_at: Mapped[float]
    waiting: Mapped[bool] = mapped_column(server_default=false())
    """Chosen for its wave, and not told yet."""
    not_before: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(server_default="1")
    rank: Mapped[str | None] = mapped_column(String(64))
    """The device's place in the cohort order; see :func:`fleet.rollouts.cohorts.rank`."""
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    revert_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    revert_at: Mapped[float | None]
    revert_report: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    revert_state: Mapped[str | None] = mapped_column(String(16))


class ExperimentRow(Base):
    """Two releases side by side: the policy, the share of the candidate, and how it ended."""

    __tablename__ = "experiments"

    id: Mapped[int] = mapped_column(_KEY, primary_key=True, autoincrement=True)
    policy_name: Mapped[str] = mapped_column(String(64))
    policy: Mapped[dict[str, Any]] = mapped_column(JSON)
    seed: Mapped[str] = mapped_column(String(64))
    control: Mapped[str] = mapped_column(ForeignKey("releases.ref"))
    control_sha256: Mapped[str] = mapped_column(String(64))
    candidate: Mapped[str] = mapped_column(ForeignKey("releases.ref"))
    candidate_sha256: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), index=True)
    share: Mapped[float]
    """The share of devices that should run the candidate now."""
    target: Mapped[str | None] = mapped_column(String(16))
    """The arm that every device is brought to while the experiment ends; absent where each keeps what it runs."""
    dropped: Mapped[str | None] = mapped_column(String(16))
    winner: Mapped[str | None] = mapped_column(String(16))
    because: Mapped[str | None] = mapped_column(Text)
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]


class MemberRow(Base):
    """One device's part in an experiment: its arm, and the last deployment that brings it there."""

    __tablename__ = "experiment_members"

    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id"), primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    arm: Mapped[str] = mapped_column(String(16))
    deployment_id: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    detail: Mapped[str] = mapped_column(Text)
    previous: Mapped[str | None] = mapped_column(String(160))
    switches: Mapped[int]
    queued_at: Mapped[float]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    failures: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The arms whose release this device has failed, with the reason."""


class RoundRow(Base):
    """One look of a bandit at the rewards, and the share it chose."""

    __tablename__ = "experiment_rounds"

    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    share: Mapped[float]
    chance: Mapped[float]
    """That the candidate's mean reward is the higher one."""
    beliefs: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The posterior of each arm."""


class EngineRow(Base):
    """An engine that a device built and offered; ``id`` is the SHA-256 of the record as it was sent."""

    __tablename__ = "engines"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), index=True)
    release: Mapped[str] = mapped_column(String(160))
    path: Mapped[str] = mapped_column(String(400), index=True)
    """Its signed name; one at a time is signed under it."""
    engine_sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    record: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(Text)
    offered_at: Mapped[float]
    whole_at: Mapped[float | None]
    decided_at: Mapped[float | None]
    decided_by: Mapped[str | None] = mapped_column(String(64))


class AuditRow(Base):
    """Who did what, never changed afterwards."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(_KEY, primary_key=True, autoincrement=True)
    at: Mapped[float]
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(200))
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    prev_sha256: Mapped[str] = mapped_column(String(64), index=True, unique=True)
    """Of the entry before it; no two follow the same one."""
    sha256: Mapped[str] = mapped_column(String(64))


class UserRow(Base):
    """A person; the password by its argon2 hash alone."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[float]
    changed_at: Mapped[float]


class SessionRow(Base):
    """A browser that is logged in; ``id`` is the digest of what its cookie holds."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    created_at: Mapped[float]
    seen_at: Mapped[float]
    expires_at: Mapped[float]
    address: Mapped[str] = mapped_column(String(64))


class ApiTokenRow(Base):
    """A token for programs; acts in its owner's name, the secret by its hash alone."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    label: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    expires_at: Mapped[float]
    used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class LoginLinkRow(Base):
    """A link that logs a person in once; ``id`` is the digest of its code."""

    __tablename__ = "login_links"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    expires_at: Mapped[float]


class LoginAttemptRow(Base):
    """A login that did not succeed, or has not yet; kept for as long as it counts."""

    __tablename__ = "login_attempts"

    id: Mapped[int] = mapped_column(_KEY, primary_key=True, autoincrement=True)
    account: Mapped[str] = mapped_column(String(64), index=True)
    address: Mapped[str] = mapped_column(String(64), index=True)
    at: Mapped[float] = mapped_column(index=True)
