"""Checks signed requests of devices: a subset of HTTP Message Signatures, RFC 9421.

Accepted is one signature named ``mien`` over exactly ``@method`` and ``@path`` (sections 2.2.1, 2.2.6) with the
parameters created, keyid and alg, in this order; algorithm ecdsa-p256-sha256 (section 3.3.4): raw ``r || s``, 64 bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from mien.errors import TrustError

MAX_AGE_S = 300
CLOCK = "clock"
"""The code of an answer to a good signature whose time is not now: the device waits until its clock is right."""
_SCALAR_BYTES = 32
_INPUT = re.compile(
    r'mien=(?P<parameters>\("@method" "@path"\);created=(?P<created>\d{1,12});'
    r'keyid="(?P<key_id>[a-z0-9-]{1,63})";alg="ecdsa-p256-sha256")'
)
_SIGNATURE = re.compile(r"mien=:(?P<value>[A-Za-z0-9+/=]{1,200}):")


class ClockDiffersError(TrustError):
    """The signature is the device's own, and of another time: recorded, or the device's clock is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """The signature of a request, read but not yet checked."""

    device_id: str
    created: int
    base: bytes
    signature: bytes


def read_signature(method: str, path: str, *, signature_input: str | None, signature: str | None) -> SignedRequest:
    """Read the two headers.

    Raises:
        TrustError: absent, or of another form.
    """
    described, signed = _INPUT.fullmatch(signature_input or ""), _SIGNATURE.fullmatch(signature or "")
    if described is None or signed is None:
        raise _refused("no signature, or one of another form")
    try:
        raw = base64.b64decode(signed["value"], validate=True)
    except binascii.Error as error:
        raise _refused("a signature that is not base64") from error
    base = f'"@method": {method}\n"@path": {path}\n"@signature-params": {described["parameters"]}'.encode()
    return SignedRequest(device_id=described["key_id"], created=int(described["created"]), base=base, signature=raw)


def check_signature(request: SignedRequest, certificate_pem: str, *, now: float) -> None:
    """Check a read signature against the certificate that the device was given.

    Raises:
        TrustError: not made with that key.
        ClockDiffersError: made with it, and too old or from the future.
    """
    key = x509.load_pem_x509_certificate(certificate_pem.encode()).public_key()
    raw = request.signature
    if not isinstance(key, ec.EllipticCurvePublicKey) or len(raw) != 2 * _SCALAR_BYTES:
        raise _refused("a signature of another length")
    r, s = int.from_bytes(raw[:_SCALAR_BYTES], "big"), int.from_bytes(raw[_SCALAR_BYTES:], "big")
    try:
        key.verify(encode_dss_signature(r, s), request.base, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise _refused("a signature that does not fit") from error
    if abs(now - request.created) > MAX_AGE_S:
        raise ClockDiffersError(
            "the request was signed at another time",
            found=f"a signature {now - request.created:.0f} s old",
            wanted=f"one at most {MAX_AGE_S} s old, and not from the future",
            remedy="set the device's clock (NTP)",
        )


def _refused(found: str) -> TrustError:
    return TrustError(
        "the request is not signed by an accepted device",
        found=found,
        wanted="an RFC 9421 signature by the device's key",
        remedy="enrol the device again: mien edge enroll TOKEN@URL",
    )
