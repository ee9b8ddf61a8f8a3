"""Enrolment: a key that stays here, a certificate request, and a token that is used up."""

from __future__ import annotations

import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge.identity.store import Identity, IdentityStore
from edge.identity.token import EnrolmentToken, check_authority
from edge.transport.fleet_http import FleetHttp, presented_authority
from mien.errors import ConfigError, TrustError
from mien.topics import valid_device_id


def enrol(token: EnrolmentToken, url: str, state: Path, *, device_id: str | None = None) -> Identity:
    """Enrol this device and keep its identity under ``state``.

    The service first presents its authority, which is held against the token's fingerprint; only then, over TLS that
    trusts that authority alone, the token is shown.

    Args:
        token: from the fleet's operator.
        url: the fleet service.
        state: the device's state folder.
        device_id: the name to ask for; the fleet chooses one otherwise.

    Raises:
        TrustError: the token was refused or has expired, or the service is not the fleet that made it.
        ConfigError: the device has enrolled before, the name cannot be had, or the address is plain http elsewhere.
        UnavailableError: the service did not answer.
    """
    store = IdentityStore(state)
    _check_before(store, token, device_id)
    authority = check_authority(token, presented_authority(url))
    with FleetHttp(url, ca_pem=authority) as fleet:
        answer = fleet.enroll(token.text, certificate_request(store.key(), device_id or "device"), device_id)
    answer = answer.model_copy(update={"ca_pem": check_authority(token, answer.ca_pem)})
    _check_certificate(answer.certificate_pem, store.key(), answer.device_id)
    return store.save(answer, fleet.base_url)


def certificate_request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """A PKCS #10 request, PEM, signed with the key it asks for. The fleet sets the name that counts."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def _check_before(store: IdentityStore, token: EnrolmentToken, device_id: str | None) -> None:
    if store.exists():
        raise ConfigError(
            f"this device has enrolled already, as {store.load().device_id}",
            remedy=f"to give it up, remove {store.folder}; the fleet's operator should revoke it",
        )
    if token.expires_at < time.time():
        raise TrustError("the enrolment token has expired", remedy="ask the fleet's operator for a new one")
    if device_id is not None and not valid_device_id(device_id):
        raise ConfigError(
            f"'{device_id}' cannot name a device", wanted="lower-case letters, digits and hyphens, at most 63"
        )


def _check_certificate(pem: str, key: ec.EllipticCurvePrivateKey, device_id: str) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise TrustError("the fleet's answer holds no certificate", found=str(error)) from error
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if certificate.public_key() != key.public_key() or [name.value for name in names] != [device_id]:
        raise TrustError("the certificate is not for this device's key and name", remedy="try again with a new token")
