"""Enrolment tokens: ``mien1.<base64url JSON {"id","ca_sha256","group","exp"}>.<secret>``.

The open part tells a device which fleet it is about to trust; the secret is known to the fleet by its hash alone. What
a token still allows is kept in the store.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass

from mien.errors import TrustError

_PREFIX = "mien1"
_PARTS = 3
_REMEDY = "ask the fleet's operator for a new one: mien fleet token create"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """What the fleet keeps of a token."""

    id: str
    secret_sha256: str
    group: str
    uses_left: int
    expires_at: float
    review: bool = False
    """Whether a person looks at each device that shows it."""


def make_token(
    *, group: str, uses: int, expires_at: float, ca_sha256: str, review: bool = False
) -> tuple[str, StoredToken]:
    """Make a token.

    Args:
        group: which group its devices join.
        uses: how many devices may enrol with it.
        expires_at: Unix seconds.
        ca_sha256: the authority's fingerprint.
        review: whether a person looks at each device.

    Returns:
        The text for the device, and what the fleet keeps.
    """
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(24)
    claims = {"id": token_id, "ca_sha256": ca_sha256, "group": group, "exp": int(expires_at)}
    middle = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode().rstrip("=")
    stored = StoredToken(
        id=token_id,
        secret_sha256=_hash(secret),
        group=group,
        uses_left=uses,
        expires_at=int(expires_at),
        review=review,
    )
    return f"{_PREFIX}.{middle}.{secret}", stored


def read_token(text: str) -> tuple[str, str]:
    """The id and the secret of a token's text.

    Raises:
        TrustError: the text is no token.
    """
    parts = text.strip().split(".")
    if len(parts) != _PARTS or parts[0] != _PREFIX:
        raise _refused("it is no enrolment token")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        token_id = claims["id"]
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise _refused("its middle part cannot be read") from error
    if not isinstance(token_id, str):
        raise _refused("its middle part cannot be read")
    return token_id, parts[2]


def check_token(stored: StoredToken | None, secret: str, *, now: float) -> StoredToken:
    """Hold a token against what the fleet kept of it. The group is the stored one, whatever the text says.

    Raises:
        TrustError: unknown, wrong, expired or used up. Unknown and wrong read the same.
    """
    token = recognise_token(stored, secret)
    if token.expires_at < now:
        raise _refused("it has expired")
    if token.uses_left < 1:
        raise _refused("it is used up")
    return token


def recognise_token(stored: StoredToken | None, secret: str) -> StoredToken:
    """As :func:`check_token`, but one that is used up or expired passes: it is still known who shows it.

    Raises:
        TrustError: unknown or wrong.
    """
    known = stored.secret_sha256 if stored else _hash("")
    if not hmac.compare_digest(known, _hash(secret)) or stored is None:
        raise _refused("it is not one of this fleet's")
    return stored


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _refused(found: str) -> TrustError:
    return TrustError("the enrolment token was refused", found=found, wanted="a token of this fleet", remedy=_REMEDY)
