"""Enrolment: a token and a certificate request become an accepted device."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet.errors import ConflictError
from fleet.identity.ca import Authority, read_request
from fleet.identity.tokens import StoredToken, check_token, read_token, recognise_token
from fleet.store.devices import ACCEPTED, Device
from fleet.store.work import Work
from mien.errors import ConfigError
from mien.topics import valid_device_id

_LONGEST_GROUP = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A device's new identity."""

    device_id: str
    group: str
    certificate_pem: str


def enrol(
    work: Work, authority: Authority, token_text: str, csr_pem: str, *, wanted_id: str | None, now: float
) -> Enrolled:
    """Enrol a device, in the caller's transaction.

    Asking again with the same token's group, key and name (or again without a name) gives the same certificate and
    uses nothing: the first answer may have been lost on its way.

    Raises:
        TrustError: the token is refused.
        ConfigError: the request or the wanted name cannot be used.
        ConflictError: another device has, or had, that name.
    """
    token_id, secret = read_token(token_text)
    stored = work.tokens.find(token_id)
    token = recognise_token(stored, secret, now=now)
    request = read_request(csr_pem)
    own_id = wanted_id or f"{token.group}-{_key_digest(request)[:6]}"
    known = work.devices.find(own_id) if valid_device_id(own_id) else None
    if known is not None and _is_repeated(known, token, request, now):
        return Enrolled(device_id=known.id, group=known.group, certificate_pem=known.certificate_pem)
    check_token(stored, secret, now=now)
    device_id = own_id if wanted_id is None and known is None else _name(work, token.group, wanted_id)
    issued = authority.issue_device(request, device_id)
    work.tokens.use(token.id)
    work.devices.add(device_id, token.group, issued, at=now)
    work.audit.note("device.enrol", device_id, at=now, actor="token:" + token.id, group=token.group)
    return Enrolled(device_id=device_id, group=token.group, certificate_pem=issued.pem)


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


def _is_repeated(known: Device, token: StoredToken, request: x509.CertificateSigningRequest, now: float) -> bool:
    """Whether an accepted device asks for what it has: same group, same key, and a certificate that is valid still."""
    if known.state != ACCEPTED or known.group != token.group or known.certificate_expires_at < now:
        return False
    try:
        certificate = x509.load_pem_x509_certificate(known.certificate_pem.encode())
    except ValueError:
        return False
    return certificate.public_key() == request.public_key()


def _key_digest(request: x509.CertificateSigningRequest) -> str:
    """Names a device that asks for none, so that it gets the same name when it asks again."""
    key = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def _name(work: Work, group: str, wanted: str | None) -> str:
    if wanted is None:
        return f"{group}-{secrets.token_hex(3)}"
    if not valid_device_id(wanted):
        raise ConfigError(
            f"'{wanted[:80]}' cannot name a device", wanted="lower-case letters, digits and hyphens, at most 63"
        )
    known = work.devices.find(wanted)
    if known is not None:
        raise ConflictError(
            f"the name '{wanted}' is taken",
            found=f"a device that is {known.state}",
            remedy="choose another with --device-id, or let the fleet choose",
        )
    return wanted
