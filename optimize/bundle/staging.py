"""A bundle in the making: a hidden folder beside the final one, which takes its name in one step at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.endings import removed_when_interrupted
from mien.errors import BundleError, UnavailableError
from mien.files import sha256_of, sync_folder, write_text
from mien.parts import held, part_of, sweep
from mien.release import MANIFEST, FileEntry, Manifest, ReleaseRef


def check_target(out: Path, name: str, version: str) -> ReleaseRef:
    """Make sure, before any work, that a bundle can be packed there under that name.

    Raises:
        BundleError: the folder exists, or name or version are malformed.
    """
    release = ReleaseRef.parse(f"{name}@{version}")
    if out.exists() or out.is_symlink():
        raise BundleError(
            f"{out} exists already",
            wanted="a new folder: a packed release is never changed",
            remedy="choose another --out, or remove the old bundle",
        )
    return release


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``out`` when the block ends without an error, and vanishes otherwise.

    What killed runs left behind for the same ``out`` is removed first.

    Raises:
        UnavailableError: the disk is read-only or full.
    """
    sweep(out)
    folder = part_of(out)
    with removed_when_interrupted(folder):
        try:
            _make(folder, out)
            with held(folder):
                yield folder
                folder.chmod(0o755)
                sync_folder(folder)
                folder.rename(out)
            sync_folder(out.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _make(folder: Path, out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise UnavailableError(
            f"could not make a folder beside {out}",
            found=error.strerror or str(error),
            wanted="a writable disk with room",
            remedy="choose another --out, or free some disk space",
        ) from error


def entry(folder: Path, path: str) -> FileEntry:
    """Describe a file of the bundle."""
    file = folder / path
    return FileEntry(path=path, sha256=sha256_of(file), size_bytes=file.stat().st_size)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest; do it last."""
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
