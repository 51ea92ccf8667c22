"""A database of a pair of servers, for one test."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator
from urllib.parse import quote

import psycopg

from .places import files_under

if TYPE_CHECKING:
    from .lake import Lake


class Database:
    """Shorthands for what tests do all the time."""

    def __init__(self, lake: Lake, name: str) -> None:
        """A database that exists in `lake`."""
        self.lake = lake
        self.name = name
        self._main: psycopg.Connection | None = None

    def connect(self, *, autocommit: bool = True, **parameters: Any) -> psycopg.Connection:
        """A new session."""
        return self.lake.pg.connect(self.name, autocommit=autocommit, **parameters)

    @contextlib.contextmanager
    def session(self, *, autocommit: bool = True) -> Iterator[psycopg.Connection]:
        """A new session that ends with the block."""
        connection = self.connect(autocommit=autocommit)
        try:
            yield connection
        finally:
            connection.close()

    @property
    def main(self) -> psycopg.Connection:
        """The session that `sql`, `rows` and `value` use."""
        if self._main is None or self._main.closed:
            self._main = self.connect()
        return self._main

    def sql(self, *statements: str) -> None:
        """Runs statements, each in its own transaction."""
        for statement in statements:
            self.main.execute(statement)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.main.execute(query, parameters or None).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        """The only value of a query."""
        ((found,),) = self.rows(query, *parameters)
        return found

    def metadata_location(self, table: str) -> str:
        """Where the committed metadata of a lake table is, as another session sees it."""
        with self.session() as other:
            row = other.execute(
                "SELECT metadata_location FROM lake_iceberg.tables_internal WHERE table_name = %s::regclass", [table]
            ).fetchone()
        assert row, f"{table} is not a lake table"
        return row[0]

    def data_files(self, table: str) -> list[str]:
        """The paths of a lake table's data files, in the order in which they were added."""
        query = "SELECT path FROM lake_table.files WHERE table_name = %s::regclass AND content = 0 ORDER BY id"
        return [path for (path,) in self.rows(query, table)]

    def delete_files(self, table: str) -> list[str]:
        """The paths of a lake table's position delete files."""
        query = "SELECT path FROM lake_table.files WHERE table_name = %s::regclass AND content = 1 ORDER BY id"
        return [path for (path,) in self.rows(query, table)]

    def lake_files(self) -> set[str]:
        """All files of this database on the server's disk, whether a table refers to them or not."""
        return files_under(Path(self.lake.duck.lake) / quote(self.name))

    def close(self) -> None:
        """Ends the session of `sql`."""
        if self._main is not None:
            self._main.close()
