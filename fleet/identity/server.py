"""The service's own HTTPS certificate: issued by the fleet's authority, which is the only one that devices trust.

Decides when the one on the disk still does. Which names it must bear is a setting.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from fleet.identity.ca import Authority
from mien.files import write_bytes

OWN_NAMES = ("localhost", "127.0.0.1", "::1")
_RENEW_BEFORE = dt.timedelta(days=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFiles:
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


def server_files(authority: Authority, folder: Path, names: Sequence[str], *, now: dt.datetime) -> ServerFiles:
    """The service's certificate, made where there is none that does.

    It is made anew for other names, under another authority, and when it has fewer than 120 days left.

    Args:
        authority: who signs.
        folder: where both files are kept.
        names: host names and addresses, besides this machine's own.
        now: the moment, with a time zone.
    """
    wanted = tuple(dict.fromkeys((*names, *OWN_NAMES)))
    files = ServerFiles(certificate=folder / "server.pem", key=folder / "server.key")
    if not _does(files, authority, wanted, now):
        folder.mkdir(parents=True, exist_ok=True)
        issued, key = authority.issue_party("mien fleet", wanted)
        files.certificate.unlink(missing_ok=True)
        write_bytes(files.key, key, mode=0o600)
        write_bytes(files.certificate, issued.pem.encode())
    return files


def _does(files: ServerFiles, authority: Authority, wanted: Sequence[str], now: dt.datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem.encode()))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, InvalidSignature, x509.ExtensionNotFound):
        return False
    given = {str(name.value) for name in names}
    return (
        given == set(wanted)
        and found.not_valid_after_utc - now > _RENEW_BEFORE
        and found.public_key() == key.public_key()
    )
