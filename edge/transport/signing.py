"""Signed requests: a subset of HTTP Message Signatures, RFC 9421.

One signature named ``mien`` over ``@method`` and ``@path`` (sections 2.2.1, 2.2.6), with the parameters created, keyid
and alg; algorithm ecdsa-p256-sha256 (section 3.3.4): the raw ``r || s``, 64 bytes.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

LABEL = "mien"
_SCALAR_BYTES = 32


def signature_parameters(key_id: str, created: int) -> str:
    """The covered components and parameters, as they stand in ``Signature-Input`` after the label."""
    return f'("@method" "@path");created={created};keyid="{key_id}";alg="ecdsa-p256-sha256"'


def signature_base(method: str, path: str, parameters: str) -> bytes:
    """The bytes that are signed: RFC 9421, section 2.5."""
    return f'"@method": {method}\n"@path": {path}\n"@signature-params": {parameters}'.encode()


def signed_headers(
    key: ec.EllipticCurvePrivateKey, *, key_id: str, method: str, path: str, created: int
) -> dict[str, str]:
    """The two headers of a signed request.

    Args:
        key: the device's P-256 key.
        key_id: the device id.
        method: upper case, such as ``GET``.
        path: the path without the query.
        created: Unix seconds now.
    """
    parameters = signature_parameters(key_id, created)
    r, s = decode_dss_signature(key.sign(signature_base(method, path, parameters), ec.ECDSA(SHA256())))
    raw = r.to_bytes(_SCALAR_BYTES, "big") + s.to_bytes(_SCALAR_BYTES, "big")
    return {
        "Signature-Input": f"{LABEL}={parameters}",
        "Signature": f"{LABEL}=:{base64.b64encode(raw).decode()}:",
    }
