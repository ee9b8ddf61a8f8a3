"""What operators decide about devices, and the renewal that a device asks for; each in the caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509

from fleet.errors import ConflictError
from fleet.identity.ca import Authority, read_request
from fleet.identity.enrol import check_group, checked_serial_number
from fleet.identity.membership import MemberEvent, MemberState, advance
from fleet.people.roles import LOCAL
from fleet.store.devices import Applicant, Device
from fleet.store.work import Work
from mien.errors import ConfigError, TrustError
from mien.renewal import Renewal, Validity, decide
from mien.topics import valid_device_id

_HOLDING = frozenset({MemberState.PREAUTHORISED, MemberState.PENDING, MemberState.ACCEPTED})
_DAY_S = 86400
MOST_LABELS = 32
"""Of one device."""
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
"""Both name and value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A serial number on the list, and the name that its device gets; ``None``: made of the group and the number."""

    serial_number: str
    device_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long certificates are good, and how long after that they may be renewed."""

    days: float
    grace_s: float


def accept(work: Work, authority: Authority, device: Device, *, now: float, days: float, actor: str = LOCAL) -> Device:
    """Let a device in that waits or was rejected.

    Raises:
        ConflictError: it is in no such state, or never asked.
    """
    state = advance(device.state, MemberEvent.ACCEPT)
    if device.request_pem is None:
        raise ConflictError(
            f"{device.id} has not asked for a certificate",
            found=f"state {device.state}",
            remedy="list its serial number again: mien fleet device preauthorise",
        )
    work.devices.move(device.id, state)
    issued = authority.issue_device(read_request(device.request_pem), device.id, days=days, now=now)
    work.devices.certify(device.id, issued, at=now)
    work.audit.note("device.accept", device.id, at=now, actor=actor)
    return work.devices.get(device.id)


def reject(work: Work, device: Device, *, now: float, actor: str = LOCAL) -> Device:
    """Refuse a device that waits, or take a serial number off the list.

    Raises:
        ConflictError: it is in no such state.
    """
    work.devices.move(device.id, advance(device.state, MemberEvent.REJECT))
    work.audit.note("device.reject", device.id, at=now, actor=actor)
    return work.devices.get(device.id)


def label(
    work: Work,
    devices: Sequence[Device],
    wanted: Mapping[str, str],
    unwanted: Collection[str],
    *,
    now: float,
    actor: str,
) -> list[Device]:
    """Set labels of devices, and take others away.

    Args:
        work: the unit of work.
        devices: whose.
        wanted: labels to set, by name.
        unwanted: names of labels to take away; one that is not there is no fault.
        now: Unix seconds.
        actor: who asks.

    Raises:
        ConfigError: a name or value is none, a device would have too many, or a label is to be set and taken away.
    """
    check_labels(wanted, unwanted)
    for device in devices:
        labels = {name: value for name, value in {**device.labels, **wanted}.items() if name not in unwanted}
        if len(labels) > MOST_LABELS:
            raise ConfigError(f"{device.id} would have {len(labels)} labels", wanted=f"at most {MOST_LABELS}")
        work.devices.set_labels(device.id, labels)
        told = {name: value for name, value in (("set", dict(wanted)), ("removed", sorted(unwanted))) if value}
        work.audit.note("device.label", device.id, at=now, actor=actor, **told)
    return [work.devices.get(device.id) for device in devices]


def check_labels(wanted: Mapping[str, str], unwanted: Collection[str]) -> None:
    """Hold labels against their form.

    Raises:
        ConfigError: they are none; names each.
    """
    both = sorted(set(wanted) & set(unwanted))
    bad = [text for text in (*wanted, *wanted.values(), *unwanted) if not _LABEL.fullmatch(text)]
    if bad or both or not (wanted or unwanted):
        raise ConfigError(
            "these are no labels" if bad else "nothing that can be done with labels",
            found=", ".join(repr(text[:80]) for text in (bad or both)) or "none",
            wanted="site=berlin to set one, site- to take one away; letters, digits, '.', '_', '-' and '/', at most 63",
        )


def revoke(work: Work, device: Device, *, now: float, actor: str = LOCAL) -> Device:
    """Take a device's identity away for good. Revoking again changes nothing.

    Raises:
        ConflictError: it was never accepted.
    """
    if advance(device.state, MemberEvent.REVOKE) is not device.state:
        work.devices.revoke(device.id, at=now)
        work.audit.note("device.revoke", device.id, at=now, actor=actor)
    return work.devices.get(device.id)


def preauthorise(work: Work, group: str, listed: Sequence[Listed], *, now: float, actor: str = LOCAL) -> list[Device]:
    """Put serial numbers on the list: the device that names one with a token of the group is accepted at once.

    Raises:
        ConfigError: nothing is listed, or a serial number or a name cannot be used; all are named.
        ConflictError: a name or a serial number is taken.
    """
    check_group(group)
    wanted = {_id_of(group, item): checked_serial_number(item.serial_number) for item in listed}
    faults = [f"'{name[:80]}' cannot name a device" for name in wanted if not valid_device_id(name)]
    if len(wanted) < len(listed) or len(set(wanted.values())) < len(listed):
        faults.append("a name or a serial number stands twice")
    if faults or not wanted:
        raise ConfigError(
            "the list of serial numbers cannot be used",
            wanted="SERIAL or SERIAL,NAME on each line; names of lower-case letters, digits and hyphens, at most 63",
            faults=tuple(faults or ["it is empty"]),
        )
    for device_id, serial_number in wanted.items():
        _list(work, group, device_id, serial_number, now=now)
    work.audit.note("device.preauthorise", group, at=now, actor=actor, serial_numbers=len(wanted))
    return [work.devices.get(device_id) for device_id in wanted]


def renew(work: Work, authority: Authority, device: Device, terms: Terms, *, now: float) -> Device:
    """Give an accepted device a new certificate for the key that it has, when the one it has is due.

    The key stays, so whoever repeats a recorded request gets a certificate that is of no use without it; and a repeated
    request gets the same certificate, for the new one is not due.

    Raises:
        TrustError: the certificate expired longer ago than the grace time.
    """
    certificate = x509.load_pem_x509_certificate((device.certificate_pem or "").encode())
    validity = Validity(
        begins_at=certificate.not_valid_before_utc.timestamp(), ends_at=certificate.not_valid_after_utc.timestamp()
    )
    what = decide(validity, now=now, grace_s=terms.grace_s)
    if what is Renewal.OVER:
        raise expired(device, now, grace_s=terms.grace_s)
    if what is Renewal.KEEP:
        return device
    work.devices.move(device.id, advance(device.state, MemberEvent.RENEW))
    work.devices.certify(device.id, authority.issue_device(certificate, device.id, days=terms.days, now=now), at=now)
    work.audit.note("device.renew", device.id, at=now, actor="device:" + device.id)
    return work.devices.get(device.id)


def expired(device: Device, now: float, *, grace_s: float) -> TrustError:
    """Why an expired certificate is refused, and what mends it."""
    ago = now - (device.certificate_expires_at or now)
    return TrustError(
        f"the certificate of {device.id} has expired",
        found=f"an end {ago / _DAY_S:.1f} days ago",
        wanted=f"a renewal within {grace_s / _DAY_S:.0f} days of it",
        remedy="within that time 'mien edge run' renews it by itself; afterwards show a new token: mien edge enroll",
    )


def _id_of(group: str, item: Listed) -> str:
    return item.device_id or f"{group}-{item.serial_number.strip().lower()}"


def _list(work: Work, group: str, device_id: str, serial_number: str, *, now: float) -> None:
    known = work.devices.find(device_id)
    for other in work.devices.with_serial_number(serial_number):
        if other.id != device_id and other.state in _HOLDING:
            raise ConflictError(
                f"the serial number {serial_number} is that of '{other.id}'",
                found=f"a device that is {other.state}",
                remedy="leave it out of the list; one that waits is let in by 'mien fleet device accept'",
            )
    state = advance(known.state if known else MemberState.UNKNOWN, MemberEvent.LIST)
    work.devices.apply(Applicant(device_id=device_id, group=group, serial_number=serial_number), state, at=now)
