"""Enrolment: a key that stays here, a certificate request, and a token that is used up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge.identity.certificate import check_certificate, validity_of
from edge.identity.store import Identity, IdentityStore
from edge.identity.token import EnrolmentToken, check_authority
from edge.transport.fleet_http import FleetHttp, WaitingAnswer, presented_authority
from mien.errors import ConfigError, TrustError, UnavailableError
from mien.topics import valid_device_id


def enrol(
    token: EnrolmentToken,
    url: str,
    state: Path,
    *,
    device_id: str | None = None,
    serial_number: str | None = None,
    waits: Callable[[str], bool] = lambda _: False,
) -> Identity:
    """Enrol this device and keep its identity under ``state``.

    The service first presents its authority, which is held against the token's fingerprint; only then, over TLS that
    trusts that authority alone, the token is shown.

    Args:
        token: from the fleet's operator.
        url: the fleet service.
        state: the device's state folder.
        device_id: the name to ask for; the fleet chooses one otherwise.
        serial_number: of the board, for a fleet that lists its boards.
        waits: called with the device's name while a person has not decided; pauses, and says whether to ask again.

    Raises:
        TrustError: the token was refused or has expired, the device was rejected, or the service is not the fleet that
            made the token.
        ConfigError: the device has enrolled before and its certificate is good still, the name cannot be had, or the
            address is plain http elsewhere.
        UnavailableError: the service did not answer, or nobody has decided yet.
    """
    store = IdentityStore(state)
    _check_before(store, token, device_id)
    authority = check_authority(token, presented_authority(url))
    with FleetHttp(url, ca_pem=authority) as fleet:
        request = certificate_request(store.key(), device_id or "device")
        answer = fleet.enroll(token.text, request, device_id, serial_number)
        while isinstance(answer, WaitingAnswer):
            if not waits(answer.device_id):
                raise _undecided(answer.device_id)
            answer = fleet.enroll(token.text, request, device_id, serial_number)
    answer = answer.model_copy(update={"ca_pem": check_authority(token, answer.ca_pem)})
    check_certificate(answer.certificate_pem, store.key(), answer.device_id, authority)
    return store.save(answer, fleet.base_url)


def certificate_request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """A PKCS #10 request, PEM, signed with the key it asks for. The fleet sets the name that counts."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def _undecided(device_id: str) -> UnavailableError:
    return UnavailableError(
        f"this device waits for the fleet's operator, as {device_id}",
        wanted=f"'mien fleet device accept {device_id}', or its serial number on the fleet's list",
        remedy="run the same command again then, or add --wait 1h; the token may have run out by that time",
    )


def _check_before(store: IdentityStore, token: EnrolmentToken, device_id: str | None) -> None:
    if store.exists() and validity_of(store.load()).ends_at > time.time():
        raise ConfigError(
            f"this device has enrolled already, as {store.load().device_id}",
            remedy=f"to give it up, remove {store.folder}; the fleet's operator should revoke it",
        )
    if token.expires_at < time.time() and not store.has_asked():
        raise TrustError("the enrolment token has expired", remedy="ask the fleet's operator for a new one")
    if device_id is not None and not valid_device_id(device_id):
        raise ConfigError(
            f"'{device_id}' cannot name a device", wanted="lower-case letters, digits and hyphens, at most 63"
        )
