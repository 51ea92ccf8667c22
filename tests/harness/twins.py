"""A lake table and a heap table that get the same statements must have the same rows."""

from __future__ import annotations

import psycopg
import pytest

from .database import Database
from .outside import assert_outside_equal


def differing_rows(db: Database, left: str, right: str, columns: str = "*") -> list[tuple[str, str]]:
    """Rows that only one of two tables has, as text: (table, row)."""
    return differing_rows_in(db.main, left, right, columns)


def differing_rows_in(session: psycopg.Connection, left: str, right: str, columns: str = "*") -> list[tuple[str, str]]:
    """The same as a session sees it.

    Rows are compared by their text, which is exact for every type we store and exists for those (json) that have no equality.
    """
    a = f"SELECT s::text FROM (SELECT {columns} FROM {left}) s"
    b = f"SELECT s::text FROM (SELECT {columns} FROM {right}) s"
    only_a = f"SELECT '{left}', x.* FROM ({a} EXCEPT ALL {b}) x"
    only_b = f"SELECT '{right}', y.* FROM ({b} EXCEPT ALL {a}) y"
    return session.execute(f"{only_a} UNION ALL {only_b} LIMIT 20").fetchall()


class Twins:
    """A pair of tables `<name>_lake` and `<name>_heap` with the same columns."""

    def __init__(self, db: Database, name: str, columns: str) -> None:
        """Makes both tables."""
        self.db = db
        self.lake = f"{name}_lake"
        self.heap = f"{name}_heap"
        db.sql(f"CREATE TABLE {self.heap} ({columns})", f"CREATE TABLE {self.lake} ({columns}) USING iceberg")

    def run(self, *statements: str, session: psycopg.Connection | None = None) -> None:
        """Runs statements on both, which must do the same: number of rows, and rows if there are any. `{t}` stands for the table."""
        session = session or self.db.main
        for statement in statements:
            on_heap, on_lake = (_outcome(session, statement.replace("{t}", table)) for table in (self.heap, self.lake))
            assert on_lake == on_heap, f"{statement}: {str(on_lake)[:2000]} on the lake table, {str(on_heap)[:2000]} on the heap table"

    def fails(self, statement: str, sqlstate: str, session: psycopg.Connection | None = None) -> psycopg.errors.Diagnostic:
        """A statement fails on both in the same way and changes neither; returns what the lake table's error says."""
        session = session or self.db.main
        said = []
        for table in (self.heap, self.lake):
            with pytest.raises(psycopg.Error) as raised:
                with session.transaction():
                    session.execute(statement.replace("{t}", table))
            said.append(raised.value.diag)
        heap, lake = said
        on_heap, on_lake = ((diag.sqlstate, diag.constraint_name, diag.column_name) for diag in said)
        assert heap.sqlstate == sqlstate, f"{statement}: {on_heap}, {heap.message_primary} on the heap table"
        assert on_lake == on_heap, f"{statement}: {on_lake}, {lake.message_primary} on the lake table, {on_heap} on the heap table"
        self.assert_equal(session)
        return lake

    def assert_equal(self, session: psycopg.Connection | None = None) -> None:
        """Fails when the rows differ."""
        found = differing_rows_in(session or self.db.main, self.lake, self.heap)
        assert not found, f"rows differ: {found}"

    def assert_equal_everywhere(self) -> None:
        """Fails when the committed rows differ between the two tables, PyIceberg and DuckDB."""
        with self.db.session() as other:
            self.assert_equal(other)
        assert_outside_equal(self.db, self.lake, self.heap)


def _outcome(session: psycopg.Connection, statement: str) -> tuple[str | None, list[str]]:
    """The command tag, and the rows in no order, as text (in which NaN is equal to NaN, and -0 is not 0)."""
    cursor = session.execute(statement)
    return cursor.statusmessage, sorted(map(repr, cursor.fetchall())) if cursor.description else []
