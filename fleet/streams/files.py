"""The files that streams give: those that the registry lists, under the names of a static host, and no others.

What a device names is looked up and never made into a path: a release's file in the signed list, metadata among the
few names which that can have.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.registry.content import target_place
from fleet.registry.keys import ENGINES
from fleet.registry.repository import Repository
from mien.errors import MienError
from mien.streams import METADATA, TARGETS, StreamRefused

_METADATA_NAME = re.compile(rf"timestamp\.json|[1-9][0-9]{{0,8}}\.(root|snapshot|targets|{ENGINES})\.json")
_MOST_METADATA_BYTES = 16 << 20
_KEPT = 32


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file with its content as it is now."""

    name: str
    version: str
    size: int
    path: Path
    content: bytes | None = None
    """Of metadata, which may be replaced under its name."""

    def read(self, place: int, length: int) -> bytes:
        """A piece of it.

        Raises:
            OSError: it cannot be read, or is shorter than what was signed.
        """
        if self.content is not None:
            return self.content[place : place + length]
        with self.path.open("rb") as stream:
            piece = os.pread(stream.fileno(), length, place)
        if len(piece) != length:
            raise OSError(f"{self.path} is shorter than what was signed")
        return piece

    def __hash__(self) -> int:
        """By name and content."""
        return hash((self.name, self.version))


class RegistryFiles:
    """Looks up what devices name.

    Args:
        repository: the registry.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._listed: Mapping[str, ServedFile] = {}
        self._listed_for: object = None
        self._metadata: OrderedDict[str, tuple[object, ServedFile]] = OrderedDict()

    def find(self, name: str, version: str | None = None) -> ServedFile:
        """A file by its name.

        Args:
            name: ``metadata/…`` or ``targets/…``.
            version: the content that is meant, if that is known.

        Raises:
            StreamRefused: ``ResourceNotFound``, ``VersionMismatch``, or ``InternalError`` where it cannot be read.
        """
        folder, _, rest = name.partition("/")
        try:
            found = self._metadata_file(rest) if folder == METADATA else self._targets().get(name)
        except (OSError, MienError) as error:
            raise StreamRefused("InternalError", "the registry cannot be read now", retry_after_s=5.0) from error
        if found is None:
            raise StreamRefused("ResourceNotFound", f"{name[:200]} is not in the registry")
        if version not in {None, found.version}:
            raise StreamRefused("VersionMismatch", f"it is {found.version} now")
        return found

    def _metadata_file(self, name: str) -> ServedFile | None:
        if _METADATA_NAME.fullmatch(name) is None:
            return None
        path = self._repository.shelf.folder / name
        state = _state_of(path)
        if state is None:
            return None
        kept = self._metadata.get(name)
        if kept is None or kept[0] != state:
            kept = state, _read(name, path)
            self._metadata[name] = kept
            while len(self._metadata) > _KEPT:
                self._metadata.popitem(last=False)
        self._metadata.move_to_end(name)
        return kept[1]

    def _targets(self) -> Mapping[str, ServedFile]:
        """What is signed, read anew when the timestamp is another one."""
        state = _state_of(self._repository.shelf.folder / "timestamp.json")
        if state != self._listed_for:
            self._listed, self._listed_for = _listed(self._repository), state
        return self._listed


def _listed(repository: Repository) -> dict[str, ServedFile]:
    folder, listed = repository.targets_folder, {}
    for target in (*repository.targets().values(), *repository.engines().values()):
        place = target_place(folder, target)
        name = f"{TARGETS}/{place.relative_to(folder).as_posix()}"
        listed[name] = ServedFile(name, target.hashes["sha256"], target.length, place)
    return listed


def _read(name: str, path: Path) -> ServedFile:
    with path.open("rb") as stream:
        content = stream.read(_MOST_METADATA_BYTES)
    return ServedFile(f"{METADATA}/{name}", hashlib.sha256(content).hexdigest(), len(content), path, content)


def _state_of(path: Path) -> object:
    try:
        seen = path.stat()
    except FileNotFoundError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns
