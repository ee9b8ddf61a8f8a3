"""Opening the database, bringing its schema up to date, and units of work.

SQLite runs in WAL mode with full synchronisation: a message is acknowledged to the broker only after its row would
survive a power cut. Writers take the write lock at once (``BEGIN IMMEDIATE``), so none fails half-way.

PostgreSQL does the same by other means: reading sees one snapshot; whoever decides takes a lock of the whole database
alone, so that it cannot fail for another one either, and ingest, which decides nothing, shares it with its like.
Passwords come from a file, PostgreSQL's own password file or a certificate, never from the URL, which is shown in
errors; beyond this machine the server's certificate must be checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from fleet.store.work import Work
from mien.errors import ConfigError, UnavailableError
from mien.hosts import is_loopback

_MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_WRITES = "mien_writes"
_BUSY_S = 15
_KINDS = ("sqlite", "postgresql")
_CHECKED_TLS = ("verify-full", "verify-ca")
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
        self._engine = engine
        self._reading = engine
        if engine.dialect.name == "postgresql":
            self._reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
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
        self._engine.dispose()


def is_conflict(error: BaseException) -> bool:
    """Whether a unit of work failed only because another one was in its way, and may be tried again at once."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _CONFLICTS


def open_store(url: str, *, password_file: Path | None = None) -> Store:
    """Open the database at an SQLAlchemy URL and migrate it.

    Args:
        url: without a password.
        password_file: its first line is the password.

    Raises:
        ConfigError: the URL cannot be read or used, or its driver is not installed.
        UnavailableError: the database cannot be opened or is not fit.
    """
    engine = _engine(url, password_file)
    try:
        migrate(engine)
        return Store(engine)
    except DBAPIError as error:
        engine.dispose()
        raise UnavailableError(
            f"the database {engine.url.render_as_string()} cannot be opened",
            found=str(error.orig)[:300],
            remedy="check database_url, the disk or the server, and what this user may do there "
            "(docs/runbooks/postgresql.md)",
        ) from error


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision; of several processes that start at once, one after the other."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.execution_options(**{_WRITES: True}).begin() as connection:
        if connection.dialect.name == "postgresql":
            _check_encoding(connection)
            connection.execute(text(_ALONE))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _engine(url: str, password_file: Path | None = None) -> Engine:
    try:
        parsed = make_url(url)
        _check_url(parsed)
        if password_file is not None:
            parsed = parsed.set(password=_first_line(password_file))
        engine = create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, ImportError, ValueError) as error:
        raise ConfigError(
            "database_url cannot be used",
            found=str(error)[:200] if isinstance(error, ImportError) else type(error).__name__,
            wanted="sqlite:////absolute/path.db or postgresql+psycopg://user@host/name",
            remedy="for PostgreSQL: pip install 'mien[postgres]'" if isinstance(error, ImportError) else "",
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_url(url: URL) -> None:
    if url.get_backend_name() not in _KINDS:
        raise ConfigError("database_url names an unknown kind of database", wanted=" or ".join(_KINDS))
    if url.password is not None or "password" in url.query:
        raise ConfigError(
            "database_url holds a password, which would be shown wherever the URL is",
            remedy="leave it out; name a file with database_password_file, or use ~/.pgpass or a client certificate",
        )
    beyond = [host for host in _hosts(url) if not host.startswith("/") and not is_loopback(host)]
    if beyond and url.query.get("sslmode") not in _CHECKED_TLS:
        raise ConfigError(
            f"refuses to talk to the database on {beyond[0]} without checking its certificate",
            wanted=f"sslmode={' or '.join(_CHECKED_TLS)} in database_url, with sslrootcert=FILE",
        )


def _hosts(url: URL) -> list[str]:
    """Every host that the URL names; none means a socket of this machine."""
    named = [url.host or ""]
    for key in ("host", "hostaddr"):
        values = url.query.get(key, ())
        named += [values] if isinstance(values, str) else values
    return [
        host.rpartition(":")[0] if host.count(":") == 1 else host for part in named for host in part.split(",") if host
    ]


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError("could not read database_password_file", found=str(error)) from error
    if not lines or not lines[0]:
        raise ConfigError("database_password_file is empty", found=str(path), wanted="the password in its first line")
    return lines[0]


def _check_encoding(connection: Connection) -> None:
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise UnavailableError(
            "the database cannot hold every text",
            found=f"its encoding is {encoding}",
            wanted="UTF8",
            remedy="create it anew: createdb --encoding UTF8 --template template0 --locale C NAME",
        )


def _prepare_sqlite(connection: Any, _record: Any) -> None:  # noqa: ANN401 - a DB-API connection
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's connection
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
