"""Fetches signed metadata and release files for TUF, and goes on where an interrupted download stopped.

A release file arrives in ``FOLDER/<hash of its address>.part``. Addresses of targets carry the content's hash
(consistent snapshots), so what stands in a part file always belongs to the file that is fetched. A part that turns out
wrong is deleted, one that was cut off is kept: over retries, restarts and kills. Nothing here is trusted: lengths and
hashes are checked by :mod:`tuf.ngclient`.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO
from urllib.parse import quote

import httpx
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient import FetcherInterface

from edge.transport.answers import HEAD_WITHIN_S, Answers
from edge.transport.fleet_http import tls_context
from edge.transport.pace import Pace

_log = logging.getLogger(__name__)

_TIMEOUT_S = 15.0
_FIRST_PAUSE_S = 0.3
_LONGEST_PAUSE_S = 10.0
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
_SERVER_ERROR = 500


class ResumingFetcher(FetcherInterface):
    """A TUF fetcher over HTTP with range requests.

    Args:
        part_folder: where unfinished files stay.
        targets_url: addresses below it are release files, fetched into parts; all others are small metadata.
        attempts: how often a file is tried without a byte of progress.
        ca_pem: with https, the only authority that is trusted.
        pace: makes what watches one transfer for being too slow.
        head_within_s: how long an answer may take to begin.
    """

    def __init__(
        self,
        part_folder: Path,
        targets_url: str,
        *,
        attempts: int = 8,
        ca_pem: str | None = None,
        pace: Callable[[], Pace] = Pace,
        head_within_s: float = HEAD_WITHIN_S,
    ) -> None:
        self._parts = part_folder
        self._targets_url = targets_url
        self._attempts = attempts
        self._pace = pace
        self._client = httpx.Client(timeout=_TIMEOUT_S, verify=tls_context(ca_pem))
        self._answers = Answers(self._client, head_within_s)
        self._on_bytes: Callable[[int], None] = _nobody
        part_folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Close the connections; parts stay."""
        self._client.close()

    def part_of(self, url: str) -> Path:
        """Where an unfinished download of this address stands."""
        return self._parts / f"{hashlib.sha256(url.encode()).hexdigest()[:40]}.part"

    def stored_bytes(self) -> int:
        """Bytes that stand in parts."""
        return sum(path.stat().st_size for path in self._parts.glob("*.part"))

    def clear(self) -> None:
        """Delete all parts: the release they belong to is finished or given up."""
        for path in self._parts.glob("*.part"):
            path.unlink(missing_ok=True)

    @contextmanager
    def counting(self, on_bytes: Callable[[int], None]) -> Iterator[None]:
        """Tell ``on_bytes`` of every piece of a release file that arrives while the block runs; it may raise."""
        self._on_bytes = on_bytes
        try:
            yield
        finally:
            self._on_bytes = _nobody

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """As TUF's own, but a release file goes through a part that outlives this process."""
        if not url.startswith(self._targets_url):
            yield BytesIO(self._small(url, max_length))
            return
        part = self.part_of(url)
        self._fill(quote(url, safe=":/%"), part, max_length)
        try:
            with part.open("rb") as stream:
                yield stream
        except LengthOrHashMismatchError:
            part.unlink(missing_ok=True)
            raise
        part.unlink(missing_ok=True)

    def _small(self, url: str, max_length: int) -> bytes:
        """Metadata, tried again from its beginning when it was cut off."""
        for attempt in range(self._attempts):
            try:
                with super().download_file(url, max_length) as stream:
                    return bytes(stream.read())
            except httpx.TransportError as error:
                if attempt == self._attempts - 1:
                    raise _download_error(url, error) from error
                _pause(attempt)
        raise DownloadError(f"{url} was not tried")

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The answer in pieces as they come: who counts them can end it."""
        with self._answers.get(url) as response:
            if not response.is_success:  # a redirection is no content
                raise DownloadHTTPError(f"{url} answered {response.status_code}", response.status_code)
            pace = self._pace()
            for chunk in response.iter_bytes():
                yield chunk
                pace.saw(len(chunk))

    def _fill(self, url: str, part: Path, max_length: int) -> None:
        fruitless = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                self._append(url, part, max_length)
            except (httpx.TransportError, DownloadHTTPError) as error:
                if isinstance(error, DownloadHTTPError) and error.status_code < _SERVER_ERROR:
                    raise
                grown = part.exists() and part.stat().st_size > before
                fruitless = 0 if grown else fruitless + 1
                if fruitless >= self._attempts:
                    raise _download_error(url, error) from error
                _log.info("download of %s was cut off (%s); going on", url, error)
                _pause(fruitless)
            else:
                return

    def _append(self, url: str, part: Path, max_length: int) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have > max_length:
            part.unlink()
            have = 0
        if have == max_length > 0:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._answers.get(url, headers) as response:
            if response.status_code == _RANGE_NOT_SATISFIABLE and have:
                part.unlink()
                raise httpx.ReadError("the part does not belong to this file")
            if not response.is_success:  # a redirection is no content
                raise DownloadHTTPError(f"{url} answered {response.status_code}", response.status_code)
            resumed = response.status_code == _PARTIAL_CONTENT
            have = have if resumed else 0
            pace = self._pace()
            with part.open("ab" if resumed else "wb") as stream:
                for chunk in response.iter_bytes():
                    have += len(chunk)
                    if have > max_length:
                        raise DownloadLengthMismatchError(f"{url} is longer than the signed {max_length} bytes")
                    stream.write(chunk)
                    pace.saw(len(chunk))
                    self._on_bytes(len(chunk))


def _nobody(_: int) -> None:
    """Nobody counts."""


def _download_error(url: str, error: Exception) -> DownloadError:
    if isinstance(error, httpx.TimeoutException):
        return SlowRetrievalError(f"{url} did not answer in time")
    return DownloadError(f"could not fetch {url}: {error}")


def _pause(attempt: int) -> None:
    pause_s = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
    time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
