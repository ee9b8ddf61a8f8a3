"""Reads an enrolment token: what its open part says. Its secret is checked by the fleet alone.

Form: ``mien1.<base64url JSON {"id","ca_sha256","group","exp"}>.<secret>``, optionally followed by ``@URL``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.x509 import load_pem_x509_certificate
from pydantic import BaseModel, ValidationError

from mien.errors import ConfigError, TrustError

_PREFIX = "mien1"
_PARTS = 3


class _Claims(BaseModel):
    id: str
    ca_sha256: str
    group: str
    exp: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentToken:
    """A token's text and what it says openly."""

    text: str
    ca_sha256: str
    """SHA-256 of the fleet authority's certificate (DER): pins the fleet before it is first asked."""
    group: str
    expires_at: float
    url: str | None = None

    def __repr__(self) -> str:
        """Without the secret."""
        return f"EnrolmentToken(group={self.group!r}, expires_at={self.expires_at})"


def parse_token(text: str) -> EnrolmentToken:
    """Read ``TOKEN`` or ``TOKEN@URL``.

    Raises:
        ConfigError: another form, or cut off.
    """
    token, _, url = text.strip().partition("@")
    parts = token.split(".")
    if len(parts) != _PARTS or parts[0] != _PREFIX or not parts[2]:
        raise _not_a_token("another form")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = _Claims.model_validate_json(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValidationError, ValueError) as error:
        raise _not_a_token("its middle part cannot be read") from error
    return EnrolmentToken(
        text=token, ca_sha256=claims.ca_sha256.lower(), group=claims.group, expires_at=claims.exp, url=url or None
    )


def check_authority(token: EnrolmentToken, ca_pem: str) -> str:
    """Hold the authority that a service presented against the token's fingerprint.

    Returns:
        That one certificate, PEM, without anything that stood beside it: what may be trusted.

    Raises:
        TrustError: it is another one: the service is not the fleet which made the token.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificate = load_pem_x509_certificate(ca_pem.encode())
    except ValueError as error:
        raise TrustError("the fleet's certificate authority cannot be read", found=str(error)) from error
    found = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    if found != token.ca_sha256:
        raise TrustError(
            "this service is not the fleet that made the token",
            found=f"authority {found[:16]}…",
            wanted=f"authority {token.ca_sha256[:16]}…",
            remedy="check the address; if the fleet was set up anew, ask its operator for a new token",
        )
    return certificate.public_bytes(Encoding.PEM).decode()


def _not_a_token(found: str) -> ConfigError:
    return ConfigError(
        "this is no enrolment token",
        found=found,
        wanted="mien1.….…, optionally followed by @http://HOST:PORT",
        remedy="copy the whole line that 'mien fleet token create' printed",
    )
