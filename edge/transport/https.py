"""Fetches signed metadata and release files for TUF, and goes on where an interrupted download stopped.

A release file arrives in ``FOLDER/<hash of its address>.part``. Addresses of targets carry the content's hash
(consistent snapshots), so what stands in a part file always belongs to the file that is fetched. A part that turns out
wrong is deleted, one that was cut off is kept: over retries, restarts and kills. Nothing here is trusted: lengths and
hashes are checked by :mod:`tuf.ngclient`.

A large file is asked for in blocks, each flushed to the disk when it is whole: whatever cuts a download off, one block
at most is sent a second time.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO, FileIO
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

from edge.transport.answers import HEAD_WITHIN_S, Answers
from edge.transport.fetching import ReleaseFetcher
from edge.transport.fleet_http import tls_context
from edge.transport.pace import Pace
from edge.transport.retry import Failure, RefusedError, ServerBusyError, failure_of, pause_s, shed_s

_log = logging.getLogger(__name__)

BLOCK_BYTES = 4 << 20
"""So much of a file is asked for at once."""
_TIMEOUT_S = 15.0
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_AS_IT_IS = {"Accept-Encoding": "identity"}
"""A compressed answer has other bytes than the file, and ranges of it mean others too. What comes is taken as it came:
unpacking what was not asked for would let a few bytes fill the memory before any length is looked at."""


class ResumingFetcher(ReleaseFetcher):
    """A TUF fetcher over HTTP with range requests.

    Args:
        part_folder: where unfinished files stay.
        targets_url: addresses below it are release files, fetched into parts; all others are small metadata.
        attempts: how often a file is tried without a byte of progress.
        ca_pem: with https, the only authority that is trusted.
        pace: makes what watches one transfer for being too slow.
        head_within_s: how long an answer may take to begin.
        block_bytes: so much of a file is asked for at once.
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
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._block_bytes = block_bytes
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
            except (httpx.TransportError, DownloadHTTPError) as error:
                if isinstance(error, RefusedError):
                    raise
                if attempt == self._attempts - 1:
                    raise _download_error(url, error) from error
                _pause(attempt)
        raise DownloadError(f"{url} was not tried")

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The answer in pieces as they come: who counts them can end it."""
        with self._answers.get(url, _AS_IT_IS) as response:
            _check(response, url)
            pace = self._pace()
            for chunk in response.iter_raw():
                yield chunk
                pace.saw(len(chunk))

    def _fill(self, url: str, part: Path, max_length: int) -> None:
        if _size(part) > max_length:
            part.unlink()
        fruitless, is_there = 0, _size(part) == max_length > 0
        while not is_there:
            before, error = _size(part), None
            try:
                is_there = self._append(url, part, max_length)
            except RefusedError:
                raise
            except (httpx.TransportError, DownloadHTTPError) as failure:
                error = failure
            fruitless = 0 if _size(part) > before else fruitless + 1
            if not is_there and fruitless >= self._attempts:
                raise _download_error(url, error) from error
            if error is not None:
                _log.info("download of %s was cut off (%s); going on", url, error)
                _pause(fruitless)

    def _append(self, url: str, part: Path, max_length: int) -> bool:
        """Ask for the next block, and keep what comes of it; whether all is there that the server has."""
        have = _size(part)
        end = min(have + self._block_bytes, max_length)
        whole = have == 0 and end == max_length
        ranges = {} if whole else {"Range": f"bytes={have}-{end - 1}"}
        with self._answers.get(url, {**_AS_IT_IS, **ranges}) as response:
            if response.status_code == _RANGE_NOT_SATISFIABLE and have:
                part.unlink()
                raise httpx.ReadError("the part does not belong to this file")
            _check(response, url)
            resumed = response.status_code == _PARTIAL_CONTENT
            first, last = _range_of(response) if resumed else (0, 0)
            if first != (have if resumed else 0):
                raise DownloadError(f"{url} answered with another range than was asked for")
            with part.open("ab" if resumed else "wb", buffering=0) as stream:
                self._keep(response, url, stream, max_length)
        return not resumed or _size(part) >= min(last, max_length)

    def _keep(self, response: httpx.Response, url: str, stream: FileIO, max_length: int) -> None:
        pace = self._pace()
        for chunk in response.iter_raw():
            if stream.tell() + len(chunk) > max_length:
                raise DownloadLengthMismatchError(f"{url} is longer than the signed {max_length} bytes")
            if stream.write(chunk) != len(chunk):
                raise OSError(errno.ENOSPC, "the disk took a part of what came")
            pace.saw(len(chunk))
            self._on_bytes(len(chunk))
        os.fsync(stream.fileno())


def _nobody(_: int) -> None:
    """Nobody counts."""


def _download_error(url: str, error: Exception | None) -> DownloadError:
    if isinstance(error, httpx.TimeoutException):
        return SlowRetrievalError(f"{url} did not answer in time")
    return DownloadError(f"could not fetch {url}: {error or 'nothing came'}")


def _check(response: httpx.Response, url: str) -> None:
    if response.is_success:
        return
    failure = failure_of(response.status_code)  # a redirection is no content
    if failure is Failure.SHED:
        raise ServerBusyError(url, shed_s(response.headers.get("Retry-After"), time.time()))
    kind = RefusedError if failure is Failure.REFUSED else DownloadHTTPError
    raise kind(f"{url} answered {response.status_code}", response.status_code)


def _range_of(response: httpx.Response) -> tuple[int, int]:
    """Where a partial answer begins, and the length of the whole file, from ``bytes 5-9/10``."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2])) if found else (-1, 0)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _pause(attempt: int) -> None:
    time.sleep(pause_s(attempt, random.random()))  # noqa: S311 - jitter, no secret
