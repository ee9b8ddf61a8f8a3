"""Devices in the store: identity, last words, desired release."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, Text, bindparam, or_, select, text, true, update
from sqlalchemy import cast as type_cast
from sqlalchemy.orm import Session

from fleet.identity.ca import Issued
from fleet.identity.membership import MemberState
from fleet.rollouts.view import DeviceView
from fleet.store.bulk import rows_at_once, update_by_key
from fleet.store.models import CertificateRow, DeviceRow, ExecutionRow
from fleet.store.newer import LastWindow, is_stale, with_boot_before
from fleet.store.rollouts import busy_rows
from mien.messages import Desired, Status, Twin, UpdateReport

_TABLE = cast("Table", DeviceRow.__table__)

ACCEPTED = MemberState.ACCEPTED.value
_HEAR = """
SELECT devices.id, known.sequence, known.boot_id, known.ended_at
FROM devices LEFT JOIN LATERAL json_to_record(last_window)
    AS known(sequence double precision, boot_id text, ended_at double precision)
    ON json_typeof(last_window) = 'object'
WHERE devices.id = ANY(:ids) AND state = :state ORDER BY devices.id FOR NO KEY UPDATE OF devices
"""
"""PostgreSQL's way: one look at the JSON for three of its fields, one array for all ids, rows locked in order."""
_NOTHING: frozenset[str] = frozenset()
_AT_ONCE = 5000
"""Ids named in one query; databases bound the number of values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """What is known of a device before it has a certificate."""

    device_id: str
    group: str
    serial_number: str | None = None
    key_sha256: str | None = None
    request_pem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutOut:
    """A certificate that is good still, of a device that was revoked."""

    device_id: str
    serial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as the fleet knows it."""

    id: str
    group: str
    state: MemberState
    serial_number: str | None
    request_pem: str | None
    """What it asks for, while a person may decide about it."""
    certificate_pem: str | None
    certificate_expires_at: float | None
    enrolled_at: float
    revoked_at: float | None
    labels: Mapping[str, str]
    online: bool
    online_since: float | None
    """When the fleet learnt that it is online."""
    last_seen_at: float | None
    status: Mapping[str, Any] | None
    twin: Mapping[str, Any] | None
    last_window: Mapping[str, Any] | None
    release: str | None
    """The release that it says it runs."""
    update: Mapping[str, Any] | None
    desired: Mapping[str, Any] | None
    desired_version: int

    @property
    def desired_deployment(self) -> str | None:
        """The deployment that it was last told about."""
        return self.desired["deployment_id"] if self.desired else None

    @property
    def known_bad(self) -> frozenset[str]:
        """Releases that the device took back, and refuses."""
        listed = (self.twin or {}).get("known_bad") or ()
        return frozenset(f"{ref['name']}@{ref['version']}" for ref in listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A desired release which the broker does not hold yet; ``None`` clears it."""

    device_id: str
    version: int
    desired: Desired | None


class Devices:
    """Keeps devices."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loaded: list[DeviceRow] = []

    def add(self, device_id: str, group: str, issued: Issued, *, at: float) -> None:
        """Keep a newly enrolled device, accepted."""
        self.apply(Applicant(device_id=device_id, group=group), MemberState.ACCEPTED, at=at)
        self.certify(device_id, issued, at=at)

    def apply(self, applicant: Applicant, state: MemberState, *, at: float) -> None:
        """Keep a device that is listed or asks, or what a listed one brings when it comes."""
        row = self._session.get(DeviceRow, applicant.device_id)
        if row is None:
            row = _new_row(applicant, at=at)
            self._session.add(row)
        row.state, row.group, row.enrolled_at = state.value, applicant.group, at
        row.serial_number = applicant.serial_number
        row.key_sha256, row.request_pem = applicant.key_sha256, applicant.request_pem
        self._session.flush()

    def certify(self, device_id: str, issued: Issued, *, at: float) -> None:
        """Keep a device's new certificate, and for the list of revocations every earlier one too."""
        row = self._session.get_one(DeviceRow, device_id)
        row.certificate_pem, row.certificate_serial = issued.pem, issued.serial
        row.certificate_expires_at = issued.expires_at
        self._session.add(
            CertificateRow(device_id=device_id, serial=issued.serial, issued_at=at, expires_at=issued.expires_at)
        )

    def move(self, device_id: str, state: MemberState) -> None:
        """Change where a device stands; :meth:`revoke` ends it."""
        self._session.get_one(DeviceRow, device_id).state = state.value

    def set_labels(self, device_id: str, labels: Mapping[str, str]) -> None:
        """Change by what waves and budgets choose a device."""
        self._session.get_one(DeviceRow, device_id).labels = dict(labels)

    def find(self, device_id: str) -> Device | None:
        """A device by its id."""
        row = self._session.get(DeviceRow, device_id)
        return _device(row) if row else None

    def get(self, device_id: str) -> Device:
        """A device that is known to be there."""
        return _device(self._session.get_one(DeviceRow, device_id))

    def find_by_key(self, key_sha256: str) -> Device | None:
        """The device whose public key has this digest, whatever its state."""
        row = self._session.scalar(select(DeviceRow).where(DeviceRow.key_sha256 == key_sha256))
        return _device(row) if row else None

    def with_serial_number(self, serial_number: str) -> list[Device]:
        """Devices that are listed with, or name, this serial number; by id."""
        chosen = select(DeviceRow).where(DeviceRow.serial_number == serial_number).order_by(DeviceRow.id)
        return [_device(row) for row in self._session.scalars(chosen)]

    def all(self) -> list[Device]:
        """Every device, by id."""
        return [_device(row) for row in self._session.scalars(select(DeviceRow).order_by(DeviceRow.id))]

    def views(self, device_ids: Collection[str] | None = None) -> list[DeviceView]:
        """Every accepted device as the planner sees it, or those of some ids, by id."""
        if device_ids is None:
            return self._views(true())
        return [view for some in _parts(device_ids) for view in self._views(DeviceRow.id.in_(some))]

    def busy(self, rollout_id: int) -> list[DeviceView]:
        """Accepted devices that a rollout told something and that have not ended it; see :meth:`Rollouts.busy`."""
        theirs = select(ExecutionRow.device_id).where(ExecutionRow.rollout_id == rollout_id, busy_rows())
        return self._views(DeviceRow.id.in_(theirs))

    def _views(self, which: ColumnElement[bool]) -> list[DeviceView]:
        known = _TABLE.c  # read faster than the class' attributes
        desired, bad = known.desired["deployment_id"].as_string(), known.twin["known_bad"].as_string()
        labels = type_cast(known.labels, Text)  # read by _seen, once for all devices that have the same
        told = (known.online, known.online_since, known.last_seen_at, known.release, bad, desired)
        chosen = select(known.id, known.device_group, labels, *told).where(known.state == ACCEPTED, which)
        return [_seen(*row) for row in self._session.execute(chosen.order_by(known.id)).all()]

    def undecided(self, release: str) -> list[DeviceView]:
        """Accepted devices that nobody told anything, and that run another release or none."""
        desired = DeviceRow.desired["deployment_id"].as_string()
        other = or_(DeviceRow.release.is_(None), DeviceRow.release != release)
        chosen = select(DeviceRow.id).where(DeviceRow.state == ACCEPTED, desired.is_(None), other)
        found = list(self._session.scalars(chosen))
        return self.views(found) if found else []

    def accepted_ids(self) -> frozenset[str]:
        """Devices whose messages count."""
        return frozenset(self._session.scalars(select(DeviceRow.id).where(DeviceRow.state == ACCEPTED)))

    def revoke(self, device_id: str, *, at: float) -> None:
        """Refuse a device from now on and clear what it should run."""
        row = self._session.get_one(DeviceRow, device_id)
        row.state, row.online = MemberState.REVOKED.value, False
        row.revoked_at = row.revoked_at or at
        self.desire(device_id, None)

    def shut_out(self, *, now: float) -> list[ShutOut]:
        """Every certificate that a broker must refuse, by device."""
        chosen = (
            select(CertificateRow.device_id, CertificateRow.serial)
            .join(DeviceRow, DeviceRow.id == CertificateRow.device_id)
            .where(DeviceRow.state == MemberState.REVOKED.value, CertificateRow.expires_at >= now)
            .order_by(CertificateRow.device_id, CertificateRow.serial)
        )
        return [ShutOut(device_id=device_id, serial=serial) for device_id, serial in self._session.execute(chosen)]

    def seen(self, device_id: str, at: float) -> None:
        """Note that something came from the device."""
        row = self._session.get_one(DeviceRow, device_id)
        row.last_seen_at = max(row.last_seen_at or 0.0, at)

    def hear(self, device_ids: Collection[str]) -> dict[str, LastWindow | None]:
        """Those of some devices whose messages count, with what is known of their last windows.

        Their rows are held until the end of the unit of work, so that what follows from them stays true.
        """
        if self._session.connection().dialect.name == "postgresql":
            given = {"ids": sorted(device_ids), "state": ACCEPTED}
            rows: Iterable[Sequence[Any]] = self._session.execute(text(_HEAR), given)
        else:
            last = DeviceRow.last_window
            known = (
                DeviceRow.id,
                last["sequence"].as_float(),
                last["boot_id"].as_string(),
                last["ended_at"].as_float(),
            )
            chosen = select(*known).where(DeviceRow.id.in_(sorted(device_ids)), DeviceRow.state == ACCEPTED)
            rows = rows_at_once(self._session, chosen)
        return {
            device_id: LastWindow(sequence=sequence, boot_id=boot_id, ended_at=ended_at) if boot_id else None
            for device_id, sequence, boot_id, ended_at in rows
        }

    def load(self, device_ids: Collection[str]) -> None:
        """Read rows at once which the next calls would read one by one."""
        rows: list[DeviceRow] = []
        for some in _parts(device_ids):
            rows += self._session.scalars(select(DeviceRow).where(DeviceRow.id.in_(some)))
        self._loaded = rows  # the session forgets rows that nobody holds

    def heard(self, device_ids: Collection[str], windows: Mapping[str, str], *, at: float) -> None:
        """Note from whom something came, and the last windows, JSON by device, of those who sent a newer one."""
        rows = [(body, at, device_id) for device_id, body in sorted(windows.items())]
        update_by_key(self._session, _TABLE, "id", ("last_window", "last_seen_at"), rows)
        others = [(at, device_id) for device_id in sorted(set(device_ids) - windows.keys())]
        update_by_key(self._session, _TABLE, "id", ("last_seen_at",), others)

    def set_status(self, device_id: str, status: Status, *, at: float) -> None:
        """Keep whether it is online. A will of an earlier boot never overwrites a newer greeting."""
        row = self._session.get_one(DeviceRow, device_id)
        known = row.status or {}
        if is_stale(status, known):
            return
        was_online, row.online = row.online, status.state == "online"
        row.status = with_boot_before(status, known)
        if row.online and (not was_online or known.get("boot_id") != status.boot_id):
            row.online_since = at

    def set_twin(self, device_id: str, twin: Twin) -> None:
        """Keep what it is and what it runs."""
        row = self._session.get_one(DeviceRow, device_id)
        row.twin = twin.model_dump(mode="json")
        row.release = str(twin.active) if twin.active else None

    def set_update(self, device_id: str, report: UpdateReport) -> None:
        """Keep the last report of an update, whichever deployment it belongs to; older ones of the same are ignored."""
        row = self._session.get_one(DeviceRow, device_id)
        known = row.update_state or {}
        if known.get("deployment_id") == report.deployment_id and known.get("sequence", -1) >= report.sequence:
            return
        row.update_state = report.model_dump(mode="json")

    def desire(self, device_id: str, desired: Desired | None) -> None:
        """Change what a device should run; it is sent later (see :meth:`outgoing`)."""
        row = self._session.get_one(DeviceRow, device_id)
        row.desired = desired.model_dump(mode="json") if desired else None
        row.desired_version += 1

    def outgoing(self) -> list[Outgoing]:
        """What the broker does not hold yet."""
        return self._orders(DeviceRow.desired_sent < DeviceRow.desired_version)

    def all_desired(self) -> list[Outgoing]:
        """What the broker should hold: for a broker that may have lost it."""
        return [order for order in self._orders(true()) if order.desired is not None]

    def sent(self, messages: Sequence[Outgoing]) -> None:
        """Note what the broker took."""
        table = DeviceRow.__table__
        statement = (
            update(table)  # type: ignore[arg-type]
            .where(table.c.id == bindparam("device"), table.c.desired_sent < bindparam("taken"))
            .values(desired_sent=bindparam("taken"))
        )
        if messages:
            self._session.flush()
            taken = [{"device": message.device_id, "taken": message.version} for message in messages]
            self._session.connection().execute(statement, taken)

    def _orders(self, which: ColumnElement[bool]) -> list[Outgoing]:
        chosen = select(DeviceRow.id, DeviceRow.desired_version, DeviceRow.desired).where(which)
        return [
            Outgoing(device_id=name, version=version, desired=Desired.model_validate(desired) if desired else None)
            for name, version, desired in self._session.execute(chosen)
        ]


def _seen(  # noqa: PLR0913, PLR0917 - the columns
    device_id: str,
    group: str,
    labels: str,
    online: bool,
    online_since: float | None,
    last_seen_at: float | None,
    release: str | None,
    bad: str | None,
    desired: str | None,
) -> DeviceView:
    return DeviceView(
        id=device_id,
        group=group,
        labels=_labels(labels),
        online=online,
        online_since=online_since,
        offline_since=None if online else last_seen_at,
        release=release,
        known_bad=_known_bad(bad) if bad else _NOTHING,
        desired_deployment=desired,
    )


@lru_cache(maxsize=4096)
def _labels(told: str) -> Mapping[str, str]:
    return MappingProxyType(json.loads(told))


@lru_cache(maxsize=4096)
def _known_bad(told: str) -> frozenset[str]:
    return frozenset(f"{ref['name']}@{ref['version']}" for ref in json.loads(told) or ())


def _parts(device_ids: Collection[str]) -> Iterator[list[str]]:
    """Ids in parts that one query can name."""
    names = sorted(device_ids)
    return (names[begin : begin + _AT_ONCE] for begin in range(0, len(names), _AT_ONCE))


def _new_row(applicant: Applicant, *, at: float) -> DeviceRow:
    return DeviceRow(
        id=applicant.device_id,
        group=applicant.group,
        certificate_pem="",
        certificate_serial="",
        certificate_expires_at=0.0,
        enrolled_at=at,
        labels={},
        online=False,
        desired_version=0,
        desired_sent=0,
    )


def _device(row: DeviceRow) -> Device:
    return Device(
        id=row.id,
        group=row.group,
        state=MemberState(row.state),
        serial_number=row.serial_number,
        request_pem=row.request_pem,
        certificate_pem=row.certificate_pem or None,
        certificate_expires_at=row.certificate_expires_at or None,
        enrolled_at=row.enrolled_at,
        revoked_at=row.revoked_at,
        labels=row.labels,
        online=row.online,
        online_since=row.online_since,
        last_seen_at=row.last_seen_at,
        status=row.status,
        twin=row.twin,
        last_window=row.last_window,
        release=row.release,
        update=row.update_state,
        desired=row.desired,
        desired_version=row.desired_version,
    )
