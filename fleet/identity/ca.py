"""The fleet's certificate authority: ECDSA P-256, its key readable by the service's user alone.

Decides what a certificate says: the name that the fleet chose, for client use, for a year. Who may have one is decided
in :mod:`fleet.identity.enrol`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mien.errors import ConfigError, TrustError
from mien.files import write_bytes

_SKEW = dt.timedelta(minutes=5)
DEVICE_DAYS = 365
_CA_DAYS = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate that was made."""

    pem: str
    serial: str
    expires_at: float


class Authority:
    """Signs certificates.

    Args:
        certificate: its own.
        key: its private key.
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate, self._key = certificate, key

    @property
    def pem(self) -> str:
        """The authority's own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate (DER), as it stands in enrolment tokens."""
        return hashlib.sha256(self._certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def issue_device(self, request: x509.CertificateSigningRequest, device_id: str) -> Issued:
        """Sign a device's certificate under the name that the fleet chose; the request's own name is ignored."""
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(request.public_key(), device_id, usage=usage, hosts=())  # type: ignore[arg-type]

    def issue_party(self, name: str, hosts: Sequence[str]) -> tuple[Issued, bytes]:
        """Make a key and certificate for a part of the fleet itself: the broker (with host names) or the service.

        Returns:
            The certificate and the private key as PEM.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usage = [ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(key.public_key(), name, usage=usage, hosts=hosts), _private_pem(key)

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        name: str,
        *,
        usage: Sequence[x509.ObjectIdentifier],
        hosts: Sequence[str],
    ) -> Issued:
        now = dt.datetime.now(dt.timezone.utc)
        end = now + dt.timedelta(days=DEVICE_DAYS)
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(authority_key, critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
        certificate = builder.sign(self._key, SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return Issued(pem=pem, serial=f"{certificate.serial_number:x}", expires_at=end.timestamp())


def open_authority(folder: Path) -> Authority:
    """Read the authority, or make it at the first call.

    Raises:
        TrustError: its files are there but cannot be used.
    """
    certificate_file, key_file = folder / "ca.pem", folder / "ca.key"
    if not certificate_file.exists():
        _make_authority(certificate_file, key_file)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise TrustError(
            f"the fleet's authority in {folder} cannot be read",
            found=str(error),
            remedy="restore that folder from a backup; without it no enrolled device can be recognised",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"{key_file} is of another kind", wanted="an ECDSA P-256 key")
    return Authority(certificate, key)


def read_request(pem: str) -> x509.CertificateSigningRequest:
    """Read a certificate request and check that its sender holds the key it asks for.

    Raises:
        ConfigError: not a request, another kind of key, or a signature that does not fit.
    """
    wanted = "a PKCS #10 request, PEM, for an ECDSA P-256 key, signed with that key"
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key, valid = request.public_key(), request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise ConfigError("the certificate request cannot be read", found=str(error)[:200], wanted=wanted) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("the certificate request is for another kind of key", wanted=wanted)
    if not valid:
        raise ConfigError("the certificate request is not signed with its own key", wanted=wanted)
    return request


def _make_authority(certificate_file: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("mien fleet authority")
    now = dt.datetime.now(dt.timezone.utc)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + dt.timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    write_bytes(key_file, _private_pem(key), mode=0o600)
    write_bytes(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
