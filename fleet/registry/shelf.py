"""Signed metadata on the disk: what is in force, and how a document gets there.

In force is what the timestamp leads to, not what a killed publication left behind. Every file is written atomically.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from fleet.registry.keys import ENGINES
from mien.errors import TrustError
from mien.files import write_bytes

Document = Metadata[Any]
_T = TypeVar("_T", Root, Targets, Snapshot, Timestamp)


class Shelf:
    """The folder of metadata as it is served.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def exists(self) -> bool:
        """Whether anything is in force."""
        return (self.folder / "timestamp.json").is_file()

    def root(self) -> Root:
        """The newest root."""
        return self._read(Root, Root.type)

    def targets(self) -> Targets:
        """The releases in force."""
        return self._read(Targets, Targets.type)

    def engines(self) -> Document | None:
        """The engines in force; ``None`` where there is no such role yet."""
        if f"{ENGINES}.json" not in self.snapshot().meta:
            return None
        return self.document(ENGINES)

    def snapshot(self) -> Snapshot:
        """The snapshot in force."""
        return self._read(Snapshot, Snapshot.type)

    def timestamp(self) -> Timestamp:
        """What leads to the rest."""
        return self._read(Timestamp, Timestamp.type)

    def first_root(self) -> bytes:
        """The root that a new device starts to trust from."""
        return (self.folder / "1.root.json").read_bytes()

    def document(self, role: str) -> Document:
        """A role's metadata in force, with its signatures.

        Raises:
            TrustError: it is not there or cannot be read.
        """
        try:
            return Document.from_file(str(self._newest(role)))
        except (OSError, DeserializationError, ValueError, KeyError) as error:
            raise TrustError(
                f"the registry's {role} metadata cannot be read",
                found=str(error),
                wanted=str(self.folder),
                remedy="run 'mien fleet keys init' for a new fleet, or restore the data folder from a backup",
            ) from error

    def write(self, role: str, document: Document) -> None:
        """Put a document under its name, atomically."""
        name = "timestamp.json" if role == Timestamp.type else f"{document.signed.version}.{role}.json"
        write_bytes(self.folder / name, to_bytes(document))

    def _read(self, kind: type[_T], role: str) -> _T:
        signed = self.document(role).signed
        if not isinstance(signed, kind):
            raise TrustError(f"the registry's {role} file holds another role's metadata", found=signed.type)
        return signed

    def _newest(self, role: str) -> Path:
        if role == Timestamp.type:
            return self.folder / "timestamp.json"
        if role == Root.type:
            roots = self.folder.glob("*.root.json")
            return max(roots, key=lambda path: int(path.name.partition(".")[0]), default=self.folder / "1.root.json")
        if role == Snapshot.type:
            version = self.timestamp().snapshot_meta.version
        else:
            version = self.snapshot().meta[f"{role}.json"].version
        return self.folder / f"{version}.{role}.json"


def to_bytes(document: Document) -> bytes:
    """A document as it is stored and served."""
    return document.to_bytes(JSONSerializer(compact=False))
