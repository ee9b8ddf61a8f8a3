"""Signed releases over TUF: ``tuf.ngclient`` checks signatures, versions, expiry, lengths and hashes.

A release's files are targets named ``{name}/{version}/{path in the bundle}``. Every fault of the library becomes an
:class:`UpdateFault` with a code; nothing unsigned ever gets past this file.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from edge.transport.https import ResumingFetcher
from edge.update.interface import SignedFile, UpdateFault
from mien.release import MANIFEST, ReleaseRef

_CODES: tuple[tuple[type[Exception], str, str], ...] = (
    (ExpiredMetadataError, "expired_metadata", "the fleet's operator must renew the repository's metadata"),
    (BadVersionNumberError, "rollback_attack", "ask the fleet's operator whether an old repository was restored"),
    (UnsignedMetadataError, "bad_signature", "do not install; ask the fleet's operator about the keys"),
    (LengthOrHashMismatchError, "hash_mismatch", "do not install; publish the release again"),
    (DownloadLengthMismatchError, "hash_mismatch", "do not install; publish the release again"),
    (RepositoryError, "bad_signature", "do not install; ask the fleet's operator about the repository"),
    (DownloadError, "network", "the device tries again by itself; check the network"),
)
"""By exception, the most special first."""


class TufSource:
    """Releases of one fleet.

    Args:
        folder: where verified metadata is kept, so that the repository can never go back: ``STATE/tuf``.
        root: the first root metadata, from enrolment.
        metadata_url: where metadata is.
        targets_url: where files are.
        fetcher: fetches both.
    """

    def __init__(
        self, folder: Path, root: bytes, *, metadata_url: str, targets_url: str, fetcher: ResumingFetcher
    ) -> None:
        self._folder = folder
        self._root = root
        self._urls = (metadata_url, targets_url)
        self._fetcher = fetcher
        self._updater: Updater | None = None

    def manifest(self, release: ReleaseRef) -> tuple[bytes, str]:
        """A release's manifest and its signed SHA-256; asks for fresh metadata first."""
        self._refresh()
        target = self._target(release, MANIFEST)
        path = self._folder / "manifest.json"
        with _faults_named(f"the manifest of {release}"):
            self._fresh().download_target(target, str(path))
        return path.read_bytes(), target.hashes["sha256"]

    def describe(self, release: ReleaseRef, path: str) -> SignedFile:
        """What is signed about a file."""
        target = self._target(release, path)
        return SignedFile(path=path, size_bytes=target.length, sha256=target.hashes["sha256"])

    def fetch(self, release: ReleaseRef, path: str, to: Path, on_bytes: Callable[[int], None]) -> None:
        """Bring a file to ``to``, checked; goes on where an earlier try stopped."""
        target = self._target(release, path)
        to.parent.mkdir(parents=True, exist_ok=True)
        with _faults_named(f"{path} of {release}"), self._fetcher.counting(on_bytes):
            self._fresh().download_target(target, str(to))

    def forget(self) -> None:
        """Delete unfinished downloads."""
        self._fetcher.clear()

    def _refresh(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        metadata_url, targets_url = self._urls
        with _faults_named("the fleet's signed metadata"):
            self._updater = Updater(
                str(self._folder),
                metadata_url,
                target_base_url=targets_url,
                fetcher=self._fetcher,
                bootstrap=self._root,
            )
            self._updater.refresh()

    def _fresh(self) -> Updater:
        if self._updater is None:
            self._refresh()
        if self._updater is None:
            raise UpdateFault("internal", "signed metadata was not loaded")
        return self._updater

    def _target(self, release: ReleaseRef, path: str) -> TargetFile:
        with _faults_named(f"{path} of {release}"):
            target = self._fresh().get_targetinfo(f"{release.name}/{release.version}/{path}")
        if target is None or "sha256" not in target.hashes:
            raise UpdateFault(
                "not_signed",
                f"{path} of {release} is not among the fleet's signed files",
                remedy="publish the release: mien fleet publish BUNDLE",
            )
        return target


@contextmanager
def _faults_named(what: str) -> Iterator[None]:
    try:
        yield
    except (RepositoryError, DownloadError) as error:
        code, remedy = code_of(error)
        raise UpdateFault(code, f"could not take {what}", found=str(error), remedy=remedy) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise UpdateFault(
                "no_space", f"no room on the disk for {what}", found=str(error), remedy="free some space on the device"
            ) from error
        raise UpdateFault("internal", f"could not store {what}", found=str(error)) from error


def code_of(error: Exception) -> tuple[str, str]:
    """The error code and remedy for an error of the TUF library."""
    for kind, code, remedy in _CODES:
        if isinstance(error, kind):
            return code, remedy
    return "internal", ""
