"""Bundles that come as one file: unpacks a ``.tar.zst`` into a folder, safely, for whoever takes a bundle.

An archive is written by ``optimize.bundle.archive`` and may come from anywhere: it holds plain files below one folder,
as many bytes as its manifest says, or it is refused. What was unpacked is held against the manifest like any bundle.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from mien.bundle import verify_bundle
from mien.console import SILENT, Progress
from mien.errors import BundleError, ConfigError
from mien.files import replacing
from mien.release import Manifest
from optimize.bundle.archive import Counted, mebibytes
from optimize.bundle.staging import staged
from optimize.mistaken import check_bundle

_MOST_FILES = 256
_MOST_BYTES = 2 << 30
_AGAIN = "copy the archive again from where it was packed, or pack it again: mien optimize pack"


@contextmanager
def opened(bundle: Path) -> Iterator[Path]:
    """Yield a bundle's folder; an archive is unpacked into a temporary one, which vanishes at the end.

    Raises:
        BundleError: it is weights or a graph; the archive is damaged or holds what no bundle holds.
        UnavailableError: there is no room for it.
    """
    check_bundle(bundle)
    if not bundle.is_file():
        yield bundle
        return
    with tempfile.TemporaryDirectory(prefix="mien-bundle-") as place:
        folder = Path(place) / bundle.name  # so that an error names the archive
        folder.mkdir()
        _extract(bundle, folder)
        yield folder


def unpack(archive: Path, out: Path, progress: Progress = SILENT) -> Manifest:
    """Unpack an archive into a new folder, and hold its bytes against its manifest.

    Raises:
        ConfigError: ``out`` exists.
        BundleError: the archive is damaged, or holds what no bundle holds; no folder is left behind.
        UnavailableError: the disk is full or read-only.
    """
    if out.exists() or out.is_symlink():
        raise ConfigError(f"{out} exists already", wanted="a new folder", remedy="choose another --out")
    check_bundle(archive)
    with staged(out) as folder:
        _extract(archive, folder, progress)
        return verify_bundle(folder)


def _extract(archive: Path, folder: Path, progress: Progress = SILENT) -> None:
    import zstandard

    try:
        with _opened(archive) as stream:
            progress.start("unpack, MiB", mebibytes(archive.stat().st_size))
            counted = cast("IO[bytes]", Counted(stream, progress))
            with zstandard.ZstdDecompressor().stream_reader(counted) as plain:
                _extract_all(archive, plain, folder)
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise BundleError(
            f"{archive} is no archive of a bundle",
            found=str(error)[:200],
            wanted="a .tar.zst that 'mien optimize pack' wrote",
            remedy=_AGAIN,
        ) from error


def _opened(archive: Path) -> IO[bytes]:
    try:
        return archive.open("rb")
    except OSError as error:
        raise BundleError(
            f"could not read {archive}",
            found=error.strerror or str(error),
            wanted="a .tar.zst that 'mien optimize pack' wrote",
            remedy="check the path and its mode",
        ) from error


def _extract_all(archive: Path, plain: IO[bytes], folder: Path) -> None:
    left, count = _MOST_BYTES, 0
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            left, count = left - member.size, count + 1
            if left < 0 or count > _MOST_FILES:
                raise BundleError(
                    f"{archive} is too large for a bundle",
                    wanted=f"at most {_MOST_FILES} files and {_MOST_BYTES >> 30} GiB",
                    remedy=_AGAIN,
                )
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise BundleError(
                    f"{archive} holds what no bundle holds", found=member.name, wanted="plain files only", remedy=_AGAIN
                )
            with replacing(folder / _place(archive, member.name)) as file:
                shutil.copyfileobj(content, file)


def _place(archive: Path, name: str) -> PurePosixPath:
    """A member's path below the archive's one folder; never outside of it."""
    _, *inner = PurePosixPath(name).parts
    if not inner or ".." in PurePosixPath(name).parts or name.startswith("/"):
        raise BundleError(
            f"{archive} holds a file outside of its folder", found=name, wanted="NAME-VERSION/FILE", remedy=_AGAIN
        )
    return PurePosixPath(*inner)
