"""Opening the database, bringing its schema up to date, and units of work.

SQLite runs in WAL mode with full synchronisation: a message is acknowledged to the broker only after its row would
survive a power cut. Writers take the write lock at once (``BEGIN IMMEDIATE``), so none fails half-way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from fleet.store.work import Work
from mien.errors import ConfigError, UnavailableError

_MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_WRITES = "mien_writes"
_BUSY_S = 15
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    f"busy_timeout={_BUSY_S * 1000}",
    "foreign_keys=ON",
    "wal_autocheckpoint=8192",  # pages: 32 MB of changes are put in place at once, where the default is 4 MB
    "cache_size=-32768",  # KiB, for each connection
)
_ALONE = "SELECT pg_advisory_xact_lock(7239841)"
_TOGETHER = "SELECT pg_advisory_xact_lock_shared(7239841)"
_CONFLICTS = frozenset({"40001", "40P01"})
"""PostgreSQL's serialization_failure and deadlock_detected."""


class Store:
    """The fleet's memory.

    Args:
        engine: an open database with the present schema.
    """

    def __init__(self, engine: Engine) -> None:
        self._reading = engine
        self._writing = engine.execution_options(**{_WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Work]:
        """A unit of work that only reads; all of it sees one state."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield Work(session)

    @contextmanager
    def write(self, *, beside: bool = False) -> Iterator[Work]:
        """A unit of work whose changes all happen, when the block ends without an error, or none does.

        Args:
            beside: whether others that say so too may run at the same time, where the database can do that: units of
                work that never decide by what another of them may be changing. All others run alone.
        """
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            if self._writing.dialect.name == "postgresql":
                session.execute(text(_TOGETHER if beside else _ALONE))
            yield Work(session)

    def close(self) -> None:
        """Close all connections."""
        self._reading.dispose()


def is_conflict(error: BaseException) -> bool:
    """Whether a unit of work failed only because another one was in its way, and may be tried again at once."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _CONFLICTS


def open_store(url: str) -> Store:
    """Open the database at an SQLAlchemy URL and migrate it.

    Raises:
        ConfigError: the URL cannot be read or its driver is not installed.
        UnavailableError: the database cannot be opened.
    """
    engine = _engine(url)
    try:
        migrate(engine)
    except OperationalError as error:
        raise UnavailableError(
            "the database cannot be opened",
            found=str(error.orig),
            remedy="check database_url, the disk, and that no other 'mien fleet serve' uses this data folder",
        ) from error
    return Store(engine)


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.execution_options(**{_WRITES: True}).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except (ArgumentError, ModuleNotFoundError, ImportError) as error:
        raise ConfigError(
            "database_url cannot be used",
            found=str(error)[:200],
            wanted="sqlite:////absolute/path.db or postgresql+psycopg://user@host/name",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:  # noqa: ANN401 - a DB-API connection
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's connection
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
