"""Keeps what must reach the fleet until the broker has acknowledged it: a small SQLite file in WAL mode.

A message goes to the disk first and to the network second, so that an outage or a kill loses nothing. When the spool is
full, the oldest telemetry windows give way first; events and update reports stay as long as they can.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mien import topics
from mien.errors import UnavailableError

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    payload BLOB NOT NULL,
    stored_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS latest (channel TEXT PRIMARY KEY, payload BLOB NOT NULL, stored_at REAL NOT NULL);
"""
_PRUNE_SHARE = 20
"""A full spool loses this part (a twentieth) at once, so that it does not prune at every message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolItem:
    """A message that waits."""

    item_id: int
    channel: str
    payload: bytes


class Spool:
    """Messages on their way, oldest first. Safe to use from several threads.

    Args:
        path: the SQLite file; one that is damaged is set aside, with its reason logged, and a new one begun.
        most_rows: the most messages kept.

    Raises:
        UnavailableError: the file cannot be made.
    """

    def __init__(self, path: Path, *, most_rows: int) -> None:
        self._path = path
        self._most_rows = most_rows
        self._lock = threading.Lock()
        self.lost = 0
        """Messages given up since the start: pruned, or refused by the disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = self._opened()

    def put(self, channel: str, payload: bytes) -> bool:
        """Store a message; ``False`` when the disk refused it (logged and counted, never raised)."""
        try:
            with self._writing() as connection:
                connection.execute(
                    "INSERT INTO outbox (channel, payload, stored_at) VALUES (?, ?, ?)", (channel, payload, time.time())
                )
                connection.execute(
                    "INSERT OR REPLACE INTO latest (channel, payload, stored_at) VALUES (?, ?, ?)",
                    (channel, payload, time.time()),
                )
                self._prune(connection)
        except sqlite3.Error as error:
            self.lost += 1
            _log.error("could not keep a message on channel %s: %s", channel, error)
            return False
        return True

    def waiting(self, *, after: int, most: int) -> list[SpoolItem]:
        """Up to ``most`` messages with a number above ``after``, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, channel, payload FROM outbox WHERE id > ? ORDER BY id LIMIT ?", (after, most)
            ).fetchall()
        return [SpoolItem(item_id=row[0], channel=row[1], payload=row[2]) for row in rows]

    def latest(self, channel: str) -> bytes | None:
        """The last message put on a channel, whether or not it was sent since."""
        with self._lock:
            row = self._connection.execute("SELECT payload FROM latest WHERE channel = ?", (channel,)).fetchone()
        return row[0] if row else None

    def done(self, item_id: int) -> None:
        """Forget a message: the broker has it."""
        with self._writing() as connection:
            connection.execute("DELETE FROM outbox WHERE id = ?", (item_id,))

    def next_number(self, counter: str) -> int:
        """The next value of a counter that survives restarts, from 1."""
        with self._writing() as connection:
            row = connection.execute(
                "INSERT INTO counters (name, value) VALUES (?, 1) "
                "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                (counter,),
            ).fetchone()
        return int(row[0])

    def __len__(self) -> int:
        """How many messages wait."""
        with self._lock:
            return int(self._connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection as connection:
            yield connection

    def _prune(self, connection: sqlite3.Connection) -> None:
        count = connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0]
        if count <= self._most_rows:
            return
        excess = count - self._most_rows + self._most_rows // _PRUNE_SHARE
        connection.execute(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY channel <> ?, id LIMIT ?)",
            (topics.WINDOW, excess),
        )
        self.lost += excess
        _log.warning("the spool is full (%d messages); the oldest %d were given up", count, excess)

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
            _log.error("the spool %s is damaged (%s); it was set aside as %s", self._path, error, aside.name)
            try:
                self._path.replace(aside)
                for suffix in ("-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                return self._connected()
            except (OSError, sqlite3.Error) as second:
                raise UnavailableError(
                    f"could not make the spool {self._path}", found=str(second), remedy="choose a writable state folder"
                ) from second

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False, timeout=10)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection
