"""A lake table and a heap table that get the same statements must have the same rows."""

from __future__ import annotations

from .database import Database


def differing_rows(db: Database, left: str, right: str, columns: str = "*") -> list[tuple[str, str]]:
    """Rows that only one of two tables has, as text: (table, row).

    Rows are compared by their text, which is exact for every type we store and exists for those (json) that have no equality.
    """
    a = f"SELECT s::text FROM (SELECT {columns} FROM {left}) s"
    b = f"SELECT s::text FROM (SELECT {columns} FROM {right}) s"
    only_a = f"SELECT '{left}', x.* FROM ({a} EXCEPT ALL {b}) x"
    only_b = f"SELECT '{right}', y.* FROM ({b} EXCEPT ALL {a}) y"
    return db.rows(f"{only_a} UNION ALL {only_b} LIMIT 20")


class Twins:
    """A pair of tables `<name>_lake` and `<name>_heap` with the same columns."""

    def __init__(self, db: Database, name: str, columns: str) -> None:
        """Makes both tables."""
        self.db = db
        self.lake = f"{name}_lake"
        self.heap = f"{name}_heap"
        db.sql(f"CREATE TABLE {self.heap} ({columns})", f"CREATE TABLE {self.lake} ({columns}) USING iceberg")

    def run(self, *statements: str) -> None:
        """Runs statements on both; `{t}` stands for the table."""
        for statement in statements:
            self.db.sql(statement.replace("{t}", self.heap), statement.replace("{t}", self.lake))

    def assert_equal(self) -> None:
        """Fails when the rows differ."""
        found = differing_rows(self.db, self.lake, self.heap)
        assert not found, f"rows differ: {found}"
