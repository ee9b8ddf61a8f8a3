"""The fleet's certificate authority: ECDSA P-256, its key readable by the service's user alone.

Decides what a certificate says: the name that the fleet chose, for client use, for so many days. Who may have one is
decided in :mod:`fleet.identity.enrol`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
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
_LIST_SKEW = dt.timedelta(days=1)
"""A list that a broker takes for one of the future would shut everybody out, so it is dated well before."""
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

    def issue_device(
        self,
        request: x509.CertificateSigningRequest | x509.Certificate,
        device_id: str,
        *,
        days: float = DEVICE_DAYS,
        now: float | None = None,
    ) -> Issued:
        """Sign a device's certificate under the name that the fleet chose; the request's own name is ignored.

        Args:
            request: its request, or the certificate that it has, whose key it keeps.
            device_id: the name.
            days: how long the certificate is good.
            now: from when on, in Unix seconds; this moment by default.
        """
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
        key = request.public_key()
        return self._issue(key, device_id, usage=usage, hosts=(), days=days, now=now)  # type: ignore[arg-type]

    def issue_party(self, name: str, hosts: Sequence[str]) -> tuple[Issued, bytes]:
        """Make a key and certificate for a part of the fleet itself: the broker (with host names) or the service.

        Returns:
            The certificate and the private key as PEM.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usage = [ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(key.public_key(), name, usage=usage, hosts=hosts), _private_pem(key)

    def revocation_list(self, serials: Iterable[str], *, at: dt.datetime, before: str | None = None) -> str:
        """A signed list of certificates that count no longer, PEM.

        It names no early end: a fleet service that is down must not lock out every device. It is dated after the list
        before it, because OpenSSL keeps both in a running broker and follows the later one.

        Args:
            serials: hexadecimal, as :class:`Issued` has them.
            at: the moment, with a time zone.
            before: the list that it replaces, PEM.
        """
        dated = at.replace(microsecond=0) - _LIST_SKEW
        if before is not None:
            dated = max(dated, x509.load_pem_x509_crl(before.encode()).last_update_utc + dt.timedelta(seconds=1))
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(dated)
            .next_update(self._certificate.not_valid_after_utc)
            .add_extension(authority_key, critical=False)
            .add_extension(x509.CRLNumber(int(dated.timestamp())), critical=False)
        )
        for serial in sorted(set(serials)):
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(dated).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def signed_list(self, pem: str) -> frozenset[str] | None:
        """The serials on a revocation list; ``None`` when it is none, or another authority's."""
        try:
            found = x509.load_pem_x509_crl(pem.encode())
        except ValueError:
            return None
        if not found.is_signature_valid(self._certificate.public_key()):  # type: ignore[arg-type]
            return None
        return frozenset(f"{entry.serial_number:x}" for entry in found)

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        name: str,
        *,
        usage: Sequence[x509.ObjectIdentifier],
        hosts: Sequence[str],
        days: float = DEVICE_DAYS,
        now: float | None = None,
    ) -> Issued:
        begin = dt.datetime.now(dt.timezone.utc) if now is None else dt.datetime.fromtimestamp(now, dt.timezone.utc)
        end = (begin + dt.timedelta(days=days)).replace(microsecond=0)
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - _SKEW)
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
