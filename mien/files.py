"""Durable files: nothing half-written ever stands under a final name.

Every write goes to a temporary file in the same folder, is flushed to the disk, and then replaces the final name in
one step; folders are synchronised too, so the name survives a power cut.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mien.endings import removed_when_interrupted
from mien.errors import UnavailableError
from mien.parts import hold, part_of

_CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush all files and folders below a folder to the disk, whoever wrote them."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            sync_folder(path)
        elif path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)


@contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Yield a stream whose bytes take the name ``path`` only when the block ends without an error.

    Raises:
        UnavailableError: the disk is full or read-only, with the path and the remedy.
    """
    temporary = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            hold(stream.fileno())
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with suppress(OSError):  # it has its final name, or its folder is gone
            temporary.unlink()


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """Yield an empty temporary folder that vanishes with the block, and with an interrupt.

    While the block runs, the temporary files of libraries lie in it too.
    """
    before = tempfile.gettempdir()
    folder = Path(before) / f"mien-{purpose}-{secrets.token_hex(8)}"
    with removed_when_interrupted(folder):
        try:
            folder.mkdir(mode=0o700)
            tempfile.tempdir = str(folder)
            yield folder
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a whole file atomically and durably."""
    with replacing(path, mode=mode) as stream:
        stream.write(content)


def write_text(path: Path, content: str, *, mode: int = 0o644) -> None:
    """Write a whole UTF-8 text file atomically and durably."""
    write_bytes(path, content.encode(), mode=mode)


def write_json(path: Path, value: Any, *, mode: int = 0o644) -> None:  # noqa: ANN401 - JSON is any value
    """Write a value as indented JSON, atomically and durably."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", mode=mode)


def point_link(link: Path, target: str) -> None:
    """Point a symbolic link at ``target`` in one atomic step, whether or not the link exists already.

    Args:
        link: the link's own path.
        target: what it points to, relative to the link's folder.
    """
    temporary = link.with_name(f".{link.name}.new")
    with suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.replace(link)
    sync_folder(link.parent)


def disk_error(path: Path, error: OSError) -> UnavailableError:
    """What is said when a file cannot be written: why, and what to do."""
    remedies = {
        errno.ENOSPC: "free some disk space and run the command again",
        errno.EROFS: "choose a folder on a writable file system",
        errno.EACCES: "choose a folder that this user may write to",
    }
    return UnavailableError(
        f"could not write {path}",
        found=error.strerror or str(error),
        wanted="a writable disk with room",
        remedy=remedies.get(error.errno or 0, "look at the disk and run the command again"),
    )
