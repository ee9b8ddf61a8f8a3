"""Keeps a copy of the registry in an object store like the registry itself.

Takes a picture under the registry's lock, and works from that: documents are small and held in memory, signed files
have names that never change their content. What to put in which order is decided in :mod:`fleet.registry.mirror_plan`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleet.registry.content import target_place
from fleet.registry.keys import ENGINES
from fleet.registry.mirror_plan import METADATA, TARGETS, TIMESTAMP, Held, Picture, SignedTarget, Upload, plan
from fleet.registry.repository import Repository
from mien.errors import BundleError, ConfigError, TrustError
from mien.files import sha256_of

_log = logging.getLogger(__name__)


class ObjectStore(Protocol):
    """A place for objects, such as a bucket. Keys are relative to its prefix; a put is all or nothing."""

    def held(self) -> Iterator[tuple[str, Held]]:
        """All objects.

        Raises:
            UnavailableError: it does not answer, or does not let us in.
        """

    def read(self, key: str) -> bytes | None:
        """A small object; ``None`` when there is none. Raises as :meth:`held` does."""

    def put(self, upload: Upload, content: bytes | Path, *, over: Held | None) -> None:
        """Put an object.

        Args:
            upload: its key and headers.
            content: its bytes, or the file that holds them.
            over: for the timestamp, what must be there still; ``None``: nothing may be there.

        Raises:
            ConflictError: another one wrote it meanwhile.
            UnavailableError: as above.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a round did."""

    files: int
    documents: int
    size_bytes: int
    timestamp_version: int

    @property
    def is_change(self) -> bool:
        """Whether anything was put."""
        return bool(self.files or self.documents)


def sync(repository: Repository, store: ObjectStore, *, tell: Callable[[Upload], None] = lambda _: None) -> Synced:
    """Bring a copy up to date; may be cut off at any point and begun again.

    Args:
        repository: the registry.
        store: where the copy is.
        tell: told of each object before it is put.

    Raises:
        ConfigError: there is no registry here.
        TrustError: the copy is newer than this registry.
        BundleError: a file here is not what was signed; nothing of it is copied.
        ConflictError: another service writes this copy.
        UnavailableError: the store does not answer.
    """
    picture = picture_of(repository)
    held = dict(store.held())
    _check_age(picture, store.read(TIMESTAMP) if TIMESTAMP in held else None)
    uploads = plan(picture, held)
    for upload in uploads:
        tell(upload)
        store.put(upload, _content(repository, upload), over=held.get(upload.key))
    return Synced(
        files=sum(1 for upload in uploads if upload.target is not None),
        documents=sum(1 for upload in uploads if upload.target is None),
        size_bytes=sum(upload.size_bytes for upload in uploads),
        timestamp_version=picture.timestamp_version,
    )


class MirrorKeeper:
    """Keeps a copy like the registry, round by round: asks the store only when the registry changed.

    Args:
        repository: the registry.
        store: where the copy is.
        address: of the copy, for the log.
    """

    def __init__(self, repository: Repository, store: ObjectStore, address: str) -> None:
        self._repository, self._store, self._address = repository, store, address
        self._done: int | None = None

    def run(self) -> None:
        """One round. Raises as :func:`sync` does; the next round tries again."""
        if self._repository.exists() and self._done == self._repository.shelf.timestamp().version:
            return
        done = sync(self._repository, self._store)
        self._done = done.timestamp_version
        if done.is_change:
            _log.info("copied %d files and %d documents to %s", done.files, done.documents, self._address)


def picture_of(repository: Repository) -> Picture:
    """The registry as it is now.

    Raises:
        ConfigError: there is none.
    """
    if not repository.exists():
        raise ConfigError(
            "there is no registry to copy",
            found=f"none in {repository.data}",
            remedy="name the service's data folder with --data, or make one: mien fleet keys init",
        )
    shelf = repository.shelf
    with repository.locked():
        snapshot = shelf.snapshot()
        roles = ["targets", *([ENGINES] if f"{ENGINES}.json" in snapshot.meta else [])]
        names = [f"{snapshot.meta[f'{role}.json'].version}.{role}.json" for role in roles]
        names.append(f"{snapshot.version}.snapshot.json")
        roots = [f"{version}.root.json" for version in range(1, shelf.root().version + 1)]
        signed = [*repository.targets().values(), *repository.engines().values()]
        return Picture(
            targets=tuple(
                SignedTarget(
                    key=f"{TARGETS}/{target_place(Path(), target).as_posix()}",
                    sha256=target.hashes["sha256"],
                    size_bytes=target.length,
                )
                for target in signed
            ),
            documents=_read(shelf.folder, names),
            timestamp=(shelf.folder / "timestamp.json").read_bytes(),
            timestamp_version=shelf.timestamp().version,
            roots=_read(shelf.folder, roots),
        )


def _read(folder: Path, names: list[str]) -> Mapping[str, bytes]:
    return {f"{METADATA}/{name}": (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _check_age(picture: Picture, there: bytes | None) -> None:
    """Never put an older registry over a newer one: devices would refuse it as a rollback."""
    if there is None:
        return
    try:
        version = int(json.loads(there)["signed"]["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise TrustError(
            "what stands at the copy's timestamp is none",
            found=str(error),
            remedy="name another prefix, or empty this one",
        ) from error
    if version > picture.timestamp_version:
        raise TrustError(
            "the copy is newer than this registry",
            found=f"timestamp {version} there, {picture.timestamp_version} here",
            remedy="see that this is the fleet's registry and no older backup of it; devices would refuse it",
        )


def _content(repository: Repository, upload: Upload) -> bytes | Path:
    if upload.target is None:
        return upload.content or b""
    path = repository.targets_folder / upload.key.removeprefix(f"{TARGETS}/")
    found = sha256_of(path) if path.is_file() else "no file"
    if found != upload.target.sha256:
        raise BundleError(
            f"{path} is not what was signed",
            found=found,
            wanted=upload.target.sha256,
            remedy="restore the data folder from a backup; nothing of this file was copied",
        )
    return path
