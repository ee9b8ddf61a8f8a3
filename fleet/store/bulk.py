"""Adds and changes many rows at once, in the way that each database does fastest.

SQLite takes one statement for all rows. PostgreSQL gets them by COPY into a table of the connection's own, which goes
into the real one with a single statement. Values go in as they are: JSON columns take text that is JSON already.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.orm import Session

Values = Sequence[tuple[Any, ...]]


def insert_new(session: Session, table: Table, columns: Sequence[str], rows: Values, *, unique: Sequence[str]) -> int:
    """Insert rows, leaving out those whose unique columns are there already.

    Args:
        session: of the unit of work.
        table: where to.
        columns: of each row, in order; others take their defaults.
        rows: the values.
        unique: columns of a unique constraint.

    Returns:
        How many were new.
    """
    if not rows:
        return 0
    connection = session.connection()
    names, once = ", ".join(columns), ", ".join(unique)
    if connection.dialect.name == "postgresql":
        source = _staged(connection, table, columns, rows)
        statement = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {source} ON CONFLICT ({once}) DO NOTHING"  # noqa: S608 - names of ours
        return connection.exec_driver_sql(statement).rowcount
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks}) ON CONFLICT ({once}) DO NOTHING"  # noqa: S608 - names of ours
    return connection.exec_driver_sql(statement, list(rows)).rowcount


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
    changes = ", ".join(f"{name} = ?" for name in columns)
    connection.exec_driver_sql(f"UPDATE {table.name} SET {changes} WHERE {key} = ?", list(rows))  # noqa: S608 - names of ours


def _staged(connection: Connection, table: Table, columns: Sequence[str], rows: Values) -> str:
    """Put rows into a table of this connection alone, which is empty again after the transaction; its name."""
    names = ", ".join(columns)
    source = f"incoming_{table.name}_{zlib.crc32(names.encode()):08x}"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {source} ON COMMIT DELETE ROWS AS "  # noqa: S608 - names of ours
        f"SELECT {names} FROM {table.name} WITH NO DATA"
    )
    with connection.connection.cursor() as cursor, cursor.copy(f"COPY {source} ({names}) FROM STDIN") as copy:  # type: ignore[attr-defined] # psycopg's cursor
        for row in rows:
            copy.write_row(row)
    return source
