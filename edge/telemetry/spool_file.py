"""The spool's file: how it is opened and judged, set aside when damaged, and what is read out of a damaged one."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from mien.errors import UnavailableError

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    stored_s REAL NOT NULL DEFAULT 0,
    span_s REAL NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0,
    payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS latest (channel TEXT PRIMARY KEY, payload BLOB NOT NULL);
"""
_OF_BEFORE = """
BEGIN;
ALTER TABLE outbox RENAME TO outbox_before;
DROP TABLE latest;
{schema}
INSERT INTO outbox (id, channel, sent, payload) SELECT id, channel, 1, payload FROM outbox_before;
DROP TABLE outbox_before;
COMMIT;
"""
"""Takes over a file of the version before; whether its messages were sent is unknown, so they count as sent."""
_SIDE_FILES = ("", "-wal", "-shm")
_CACHE_KIB = 256
"""Pages that SQLite keeps in memory; the spool is written once and read once, so more would serve nobody."""
_LOG_PAGES = 256
"""A megabyte of log: written back every few minutes, and no more than that is in the way on a small disk."""
_AS_FOUND = "-as-found"
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_KEPT_ASIDE = 3
_SALVAGED = {
    "outbox": "id, channel, stored_s, span_s, sent, payload",
    "counters": "name, value",
    "latest": "channel, payload",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A spool that could not be read and was replaced."""

    reason: str
    aside: str
    """The name it has now."""
    salvaged: int
    """Messages that were read out of it."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file's content is wrong, and not the disk full, locked or away: those are operational errors."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError
    )


def open_spool(path: Path) -> tuple[sqlite3.Connection, Damage | None]:
    """The file, or a new one in place of one that is damaged.

    Raises:
        UnavailableError: it can be neither read nor made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connected(path), None
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return replace_spool(path, error)
        raise _unavailable(path, error) from error
    except OSError as error:
        raise _unavailable(path, error) from error


def replace_spool(path: Path, reason: sqlite3.Error) -> tuple[sqlite3.Connection, Damage]:
    """Set a damaged file aside and begin a new one with what can be read of the old; nothing may have it open.

    Raises:
        UnavailableError: the folder cannot be written to.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    try:
        for suffix in _SIDE_FILES:
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
        connection = _connected(path)
        _mend_header(aside, path)
        salvaged = _salvage(aside, connection)
        _forget_old(path)
    except (OSError, sqlite3.Error) as error:
        raise _unavailable(path, error) from error
    _log.error(
        "the spool %s is damaged (%s); it was set aside as %s, %d messages were saved",
        path,
        reason,
        aside.name,
        salvaged,
    )
    return connection, Damage(reason=str(reason), aside=aside.name, salvaged=salvaged)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=10, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_PAGES * 4096}")
        present = {row[1] for row in connection.execute("PRAGMA table_info(outbox)")}
        is_of_before = bool(present) and "sent" not in present
        connection.executescript(_OF_BEFORE.format(schema=_SCHEMA) if is_of_before else _SCHEMA)
        connection.execute("CREATE INDEX IF NOT EXISTS outbox_by_channel ON outbox (channel, id)")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict).replace("\n", " "))
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _mend_header(aside: Path, fresh: Path) -> None:
    """Where a file does not even begin as one of SQLite, give it the header of a new one and its own length.

    The file as it was found is kept beside it.
    """
    with aside.open("r+b") as damaged, fresh.open("rb") as whole:
        header = bytearray(whole.read(_HEADER_BYTES))
        if damaged.read(len(_MAGIC)) == _MAGIC or len(header) < _HEADER_BYTES:
            return
        shutil.copyfile(aside, aside.with_name(aside.name + _AS_FOUND))
        page_bytes = int.from_bytes(header[16:18], "big")
        header[28:32] = (aside.stat().st_size // page_bytes).to_bytes(4, "big")
        header[32:40] = bytes(8)  # no list of free pages
        header[92:96] = header[24:28]  # the length is valid
        damaged.seek(0)
        damaged.write(header)


def _salvage(aside: Path, target: sqlite3.Connection) -> int:
    """Copy every row that can be reached from either end of its table."""
    saved: dict[str, int] = {}
    for table, columns in _SALVAGED.items():
        rows = [*_readable(aside, table, columns, "ASC"), *_readable(aside, table, columns, "DESC")]
        places = ", ".join("?" for _ in columns.split(", "))
        with target:
            target.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608
        saved[table] = target.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]  # noqa: S608
    return saved["outbox"]


def _readable(aside: Path, table: str, columns: str, order: str) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(aside)) as source:
        source.text_factory = bytes
        for row in source.execute(f"SELECT {columns} FROM {table} NOT INDEXED ORDER BY rowid {order}"):  # noqa: S608
            kept = _usable(row)
            if kept is not None:
                rows.append(kept)
    return rows


def _usable(row: tuple[object, ...]) -> tuple[object, ...] | None:
    """A row with its texts read; a text that is none was overwritten."""
    first, second = row[0], row[1]
    try:
        if isinstance(first, bytes) and isinstance(second, bytes | int):  # a counter, or the latest of a channel
            return (first.decode("ascii"), *row[1:])
        if isinstance(second, bytes) and isinstance(row[-1], bytes):  # an outbox row
            return (first, second.decode("ascii"), *row[2:])
    except UnicodeDecodeError:
        return None
    return None


def _forget_old(path: Path) -> None:
    aside = sorted(path.parent.glob(f"{path.name}.damaged-*[0-9]"))
    for old in aside[:-_KEPT_ASIDE]:
        for suffix in (*_SIDE_FILES, _AS_FOUND):
            old.with_name(old.name + suffix).unlink(missing_ok=True)


def _unavailable(path: Path, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"could not make the spool {path}",
        found=str(error),
        remedy="choose a writable state folder on a disk with free space",
    )
