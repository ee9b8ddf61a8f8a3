"""The anchor of the audit record: its heads, noted in a file beside the database, so that a shorter record shows.

A head is added only while the one before it is still part of the record; after that the file says what was there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from fleet.people.chain import Head
from fleet.store.database import Store
from mien.errors import TrustError
from mien.files import disk_error

_log = logging.getLogger(__name__)


class Anchor:
    """Notes heads.

    Args:
        store: where the record is.
        path: the file; a line for each head, only ever added to.
        clock: Unix seconds.
    """

    def __init__(self, store: Store, path: Path, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._path = path
        self._clock = clock
        self._last: Head | None = None

    def run(self) -> None:
        """Note the present head if it is a new one.

        Raises:
            UnavailableError: the file cannot be read or written.
            TrustError: the file is damaged.
        """
        last = self._last or next(reversed(read_anchors(self._path)), Head())
        with self._store.read() as work:
            head, same = work.audit.head(), work.audit.digest_of(last.id)
        if last.id and same != last.sha256:
            _log.error("the audit record has lost entry %d or had it changed: mien fleet audit verify", last.id)
            return
        if head != last:
            self._add(head)
        self._last = head

    def _add(self, head: Head) -> None:
        line = f"{head.id} {head.sha256} {self._clock():.3f}\n"
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                if self._last is None:  # the first since the start: what a power cut left half-written goes
                    os.ftruncate(descriptor, self._path.read_bytes().rfind(b"\n") + 1)
                os.write(descriptor, line.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise disk_error(self._path, error) from error


def read_anchors(path: Path) -> list[Head]:
    """All heads that were noted, oldest first; none without a file. A last line cut short by a power cut is left out.

    Raises:
        UnavailableError: the file cannot be read.
        TrustError: it holds something else.
    """
    try:
        lines = path.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_error(path, error) from error
    heads = []
    for line in lines:
        parts = line.split()
        if not line.endswith("\n"):
            break
        if len(parts) != 3 or not parts[0].isdigit():  # noqa: PLR2004 - id, digest, time
            raise TrustError(f"the anchor {path} is damaged", found=line[:80].strip(), wanted="ID SHA256 TIME")
        heads.append(Head(id=int(parts[0]), sha256=parts[1]))
    return heads
