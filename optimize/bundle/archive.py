"""A bundle as one file, ``.tar.zst``: same bundle, same bytes (names sorted, no times, no owners)."""

from __future__ import annotations

import tarfile
from pathlib import Path

from mien.bundle import verify_bundle
from mien.files import replacing
from mien.release import MANIFEST

_LEVEL = 10


def write_archive(bundle: Path, out: Path) -> Path:
    """Pack a whole bundle into ``out``.

    Raises:
        BundleError: the bundle is damaged.
        UnavailableError: the disk is full or read-only.
    """
    import zstandard

    manifest = verify_bundle(bundle)
    names = [MANIFEST, *sorted(entry.path for entry in manifest.entries())]
    with (
        replacing(out) as stream,
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(stream, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            info = tarfile.TarInfo(f"{manifest.name}-{manifest.version}/{name}")
            info.size = (bundle / name).stat().st_size
            info.mode = 0o644
            with (bundle / name).open("rb") as source:
                tar.addfile(info, source)
    return out
