"""As whom streams connect to the broker: a name of their own, which may do nothing but read requests and send blocks.

Two connections under one name would end each other, and streams need not be able to give orders. Over TLS the name is
that of the service's certificate with ``.streams`` behind it, in a certificate that the fleet's authority issues here.

Processes of the service share requests as a group whose name is a secret (:mod:`fleet.broker.secret_group`).
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from fleet.broker.interface import BrokerAccess
from fleet.broker.mosquitto import stream_name
from fleet.broker.secret_group import secret_group
from fleet.config import StreamSettings
from fleet.identity.ca import Authority
from mien.errors import ConfigError
from mien.files import write_bytes

_RENEW_BEFORE = dt.timedelta(days=120)


class StreamParty(NamedTuple):
    """As whom to connect."""

    access: BrokerAccess
    client_id: str
    group: str
    """Shared by all processes that have this data folder, and known to nobody else."""


def stream_party(
    settings: StreamSettings, access: BrokerAccess, authority: Authority, folder: Path, *, now: dt.datetime
) -> StreamParty:
    """How streams reach the broker.

    Args:
        settings: may name a certificate that was issued elsewhere.
        access: how the service reaches it.
        authority: issues the certificate where none is named.
        folder: where certificate, key and the group's name are kept.
        now: the moment, with a time zone.

    Raises:
        ConfigError: the service's certificate cannot be read.
    """
    group = secret_group(folder / "group")
    if not access.tls or access.client_cert is None:
        return StreamParty(access, f"mien-fleet-streams-{secrets.token_hex(4)}", group)
    if settings.client_cert is not None:
        own = replace(access, client_cert=settings.client_cert, client_key=settings.client_key)
        return StreamParty(own, common_name(settings.client_cert), group)
    name = stream_name(common_name(access.client_cert))
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    if not _does(certificate, key, authority, now):
        issued, secret = authority.issue_party(name, ())
        certificate.unlink(missing_ok=True)
        write_bytes(key, secret, mode=0o600)
        write_bytes(certificate, issued.pem.encode())
    return StreamParty(replace(access, client_cert=certificate, client_key=key), name, group)


def common_name(certificate: Path) -> str:
    """The name in a certificate.

    Raises:
        ConfigError: there is none.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        return str(found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{certificate} is no certificate with a name",
            found=str(error),
            wanted="what 'mien fleet broker config' wrote",
        ) from error


def _does(certificate: Path, key: Path, authority: Authority, now: dt.datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        secret = serialization.load_pem_private_key(key.read_bytes(), password=None)
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem.encode()))
    except (OSError, ValueError, InvalidSignature):
        return False
    return found.not_valid_after_utc - now > _RENEW_BEFORE and found.public_key() == secret.public_key()
