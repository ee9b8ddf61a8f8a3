"""Enrolment: a token and a certificate request become a device that is accepted, or one that waits for a person.

Decides who is who: a device is recognised by its key, so asking again gives the same answer and uses nothing. Where a
device may go from where it stands is decided in :mod:`fleet.identity.membership`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet.errors import ConflictError
from fleet.identity.ca import DEVICE_DAYS, Authority, read_request
from fleet.identity.membership import MemberEvent, MemberState, advance
from fleet.identity.tokens import StoredToken, check_token, read_token, recognise_token
from fleet.store.devices import Applicant, Device
from fleet.store.work import Work
from mien.errors import ConfigError, TrustError
from mien.topics import valid_device_id

_LONGEST_GROUP = 50
_SERIAL_NUMBER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENDED = frozenset({MemberState.REJECTED, MemberState.REVOKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a device sends to enrol."""

    token: str
    csr_pem: str
    wanted_id: str | None = None
    serial_number: str | None = None
    """Its board's, as it says: a claim, no proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """Where the device stands, and its certificate once it is accepted."""

    device_id: str
    group: str
    state: MemberState
    certificate_pem: str | None


def enrol(work: Work, authority: Authority, asked: Asked, *, now: float, days: float = DEVICE_DAYS) -> Enrolled:
    """Enrol a device, in the caller's transaction.

    Asking again with the same key gives the same answer and uses nothing, even when the token has run out meanwhile:
    the first answer may have been lost on its way, or a person took time to decide.

    Args:
        work: the unit of work.
        authority: the fleet's.
        asked: what the device sent.
        now: Unix seconds.
        days: how long its certificate is good.

    Raises:
        TrustError: the token is refused, or this key was rejected or revoked.
        ConfigError: the request, the serial number or the wanted name cannot be used.
        ConflictError: another device has, or had, that name, or this key belongs to another name or group.
    """
    token_id, secret = read_token(asked.token)
    stored = work.tokens.find(token_id)
    token = recognise_token(stored, secret)
    request = read_request(asked.csr_pem)
    if asked.serial_number is not None:
        checked_serial_number(asked.serial_number)
    known = work.devices.find_by_key(key_digest(request))
    if known is not None:
        _check_same(known, token, asked)
        if not _has_run_out(known, now):
            return _enrolled(known)
    check_token(stored, secret, now=now)
    applicant, before, event = _place(work, token, asked, known, key_digest(request))
    state = advance(before, event)
    work.tokens.use(token.id)
    work.devices.apply(applicant, state, at=now)
    if state is MemberState.ACCEPTED:
        work.devices.certify(
            applicant.device_id, authority.issue_device(request, applicant.device_id, days=days, now=now), at=now
        )
    work.audit.note(
        "device.enrol", applicant.device_id, at=now, actor="token:" + token.id, group=token.group, state=state.value
    )
    return _enrolled(work.devices.get(applicant.device_id))


def key_digest(request: x509.CertificateSigningRequest) -> str:
    """By which a device is recognised when it asks again, and from which it is named when it asks for no name."""
    key = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def check_group(group: str) -> None:
    """Refuse a group whose name could not begin a device id.

    Raises:
        ConfigError: it has other characters, or is too long.
    """
    if not valid_device_id(group) or len(group) > _LONGEST_GROUP:
        raise ConfigError(
            f"'{group}' cannot name a group",
            wanted=f"lower-case letters, digits and hyphens, at most {_LONGEST_GROUP}",
        )


def checked_serial_number(text: str) -> str:
    """A board's serial number without blanks around it.

    Raises:
        ConfigError: it has other characters, or is too long.
    """
    serial_number = text.strip()
    if not _SERIAL_NUMBER.fullmatch(serial_number):
        raise ConfigError(
            f"'{serial_number[:80]}' is no serial number",
            wanted="letters, digits, dots, hyphens, underscores, at most 64",
        )
    return serial_number


def _check_same(known: Device, token: StoredToken, asked: Asked) -> None:
    """Whether who asks again may have the answer of the first time."""
    if known.state in _ENDED:
        raise TrustError(
            f"the fleet {known.state} this device ({known.id})",
            found=f"a key that was {known.state}",
            remedy="ask the fleet's operator; for a new key, remove the folder 'identity' of the device's state",
        )
    if known.group != token.group or asked.wanted_id not in {None, known.id}:
        raise ConflictError(
            f"this device's key is enrolled as '{known.id}' in the group '{known.group}'",
            found=f"it asks for '{asked.wanted_id or known.id}' in the group '{token.group}'",
            remedy="ask without --device-id and with a token of that group; for a new key, remove the folder "
            "'identity' of the device's state",
        )


def _has_run_out(known: Device, now: float) -> bool:
    """Whether an accepted device needs a new certificate, which costs a use of a good token."""
    expires_at = known.certificate_expires_at
    return known.state is MemberState.ACCEPTED and (expires_at is None or expires_at < now)


def _place(
    work: Work, token: StoredToken, asked: Asked, known: Device | None, key: str
) -> tuple[Applicant, MemberState, MemberEvent]:
    """Who a device is, where it stood, and what its asking means."""
    listed = _listed(work, asked.serial_number)
    found = known or listed
    if found is not None:
        _check_place(found, token, asked)
        serial_number = asked.serial_number or found.serial_number
        applicant = Applicant(device_id=found.id, group=found.group, serial_number=serial_number, key_sha256=key)
        return applicant, found.state, MemberEvent.ADMIT
    applicant = Applicant(
        device_id=_name(work, asked.wanted_id or f"{token.group}-{key[:6]}", free=asked.wanted_id is None),
        group=token.group,
        serial_number=asked.serial_number,
        key_sha256=key,
        request_pem=asked.csr_pem,
    )
    return applicant, MemberState.UNKNOWN, MemberEvent.ASK if token.review else MemberEvent.ADMIT


def _listed(work: Work, serial_number: str | None) -> Device | None:
    if serial_number is None:
        return None
    found = work.devices.with_serial_number(serial_number)
    return next((device for device in found if device.state is MemberState.PREAUTHORISED), None)


def _check_place(listed: Device, token: StoredToken, asked: Asked) -> None:
    if listed.group != token.group or asked.wanted_id not in {None, listed.id}:
        raise ConflictError(
            f"the serial number {listed.serial_number} is listed as '{listed.id}' in the group '{listed.group}'",
            found=f"it asks for '{asked.wanted_id or listed.id}' in the group '{token.group}'",
            remedy="ask without --device-id and with a token of that group",
        )


def _enrolled(device: Device) -> Enrolled:
    return Enrolled(device_id=device.id, group=device.group, state=device.state, certificate_pem=device.certificate_pem)


def _name(work: Work, wanted: str, *, free: bool) -> str:
    """The name that a device gets; a ``free`` one may become another when it is taken."""
    if not valid_device_id(wanted):
        raise ConfigError(
            f"'{wanted[:80]}' cannot name a device", wanted="lower-case letters, digits and hyphens, at most 63"
        )
    known = work.devices.find(wanted)
    if known is None:
        return wanted
    if free:
        return _name(work, f"{wanted.rpartition('-')[0]}-{secrets.token_hex(4)}", free=True)
    raise ConflictError(
        f"the name '{wanted}' is taken",
        found=f"a device that is {known.state}",
        remedy="choose another with --device-id, or let the fleet choose",
    )
