"""A change of root or targets, and the signatures that it still needs.

There is one such change at a time. It lies in a folder that is not served, gathers signatures there, and comes into
force in one go when every threshold is met. A new root needs the threshold of the root before it and its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Key, Root, Targets, VerificationResult
from tuf.api.serialization import DeserializationError

from fleet.registry.keys import SHORT, short
from fleet.registry.shelf import Document, to_bytes
from mien.errors import TrustError
from mien.files import write_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Signatures that a document needs before it counts."""

    role: str
    version: int
    signed: tuple[str, ...]
    unsigned: tuple[str, ...]
    """Keys that may sign and did not."""
    threshold: int

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.role} version {self.version} has {len(self.signed)} of {self.threshold} signatures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The next root, the next targets, or both."""

    root: Document | None = None
    targets: Document | None = None

    def documents(self) -> Iterator[tuple[str, Document]]:
        """What there is, by role."""
        for role, document in ((Root.type, self.root), (Targets.type, self.targets)):
            if document is not None:
                yield role, document

    def means(self, targets: Targets) -> bool:
        """Whether this is a publication of the same files and nothing else."""
        return self.root is None and self.targets is not None and self.targets.signed.targets == targets.targets

    def trusted_keys(self, role: str, before: Root | None) -> dict[str, Key]:
        """Keys that may sign this role's document, under the root before it and under the new one."""
        roots = [root for root in (before, self.root.signed if self.root is not None else None) if root is not None]
        return {keyid: root.get_key(keyid) for root in roots for keyid in root.roles[role].keyids}

    def lacks(self, before: Root | None) -> tuple[Lack, ...]:
        """What is missing; nothing when the change may come into force."""
        found = list(self._root_lacks(before))
        root = self.root.signed if self.root is not None else before
        if self.targets is not None and root is not None:
            found += _lacks(self.targets, Targets.type, [root])
        return tuple(found)

    def _root_lacks(self, before: Root | None) -> Iterable[Lack]:
        if self.root is None:
            return []
        judges = [self.root.signed] if before is None else [before, self.root.signed]
        return _lacks(self.root, Root.type, judges)


class PendingFolder:
    """Keeps the change that waits.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, root_version: int, targets_version: int) -> Change | None:
        """The change that waits; what has come into force already is no part of it.

        Args:
            root_version: in force; 0 for none.
            targets_version: in force; 0 for none.

        Raises:
            TrustError: it cannot be read.
        """
        root = self._load(Root.type, root_version)
        targets = self._load(Targets.type, targets_version)
        return Change(root=root, targets=targets) if root is not None or targets is not None else None

    def store(self, change: Change) -> None:
        """Keep a change, with the signatures that it has."""
        for role, document in change.documents():
            write_bytes(self._folder / f"{role}.json", to_bytes(document))

    def clear(self) -> None:
        """Nothing waits any more."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _load(self, role: str, in_force: int) -> Document | None:
        path = self._folder / f"{role}.json"
        if not path.is_file():
            return None
        try:
            document = Document.from_file(str(path))
        except (DeserializationError, OSError) as error:
            raise TrustError(
                "the change that waits for signatures cannot be read",
                found=f"{path}: {error}",
                remedy="give it up and make it again: mien fleet keys discard",
            ) from error
        return document if document.signed.version == in_force + 1 else None


def still_waiting(lacks: Iterable[Lack], data: Path) -> TrustError:
    """Why a change is not in force yet, and the commands that bring it there."""
    lacking = list(lacks)
    keys = {keyid for lack in lacking for keyid in lack.unsigned}
    return TrustError(
        f"not enough signatures: {'; '.join(dict.fromkeys(map(str, lacking)))}",
        found=f"signed by {short({keyid for lack in lacking for keyid in lack.signed})}",
        wanted=f"signatures of {short(keys)}",
        remedy=(
            f"mien fleet keys export --data {data} --out to-sign.json; where a key is: mien fleet keys sign"
            f" to-sign.json --keys FOLDER; here again: mien fleet keys import to-sign.json --data {data}. With"
            " the keys on this machine, name their folder with --keys instead"
        ),
    )


def another_waits(change: Change, data: Path) -> TrustError:
    """A second change may not begin."""
    names = " and ".join(f"{role} version {document.signed.version}" for role, document in change.documents())
    return TrustError(
        "another change of the registry waits for signatures",
        found=names,
        wanted="one change at a time",
        remedy=(
            f"finish it: mien fleet keys export --data {data} --out to-sign.json; or give it up:"
            f" mien fleet keys discard --data {data}"
        ),
    )


def _lacks(document: Document, role: str, judges: Iterable[Root]) -> list[Lack]:
    results = (judge.get_verification_result(role, document.signed_bytes, document.signatures) for judge in judges)
    return [_lack(role, document, result) for result in results if not result.verified]


def _lack(role: str, document: Document, result: VerificationResult) -> Lack:
    return Lack(
        role=role,
        version=document.signed.version,
        signed=tuple(sorted(keyid[:SHORT] for keyid in result.signed)),
        unsigned=tuple(sorted(result.unsigned)),
        threshold=result.threshold,
    )
