"""Signed releases over TUF: ``tuf.ngclient`` checks signatures, versions, expiry, lengths and hashes.

A release's files are targets named ``{name}/{version}/{path in the bundle}``. Every fault of the library becomes an
:class:`UpdateFault` with a code; nothing unsigned ever gets past this file, and nothing at all while the clock cannot
be right (:mod:`edge.update.clock`).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import time
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
    SlowRetrievalError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from edge.transport.fetching import ReleaseFetcher
from edge.transport.retry import RefusedError, ServerBusyError
from edge.update.clock import clock_fault
from edge.update.interface import SignedFile, UpdateFault
from edge.update.ready_made import SignedEngine
from mien.engines import record_from, sidecar_path
from mien.errors import DataError, UnavailableError
from mien.files import write_json
from mien.parts import sweep
from mien.release import MANIFEST, ReleaseRef

_log = logging.getLogger(__name__)

_SEEN = "seen.json"
_CODES: tuple[tuple[type[Exception], str, str], ...] = (
    (
        ExpiredMetadataError,
        "expired_metadata",
        "the fleet's operator must renew its metadata (mien fleet keys status); set this clock if it is ahead",
    ),
    (BadVersionNumberError, "rollback_attack", "ask the fleet's operator whether an old repository was restored"),
    (UnsignedMetadataError, "bad_signature", "do not install; ask the fleet's operator about the keys"),
    (LengthOrHashMismatchError, "hash_mismatch", "do not install; publish the release again"),
    (DownloadLengthMismatchError, "endless_data", "do not install; ask the fleet's operator about the server"),
    (RepositoryError, "bad_signature", "do not install; ask the fleet's operator about the repository"),
    (ServerBusyError, "server_busy", "the device tries again by itself; give the server more room, or a jitter"),
    (RefusedError, "server_refused", "see that metadata and files of the release are served: mien fleet publish"),
    (SlowRetrievalError, "slow_retrieval", "the device tries again by itself; check the network and the server"),
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
        clock: Unix seconds; nothing is judged by a clock that cannot be right.
    """

    def __init__(
        self,
        folder: Path,
        root: bytes,
        *,
        metadata_url: str,
        targets_url: str,
        fetcher: ReleaseFetcher,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._root = root
        self._urls = (metadata_url, targets_url)
        self._fetcher = fetcher
        self._clock = clock
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

    def find_engine(self, path: str) -> SignedEngine | None:
        """See :class:`edge.update.ready_made.EngineSource`."""
        target = self._signed(path)
        if target is None:
            return None
        try:
            record = record_from(target.unrecognized_fields.get("custom"), source=path)
        except DataError as error:
            _log.warning("%s", error)
            return None
        found = [(path, target)]
        if record.sidecar is not None:
            beside = self._signed(sidecar_path(path))
            if beside is None:
                return None
            found.append((sidecar_path(path), beside))
        files = (SignedFile(path=name, size_bytes=one.length, sha256=one.hashes["sha256"]) for name, one in found)
        return SignedEngine(record=record, files=tuple(files))

    def fetch_file(self, path: str, to: Path, on_bytes: Callable[[int], None]) -> None:
        """See :class:`edge.update.ready_made.EngineSource`."""
        target = self._signed(path)
        if target is None:
            raise UpdateFault("not_signed", f"{path} is no longer among the fleet's signed files")
        to.parent.mkdir(parents=True, exist_ok=True)
        with _faults_named(path), self._fetcher.counting(on_bytes):
            self._fresh().download_target(target, str(to))

    def stored_bytes(self) -> int:
        """Room on the disk that unfinished downloads take."""
        return self._fetcher.stored_bytes()

    def forget(self) -> None:
        """Delete unfinished downloads."""
        self._fetcher.clear()

    def _refresh(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._check_clock()
        metadata_url, targets_url = self._urls
        with _faults_named("the fleet's signed metadata"):
            self._updater = None
            updater = Updater(
                str(self._folder),
                metadata_url,
                target_base_url=targets_url,
                fetcher=self._fetcher,
                bootstrap=self._root,
            )
            updater.refresh()
            self._updater = updater
            self._settle()

    def _sweep(self) -> None:
        """Remove what a killed process left half-written; the library writes under names of Python's ``tempfile``."""
        sweep(self._folder / _SEEN)
        for left in self._folder.glob("tmp????????"):
            left.unlink(missing_ok=True)

    def _check_clock(self) -> None:
        fault = clock_fault(self._clock(), _read_seen(self._folder / _SEEN))
        if fault is not None:
            raise UpdateFault(
                "clock_wrong",
                "the device's clock cannot be right, so nothing is installed",
                found=fault,
                wanted="the time of day",
                remedy="set the clock (timedatectl; is the time server reachable?), then deploy again",
            )

    def _settle(self) -> None:
        """What was taken as valid survives a power cut, and so does the moment: the library does not see to it."""
        for path in (*self._folder.glob("*.json"), *self._folder.glob("root_history/*.json")):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        write_json(self._folder / _SEEN, {"valid_at": self._clock()})

    def _fresh(self) -> Updater:
        if self._updater is None:
            self._refresh()
        if self._updater is None:
            raise UpdateFault("internal", "signed metadata was not loaded")
        return self._updater

    def _target(self, release: ReleaseRef, path: str) -> TargetFile:
        target = self._signed(f"{release.name}/{release.version}/{path}")
        if target is None:
            raise UpdateFault(
                "not_signed",
                f"{path} of {release} is not among the fleet's signed files",
                remedy="publish the release: mien fleet publish BUNDLE",
            )
        return target

    def _signed(self, path: str) -> TargetFile | None:
        with _faults_named(path):
            target = self._fresh().get_targetinfo(path)
        return target if target is not None and "sha256" in target.hashes else None


def _read_seen(path: Path) -> float | None:
    """When metadata was last valid by this device's clock."""
    try:
        return float(json.loads(path.read_bytes())["valid_at"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is damaged (%s); the clock is held against the date of this version alone", path, error)
        return None


@contextmanager
def _faults_named(what: str) -> Iterator[None]:
    try:
        yield
    except (RepositoryError, DownloadError) as error:
        code, remedy = code_of(error)
        fault = UpdateFault(code, f"could not take {what}", found=str(error), remedy=remedy)
        fault.wait_s = error.wait_s if isinstance(error, ServerBusyError) else None
        raise fault from error
    except UnavailableError as error:
        raise _disk_fault(what, error, error.__cause__) from error
    except OSError as error:
        raise _disk_fault(what, error, error) from error


def _disk_fault(what: str, error: Exception, cause: BaseException | None) -> UpdateFault:
    if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
        return UpdateFault(
            "no_space", f"no room on the disk for {what}", found=str(error), remedy="free some space on the device"
        )
    return UpdateFault("internal", f"could not store {what}", found=str(error))


def code_of(error: Exception) -> tuple[str, str]:
    """The error code and remedy for an error of the TUF library."""
    for kind, code, remedy in _CODES:
        if isinstance(error, kind):
            return code, remedy
    return "internal", ""
