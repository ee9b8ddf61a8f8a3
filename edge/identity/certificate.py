"""The device's certificate: whether one that the fleet gave is this device's, and from when to when one is good."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.identity.store import Identity
from mien.errors import TrustError, UnavailableError
from mien.renewal import Validity


def check_certificate(pem: str, key: ec.EllipticCurvePrivateKey, device_id: str, authority_pem: str) -> None:
    """Hold a certificate that the fleet gave against this device's key and name, and the authority that is trusted.

    Raises:
        TrustError: it is none, or for another key or name, or of another authority.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority_pem.encode()))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise TrustError(
            "the fleet's answer holds no certificate of its authority", found=str(error) or type(error).__name__
        ) from error
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if certificate.public_key() != key.public_key() or [name.value for name in names] != [device_id]:
        raise TrustError("the certificate is not for this device's key and name", remedy="try again with a new token")


def validity_of(identity: Identity) -> Validity:
    """From when to when the device's certificate is good.

    Raises:
        TrustError: it is damaged.
        UnavailableError: its file cannot be read now.
    """
    try:
        certificate = x509.load_pem_x509_certificate(identity.files.certificate.read_bytes())
    except OSError as error:
        raise UnavailableError("the device's certificate cannot be read now", found=str(error)) from error
    except ValueError as error:
        raise TrustError(
            "the device's certificate cannot be read", found=str(error), remedy="mien edge enroll TOKEN@URL"
        ) from error
    return Validity(
        begins_at=certificate.not_valid_before_utc.timestamp(), ends_at=certificate.not_valid_after_utc.timestamp()
    )
