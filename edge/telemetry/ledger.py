"""The spool's rows, counters and clock, on the disk and, while the disk refuses, in memory.

Everything new is held in memory first and written with the next transaction, under the number it got at once: a write
that fails changes nothing for a reader. Not safe for several threads; the spool has the lock.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from edge.telemetry import spool_file
from mien import topics
from mien.errors import DataError, UnavailableError
from mien.messages import Event, Window, decode, encode

_log = logging.getLogger(__name__)

WINDOWS = "window"
"""The counter that numbers windows."""
_ROW_BYTES = 64
"""What a message costs beside its payload."""
_DURABLE_EVERY_S = 60.0
_CALM_S = 60.0
"""A disk that refused takes telemetry again when it did for so long."""
_COLUMNS = "id, channel, stored_s, span_s, sent, payload"
_CLOCK = "clock_s"

Statement = tuple[str, Sequence[tuple[Any, ...]]]
"""SQL and the rows it is executed with."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolItem:
    """A message that waits."""

    item_id: int
    channel: str
    payload: bytes
    stored_s: float = 0.0
    """On the spool's clock."""
    span_s: float = 0.0
    """What a window spans."""
    sent: bool = False
    """Handed to a broker at least once: its content stays."""

    @property
    def size(self) -> int:
        """What it counts against the bound."""
        return len(self.payload) + _ROW_BYTES

    @property
    def row(self) -> tuple[Any, ...]:
        """Its columns."""
        return (self.item_id, self.channel, self.stored_s, self.span_s, int(self.sent), self.payload)


class Ledger:
    """What waits, and what is counted.

    Args:
        path: the SQLite file; a damaged one is set aside and its readable rows are taken over.
        clock: monotonic seconds.

    Raises:
        UnavailableError: the file cannot be made.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self.held: dict[int, SpoolItem] = {}
        """By number: not on the disk yet."""
        self.forgotten: set[int] = set()
        """On the disk still, but done."""
        self.refused = False
        """Whether the disk refused the last write."""
        self._numbers: dict[str, int] = {}
        self._owed: set[str] = set()
        self._latest: dict[str, bytes] = {}
        self._durable_at_s = float("-inf")
        self._refused_at_s: float | None = None
        """When it last did, until that was long ago: a full disk takes one write and refuses the next."""
        self._without_file: sqlite3.Error | None = None
        self.last_id = 0
        """The number of the newest message so far."""
        self.stored_bytes = 0
        """What counts against the bound and is on the disk."""
        self._connection, damage = spool_file.open_spool(path)
        self._count()
        self._base_s = self.number(_CLOCK) - clock()
        if damage is not None:
            self._take_over(damage)

    @property
    def now_s(self) -> float:
        """The spool's clock: seconds that the device ran with this spool."""
        return self._base_s + self._clock()

    @property
    def held_bytes(self) -> int:
        """What counts against the bound and is in memory."""
        return sum(item.size for item in self.held.values())

    def number(self, name: str) -> int:
        """A counter; 0 at first."""
        return self._numbers.get(name, 0)

    def set_number(self, name: str, value: int) -> None:
        """Change a counter, with the next write."""
        self._numbers[name] = value
        self._owed.add(name)

    def add(self, channel: str, payload: bytes, *, span_s: float = 0.0) -> None:
        """A new message, for the next write."""
        self.last_id += 1
        self.held[self.last_id] = SpoolItem(
            item_id=self.last_id, channel=channel, payload=payload, stored_s=self.now_s, span_s=span_s
        )
        self._latest[channel] = payload

    def latest(self, channel: str) -> bytes | None:
        """The last message of a channel."""
        if channel in self._latest:
            return self._latest[channel]
        payload = self.scalar("SELECT payload FROM latest WHERE channel = ?", (channel,))
        return bytes(payload) if payload is not None else None

    def stored(self, where: str, values: Sequence[Any], most: int = -1) -> list[SpoolItem]:
        """Messages on the disk that are not done, by number."""
        sql = f"SELECT {_COLUMNS} FROM outbox WHERE {where} ORDER BY id LIMIT ?"  # noqa: S608 - our own conditions
        limit = most + len(self.forgotten) if most >= 0 else -1
        rows: list[Any] = self._guarded(lambda: self._connection.execute(sql, (*values, limit)).fetchall(), [])
        kept = [row for row in rows if row[0] not in self.forgotten]
        return [
            SpoolItem(
                item_id=row[0], channel=row[1], stored_s=row[2], span_s=row[3], sent=bool(row[4]), payload=bytes(row[5])
            )
            for row in (kept[:most] if most >= 0 else kept)
        ]

    def scalar(self, sql: str, values: Sequence[Any] = ()) -> Any:  # noqa: ANN401 - whatever SQL says
        """The first value of the first row; ``None`` without any."""
        row = self._guarded(lambda: self._connection.execute(sql, tuple(values)).fetchone(), None)
        return row[0] if row else None

    def replace(self, changes: Iterable[tuple[Sequence[SpoolItem], SpoolItem]]) -> bool:
        """Put one message in place of several on the disk, all in one transaction; whether the disk took it."""
        gone: list[SpoolItem] = []
        new: list[SpoolItem] = []
        for old, one in changes:
            gone += old
            new.append(one)
        done = self.write([_deletion(item.item_id for item in gone), _insertion(new)])
        if done:
            self.stored_bytes += sum(item.size for item in new) - sum(item.size for item in gone)
        return done

    def remove(self, items: Sequence[SpoolItem]) -> bool:
        """Delete messages, together with the counters changed before; whether the disk took it."""
        for item in items:
            self.held.pop(item.item_id, None)
        self.forgotten.update(item.item_id for item in items)
        return self.write()

    def write(self, more: Sequence[Statement] = (), *, durable: bool = False) -> bool:
        """Everything that is owed to the disk, and ``more``, in one transaction.

        Args:
            more: statements that are executed last.
            durable: wait until the flash has it.

        Returns:
            Whether the disk took it; if not, what is owed stays owed and ``more`` is undone.
        """
        durable = durable or self.now_s - self._durable_at_s >= _DURABLE_EVERY_S
        self.set_number(_CLOCK, int(self.now_s))
        if self._without_file is not None:
            self._begin_anew(self._without_file)
        if not self._guarded(lambda: self._transaction(more, durable=durable), default=False):
            return False
        if durable:
            self._durable_at_s = self.now_s
        self.refused = False
        if self._refused_at_s is not None and self.now_s - self._refused_at_s >= _CALM_S:
            self._refused_at_s = None
            self.tell("spool_back", "info", "the disk takes telemetry again")
        return True

    def tell(
        self, kind: str, severity: Literal["info", "warning", "error"], message: str, **details: str | int
    ) -> None:
        """An event of the spool's own, for the next write."""
        event = Event(
            event_id=uuid.uuid4().hex,
            at=time.time(),
            kind=kind,
            severity=severity,
            message=message[:500],
            details=dict(details),
        )
        self.add(topics.EVENT, encode(event))

    def close(self) -> None:
        """Write what is owed, if the disk takes it, and close the file."""
        self.write(durable=True)
        self._connection.close()

    def _transaction(self, more: Sequence[Statement], *, durable: bool) -> bool:
        connection, held = self._connection, list(self.held.values())
        freed = self._size_of(self.forgotten)
        owed: list[Statement] = [
            _insertion(held),
            ("INSERT OR REPLACE INTO counters VALUES (?, ?)", [(name, self._numbers[name]) for name in self._owed]),
            ("INSERT OR REPLACE INTO latest (channel, payload) VALUES (?, ?)", list(self._latest.items())),
            _deletion(self.forgotten),
        ]
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, rows in (*owed, *more):
                connection.executemany(sql, rows)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        self.stored_bytes += sum(item.size for item in held) - freed
        self.held.clear()
        self.forgotten.clear()
        self._owed.clear()
        self._latest.clear()
        return True

    def _size_of(self, ids: Iterable[int]) -> int:
        sql = f"SELECT LENGTH(payload) + {_ROW_BYTES} FROM outbox WHERE id = ?"  # noqa: S608 - a constant
        rows = [self._connection.execute(sql, (item_id,)).fetchone() for item_id in ids]
        return sum(row[0] for row in rows if row)

    def _guarded(self, work: Callable[[], T], default: T) -> T:
        """The result of what is done with the file, after a new one was begun where it had to be."""
        for _ in range(2):
            try:
                return work()
            except sqlite3.DatabaseError as error:
                if not spool_file.is_damage(error):
                    self._refuse(error)
                    return default
                self._begin_anew(error)
        return default

    def _refuse(self, error: sqlite3.Error) -> None:
        known, self._refused_at_s = self._refused_at_s is not None, self.now_s
        self.refused = True
        with suppress(sqlite3.Error):  # the log gives its room back: the next write may find enough
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not known:
            _log.error("the disk refuses telemetry, which waits in memory now: %s", error)
            self.tell("spool_refused", "error", f"the disk refuses telemetry, which waits in memory now: {error}")

    def _begin_anew(self, reason: sqlite3.Error) -> None:
        self._connection.close()
        self._without_file = reason
        try:
            self._connection, damage = spool_file.replace_spool(self._path, reason)
        except UnavailableError:
            self._refuse(reason)
            return
        self._without_file = None
        self._count()
        self._take_over(damage)

    def _take_over(self, damage: spool_file.Damage) -> None:
        """Tell of it, and number on above every window that was saved, even where the counters were not."""
        newest = "SELECT payload FROM outbox WHERE channel = ? ORDER BY id DESC LIMIT 1"
        for payload in (self.latest(topics.WINDOW), self.scalar(newest, (topics.WINDOW,))):
            with suppress(DataError):
                window = decode(Window, payload or b"", source="the damaged spool")
                self.set_number(WINDOWS, max(self.number(WINDOWS), window.sequence))
        self.tell(
            "spool_damaged",
            "error",
            f"the telemetry spool was damaged ({damage.reason}); a new one was begun",
            reason=damage.reason[:200],
            set_aside=damage.aside,
            salvaged=damage.salvaged,
        )

    def _count(self) -> None:
        """Take over what the file counted; what is known in memory and higher stands."""
        connection = self._connection
        for name, value in connection.execute("SELECT name, value FROM counters"):
            self._numbers[name] = max(self.number(name), value)
        self._owed |= self._numbers.keys()
        last = connection.execute("SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'outbox'").fetchone()[0]
        self.last_id = max(self.last_id, last or 0)
        size = f"SELECT SUM(LENGTH(payload) + {_ROW_BYTES}) FROM outbox"  # noqa: S608 - a constant
        self.stored_bytes = int(connection.execute(size).fetchone()[0] or 0)


def as_sent(item: SpoolItem) -> SpoolItem:
    """The same, handed to a broker."""
    return replace(item, sent=True)


def _insertion(items: Sequence[SpoolItem]) -> Statement:
    sql = f"INSERT OR REPLACE INTO outbox ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant
    return sql, [item.row for item in items]


def _deletion(ids: Iterable[int]) -> Statement:
    return "DELETE FROM outbox WHERE id = ?", [(item_id,) for item_id in ids]
