"""Verification for a sample of the simulated devices: the TUF client over HTTP, and the file that the device would run.

Signatures, versions, expiry, lengths and hashes are checked by ``tuf.ngclient``, the variant is chosen by the device's
facts, and its bytes are really fetched, then thrown away. Runs on a few threads beside the loop.
"""

from __future__ import annotations

import base64
import json
import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.ngclient import FetcherInterface, Updater

from fleet.simulator.interface import Check, Checked
from mien.errors import BundleError, MienError
from mien.facts import DeviceFacts
from mien.release import MANIFEST, Refusal, choose_variant, parse_manifest

_TIMEOUT_S = 20.0
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (ExpiredMetadataError, "expired_metadata"),
    (LengthOrHashMismatchError, "hash_mismatch"),
    (DownloadError, "network"),
    (RepositoryError, "bad_signature"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A device's question, and who gets the answer."""

    device_id: str
    facts: DeviceFacts
    check: Check


class Checker:
    """Answers questions on threads of its own.

    Args:
        url: the service's address.
        fleet: what enrolment told: ``ca_pem``, ``tuf``.
        trust: for https, as httpx takes it.
        answered: takes each answer, in one of the threads.
        threads: how many.
    """

    def __init__(
        self,
        url: str,
        fleet: dict[str, Any],
        trust: ssl.SSLContext | bool,
        answered: Callable[[Asking, Checked], None],
        *,
        threads: int = 2,
    ) -> None:
        self._root = base64.b64decode(fleet["tuf"]["root"])
        self._bases = [url.rstrip("/") + fleet["tuf"][name] for name in ("metadata_url", "targets_url")]
        self._http = httpx.Client(timeout=_TIMEOUT_S, verify=trust)
        self._answered = answered
        self._questions: queue.SimpleQueue[Asking | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"check-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def ask(self, asking: Asking) -> None:
        """Put a question."""
        self._questions.put(asking)

    def close(self) -> None:
        """End the threads after what they do now."""
        for _ in self._threads:
            self._questions.put(None)
        for thread in self._threads:
            thread.join(_TIMEOUT_S)
        self._http.close()

    def answer(self, asking: Asking) -> Checked:
        """Verify a release from nothing but the first root, and fetch what the device would run."""
        with TemporaryDirectory(prefix="mien-simulated-") as folder:
            try:
                return self._verified(asking, Path(folder))
            except _Refused as error:
                return Checked(code=error.code, message=str(error))
            except BundleError as error:
                return Checked(code="manifest_mismatch", message=str(error))
            except (RepositoryError, DownloadError) as error:
                code = next(code for kind, code in _CODES if isinstance(error, kind))
                return Checked(code=code, message=str(error))

    def _verified(self, asking: Asking, folder: Path) -> Checked:
        updater = Updater(
            metadata_dir=str(folder),
            metadata_base_url=self._bases[0],
            target_base_url=self._bases[1],
            target_dir=str(folder),
            fetcher=_Fetcher(self._http),
            bootstrap=self._root,
        )
        updater.refresh()
        prefix = f"{asking.check.release.name}/{asking.check.release.version}/"
        target = updater.get_targetinfo(prefix + MANIFEST)
        if target is None:
            raise _Refused("not_signed", f"{asking.check.release} is not among the signed releases")
        if target.hashes["sha256"] != asking.check.manifest_sha256:
            raise _Refused("manifest_mismatch", "the signed manifest is not the one that the deployment means")
        place = folder / MANIFEST
        updater.download_target(target, str(place))
        manifest = parse_manifest(place.read_bytes(), source=str(asking.check.release))
        choice = choose_variant(manifest, asking.facts)
        if isinstance(choice, Refusal):
            raise _Refused("incompatible", "; ".join(choice.reasons))
        wanted = updater.get_targetinfo(prefix + choice.variant.path)
        if wanted is None:
            raise _Refused("not_signed", f"{choice.variant.path} is not among the signed files")
        updater.download_target(wanted, str(folder / "variant"))
        return Checked(code=None, variant=choice.variant.path, bytes_read=wanted.length + target.length)

    def _run(self) -> None:
        while (asking := self._questions.get()) is not None:
            try:
                result = self.answer(asking)
            except (MienError, OSError, ValueError, json.JSONDecodeError) as error:
                result = Checked(code="internal", message=str(error))
            self._answered(asking, result)


class _Refused(Exception):  # noqa: N818 - the update's word
    """The release is refused, for a reason which has a code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Fetcher(FetcherInterface):
    """Fetches over one pool of connections."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def _fetch(self, url: str) -> Iterator[bytes]:
        with self._http.stream("GET", url) as answer:
            if answer.is_error:
                raise DownloadHTTPError(f"{url}: {answer.status_code}", answer.status_code)
            yield from answer.iter_bytes()
