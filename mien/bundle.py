"""A release bundle on disk: reads its manifest and holds every byte against it. Leaves packing to ``optimize``.

A bundle holds exactly the files that its manifest names, besides the manifest: none missing, none extra, no links.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mien.errors import BundleError
from mien.files import sha256_of
from mien.release import MANIFEST, FileEntry, Manifest, Variant, parse_manifest

_AGAIN = "copy the bundle again from where it was packed, or pack it again: mien optimize run"
_ARCHIVE = ".tar.zst"
_LONGEST_MANIFEST_BYTES = 4 << 20


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest without looking at its files.

    Raises:
        BundleError: no such folder (an archive of one says how to unpack it), no manifest in it, or not a manifest.
    """
    path = folder / MANIFEST
    if folder.is_file():
        raise _packed(folder)
    try:
        if path.is_symlink() or path.stat().st_size > _LONGEST_MANIFEST_BYTES:
            raise BundleError(f"{path} is a link or too long for a manifest", remedy=_AGAIN)
        content = path.read_bytes()
    except PermissionError as error:
        raise _unreadable(path, folder, error) from error
    except OSError as error:
        raise BundleError(
            f"{folder} is not a release bundle",
            found=f"{MANIFEST}: {error.strerror}",
            wanted=f"a folder with a {MANIFEST}",
            remedy="check the path; make a bundle with: mien optimize run",
        ) from error
    if not content:
        raise BundleError(f"{path} is empty", found="0 bytes", remedy=_AGAIN)
    return parse_manifest(content, source=str(path))


def verify_bundle(folder: Path) -> Manifest:
    """Read a bundle's manifest and check every file's length and SHA-256 against it.

    Raises:
        BundleError: a file differs (with the file, what was found and what was wanted), is missing, is extra or a link.
    """
    manifest = read_manifest(folder)
    wanted = {entry.path: entry for entry in manifest.entries()}
    found = _files_in(folder)
    missing = sorted(set(wanted) - found)
    if missing:
        raise BundleError(f"{folder} lacks files that its manifest names", found=", ".join(missing), remedy=_AGAIN)
    extra = sorted(found - set(wanted) - {MANIFEST})
    if extra:
        raise BundleError(
            f"{folder} holds files that its manifest does not name",
            found=", ".join(extra[:8]),
            remedy="remove them; a bundle is signed as a whole",
        )
    for entry in wanted.values():
        _check(folder, entry)
    return manifest


def _packed(file: Path) -> BundleError:
    """What is said of a file where a folder belongs; an archive of a bundle gets the command that unpacks it."""
    if not file.name.endswith(_ARCHIVE):
        return BundleError(
            f"{file} is not a release bundle",
            found="a file",
            wanted=f"a folder with a {MANIFEST}",
            remedy="name the folder; make one with: mien optimize run",
        )
    archive, folder = shlex.quote(str(file)), shlex.quote(str(file.with_name(file.name.removesuffix(_ARCHIVE))))
    return BundleError(
        f"{file} is a packed bundle",
        found="an archive",
        wanted="the folder that was packed",
        remedy=f"unpack it first: mien optimize unpack {archive} --out {folder}; where mien optimize is not installed: "
        f"mkdir {folder} && tar --zstd -xf {archive} -C {folder} --strip-components=1",
    )


def _unreadable(path: Path, folder: Path, error: OSError) -> BundleError:
    """What is said of a file that may be whole, and cannot be read."""
    return BundleError(
        f"could not read {path}",
        found=error.strerror or str(error),
        wanted="a bundle that this user may read",
        remedy=f"run as a user who may, or: sudo chmod -R a+rX {shlex.quote(str(folder))}",
    )


def _files_in(folder: Path) -> set[str]:
    files: set[str] = set()
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place) / name
            if path.is_symlink():
                raise BundleError(f"{path} is a link", wanted="plain files only", remedy=_AGAIN)
        files |= {(Path(place) / name).relative_to(folder).as_posix() for name in names}
    return files


def _check(folder: Path, entry: Variant | FileEntry) -> None:
    path = folder / entry.path
    size_bytes = path.stat().st_size
    if size_bytes != entry.size_bytes:
        raise BundleError(
            f"{path} has changed since it was packed",
            found=f"{size_bytes} bytes",
            wanted=f"{entry.size_bytes} bytes",
            remedy=_AGAIN,
        )
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise _unreadable(path, folder, error) from error
    if digest != entry.sha256:
        raise BundleError(
            f"{path} has changed since it was packed",
            found=f"sha256 {digest}",
            wanted=f"sha256 {entry.sha256}",
            remedy=_AGAIN,
        )
