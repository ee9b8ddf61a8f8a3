"""A bundle as one file, ``.tar.zst``: same bundle, same bytes (names sorted, no times, no owners)."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import IO, cast

from mien.bundle import verify_bundle
from mien.console import SILENT, Progress
from mien.files import replacing
from mien.parts import sweep
from mien.release import MANIFEST

_LEVEL = 10


def write_archive(bundle: Path, out: Path, progress: Progress = SILENT) -> Path:
    """Pack a whole bundle into ``out``.

    Args:
        bundle: the folder.
        out: the file; it appears whole or not at all.
        progress: told about each mebibyte.

    Raises:
        BundleError: the bundle is damaged.
        UnavailableError: the disk is full or read-only.
    """
    import zstandard

    sweep(out)
    manifest = verify_bundle(bundle)
    names = [MANIFEST, *sorted(entry.path for entry in manifest.entries())]
    sizes = {name: (bundle / name).stat().st_size for name in names}
    progress.start("archive, MiB", sum(mebibytes(size) for size in sizes.values()))
    with (
        replacing(out) as stream,
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(stream, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            info = tarfile.TarInfo(f"{manifest.name}-{manifest.version}/{name}")
            info.size = sizes[name]
            info.mode = 0o644
            with (bundle / name).open("rb") as source:
                tar.addfile(info, cast("IO[bytes]", Counted(source, progress)))
    return out


class Counted:
    """A stream that tells how far it was read."""

    def __init__(self, source: IO[bytes], progress: Progress) -> None:
        self._source = source
        self._progress = progress
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """Read on, and tell of it."""
        content = self._source.read(size)
        before = mebibytes(self._read)
        self._read += len(content)
        self._progress.advance(mebibytes(self._read) - before)
        return content


def mebibytes(size: int) -> int:
    """So many are begun by a number of bytes."""
    return -(-size // 2**20)
