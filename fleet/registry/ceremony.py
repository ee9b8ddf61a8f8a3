"""What travels between the registry and the machines with offline keys: one JSON file, out and back.

The file holds the documents to be signed and the ids of the keys that may sign them; no secret. A holder signs what it
shows, and the registry takes back signatures alone: documents that were changed on the way are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.metadata import Key, Root, Targets
from tuf.api.serialization import DeserializationError

from fleet.registry.keys import OFFLINE, KeyFolder, short
from fleet.registry.pending import Change
from fleet.registry.shelf import Document
from mien.errors import TrustError
from mien.files import write_json
from mien.release import MANIFEST

_FORMAT = "mien-to-sign-1"
_LONGEST_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ToSign:
    """One document that wants signatures."""

    role: str
    document: Document
    wanted: tuple[str, ...]
    """Ids of the keys that may sign it."""


def write_request(change: Change, before: Root | None, path: Path) -> list[ToSign]:
    """Write what waits for signatures into a file."""
    items = [
        ToSign(role=role, document=document, wanted=tuple(sorted(change.trusted_keys(role, before))))
        for role, document in change.documents()
    ]
    _write(items, path)
    return items


def read_request(path: Path) -> list[ToSign]:
    """Read such a file.

    Raises:
        TrustError: it is none.
    """
    try:
        return _parsed(path)
    except (OSError, ValueError, KeyError, TypeError, DeserializationError) as error:
        raise TrustError(
            f"{path} holds nothing to sign",
            found=str(error),
            wanted="a file that 'mien fleet keys export' wrote",
            remedy="export it again: mien fleet keys export --data DATA --out to-sign.json",
        ) from error


def sign_request(items: list[ToSign], keys: KeyFolder, path: Path) -> list[tuple[str, str]]:
    """Sign with every key here that is asked for, and write the file.

    Returns:
        Role and key id of each signature that was added.

    Raises:
        TrustError: no key that is asked for is here.
    """
    added = []
    for item in items:
        for signer in keys.signers(item.role, item.wanted):
            item.document.sign(signer, append=True)
            added.append((item.role, signer.public_key.keyid))
    if not added:
        raise TrustError(
            "none of the keys that are asked for is here",
            found=str(keys.path),
            wanted="; ".join(f"{item.role}: one of {short(item.wanted)}" for item in items),
            remedy="name the folder that holds one with --keys",
        )
    _write(items, path)
    return added


def take_signatures(change: Change, before: Root | None, items: Iterable[ToSign]) -> int:
    """Add the signatures that came back to the change that waits; how many were new.

    Raises:
        TrustError: a document is not the one that waits, or a signature is not by a key that may sign, or is wrong.
    """
    waiting = dict(change.documents())
    added = 0
    for item in items:
        mine = waiting.get(item.role)
        if mine is None or mine.signed_bytes != item.document.signed_bytes:
            raise TrustError(
                f"the {item.role} document that came back is not the one that waits",
                found=f"version {item.document.signed.version}",
                wanted=f"version {mine.signed.version}, unchanged" if mine is not None else "none waits",
                remedy="export it again, and have that file signed",
            )
        allowed = change.trusted_keys(item.role, before)
        for keyid, signature in item.document.signatures.items():
            _check(allowed, item, keyid)
            added += keyid not in mine.signatures
            mine.signatures[keyid] = signature
    return added


def summary(item: ToSign) -> list[str]:
    """What a holder is about to sign, in words."""
    signed = item.document.signed
    lines = [f"{item.role} version {signed.version}, valid until {signed.expires:%Y-%m-%d}"]
    if isinstance(signed, Root):
        lines += [f"  {name}: {role.threshold} of {short(role.keyids)}" for name, role in signed.roles.items()]
    if isinstance(signed, Targets):
        manifests = {path: target for path, target in signed.targets.items() if path.endswith(f"/{MANIFEST}")}
        lines += [f"  {path} sha256 {target.hashes['sha256']}" for path, target in sorted(manifests.items())]
        delegated = (signed.delegations.roles or {}) if signed.delegations is not None else {}
        lines += [f"  {name} may sign {', '.join(role.paths or [])}" for name, role in delegated.items()]
    return lines


def _check(allowed: Mapping[str, Key], item: ToSign, keyid: str) -> None:
    key = allowed.get(keyid)
    if key is None:
        raise TrustError(
            f"a signature of {item.role} is by a key that may not sign it",
            found=short([keyid]),
            wanted=f"one of {short(allowed)}",
            remedy="sign with a key that is asked for",
        )
    try:
        key.verify_signature(item.document.signatures[keyid], item.document.signed_bytes)
    except UnverifiedSignatureError as error:
        raise TrustError(
            f"the signature of {item.role} by {short([keyid])} is wrong",
            found=str(error),
            remedy="sign the exported file again",
        ) from error


def _parsed(path: Path) -> list[ToSign]:
    if path.stat().st_size > _LONGEST_BYTES:
        raise ValueError(f"longer than {_LONGEST_BYTES >> 20} MiB")
    content = json.loads(path.read_bytes())
    if content["format"] != _FORMAT:
        raise ValueError(f"format {content['format']!r}")
    return [_item(entry) for entry in content["documents"]]


def _item(entry: Mapping[str, Any]) -> ToSign:
    role = entry["role"]
    document = Document.from_dict(entry["metadata"])
    if role not in OFFLINE or document.signed.type != role:
        raise ValueError(f"a document of {document.signed.type} as {role}")
    return ToSign(role=role, document=document, wanted=tuple(map(str, entry["keys"])))


def _write(items: Iterable[ToSign], path: Path) -> None:
    documents = [{"role": item.role, "keys": list(item.wanted), "metadata": item.document.to_dict()} for item in items]
    write_json(path, {"format": _FORMAT, "documents": documents})
