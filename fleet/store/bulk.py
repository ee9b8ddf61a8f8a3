"""Adds and changes many rows at once, in the way that each database does fastest.

SQLite takes some hundred rows in one statement: it runs without Python's lock, so whoever receives goes on meanwhile,
while a statement for each row would ask for that lock each time. PostgreSQL gets rows by COPY; where some are there
already, or rows change, by way of a table of the connection's own. Values go in as they are: JSON columns take text
that is JSON already.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

Values = Sequence[tuple[Any, ...]]

_NOT_UNIQUE = "23505"
"""PostgreSQL's unique_violation."""
_AT_ONCE = 250
"""Rows in one statement of SQLite."""


def rows_at_once(session: Session, chosen: Select[Any]) -> Iterable[Sequence[Any]]:
    """The rows of a query; from SQLite in one piece, for the same reason. For plain values in named columns."""
    if session.connection().dialect.name == "postgresql":
        return session.execute(chosen)
    whole = session.scalar(select(func.json_group_array(func.json_array(*chosen.subquery().c))))
    return cast("list[list[Any]]", json.loads(whole or "[]"))


def insert_new(session: Session, table: Table, columns: Sequence[str], rows: Values, *, unique: int) -> int:
    """Insert rows, leaving out those whose unique columns are there already.

    Args:
        session: of the unit of work.
        table: where to.
        columns: of each row, in order, those of a unique constraint first; others take their defaults.
        rows: the values.
        unique: how many columns the constraint has.

    Returns:
        How many were new.
    """
    if not rows:
        return 0
    connection = session.connection()
    names, once = ", ".join(columns), ", ".join(columns[:unique])
    rows = sorted(rows, key=lambda row: row[:unique])  # neighbours in the index; and two workers cannot cross
    if connection.dialect.name == "postgresql":
        return _copy_new(connection, table, columns, rows, once)
    return sum(
        connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({names}) VALUES {_marks(part, columns)} ON CONFLICT ({once}) DO NOTHING",  # noqa: S608 - names of ours
            tuple(chain.from_iterable(part)),
        ).rowcount
        for part in _parts(rows)
    )


def update_by_key(session: Session, table: Table, key: str, columns: Sequence[str], rows: Values) -> None:
    """Change rows by their key.

    Args:
        session: of the unit of work.
        table: whose rows.
        key: the column that finds each.
        columns: to set, in the order of the values before the key.
        rows: the new values of each, the key last.
    """
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        source = _staged(connection, table, (*columns, key), rows)
        changes = ", ".join(f"{name} = {source}.{name}" for name in columns)
        statement = f"UPDATE {table.name} SET {changes} FROM {source} WHERE {table.name}.{key} = {source}.{key}"  # noqa: S608 - names of ours
        connection.exec_driver_sql(statement)
        return
    named = ", ".join(f"column{number} AS {name}" for number, name in enumerate((*columns, key), start=1))
    changes = ", ".join(f"{name} = incoming.{name}" for name in columns)
    for part in _parts(rows):
        connection.exec_driver_sql(
            f"UPDATE {table.name} SET {changes} FROM (SELECT {named} FROM (VALUES {_marks(part, (*columns, key))})) "  # noqa: S608 - names of ours
            f"AS incoming WHERE {table.name}.{key} = incoming.{key}",
            tuple(chain.from_iterable(part)),
        )


def _parts(rows: Values) -> Iterator[Values]:
    """Parts of one size, and single rows for what is left, so that there are two texts of a statement to prepare."""
    whole = len(rows) - len(rows) % _AT_ONCE
    for first in range(0, whole, _AT_ONCE):
        yield rows[first : first + _AT_ONCE]
    for place in range(whole, len(rows)):
        yield rows[place : place + 1]


def _marks(part: Values, columns: Sequence[str]) -> str:
    return ", ".join([f"({', '.join('?' * len(columns))})"] * len(part))


def _copy_new(connection: Connection, table: Table, columns: Sequence[str], rows: Values, once: str) -> int:
    """Straight into the table, which does when nothing is there yet; else by way of a table of the connection's own."""
    names = ", ".join(columns)
    try:
        with connection.begin_nested():
            _copy(connection, table.name, names, rows)
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != _NOT_UNIQUE:
            raise
        source = _staged(connection, table, columns, rows)
        return connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {source} ON CONFLICT ({once}) DO NOTHING"  # noqa: S608 - names of ours
        ).rowcount
    return len(rows)


def _copy(connection: Connection, target: str, names: str, rows: Values) -> None:
    """COPY, with its errors as SQLAlchemy's, like those of every other statement."""
    import psycopg

    statement = f"COPY {target} ({names}) FROM STDIN"
    try:
        with connection.connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[attr-defined] # psycopg's cursor
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg.Error, dialect=connection.dialect) from error


def _staged(connection: Connection, table: Table, columns: Sequence[str], rows: Values) -> str:
    """Put rows into a table of this connection alone, which is empty again after the transaction; its name."""
    names = ", ".join(columns)
    source = f"incoming_{table.name}_{zlib.crc32(names.encode()):08x}"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {source} ON COMMIT DELETE ROWS AS "  # noqa: S608 - names of ours
        f"SELECT {names} FROM {table.name} WITH NO DATA"
    )
    _copy(connection, source, names, rows)
    return source
