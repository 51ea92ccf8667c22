"""Outside readers of an Iceberg table. They know nothing of PostgreSQL: all they get is the location of its metadata."""

from __future__ import annotations

import functools

import duckdb
import pyarrow as pa
from pyiceberg.table import StaticTable

from .places import duckdb_extension
from .s3 import S3


def pyiceberg_table(metadata_location: str, s3: S3 | None = None) -> StaticTable:
    """The table as PyIceberg opens it."""
    return StaticTable.from_metadata(metadata_location, properties=s3.pyiceberg_properties() if s3 else {})


def read_pyiceberg(metadata_location: str, s3: S3 | None = None) -> pa.Table:
    """All rows, by PyIceberg."""
    return pyiceberg_table(metadata_location, s3).scan().to_arrow()


def new_duckdb(s3: S3 | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB of our own with the Iceberg extension; it shares nothing with any pgduck_server."""
    connection = duckdb.connect(config={"threads": 2})
    # Not in `config`, which is read before the ICU extension is there; for all cursors, whatever the machine's zone is.
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    for name in ("avro", "iceberg") if s3 is None else ("httpfs", "avro", "iceberg"):
        connection.execute(f"LOAD '{duckdb_extension(name)}'")
    if s3:
        connection.execute(s3.secret_sql())
    return connection


@functools.cache
def _local_duckdb() -> duckdb.DuckDBPyConnection:
    return new_duckdb()


def read_duckdb(metadata_location: str, s3: S3 | None = None) -> pa.Table:
    """All rows, by DuckDB's Iceberg extension."""
    connection = new_duckdb(s3) if s3 else _local_duckdb().cursor()
    return connection.execute("SELECT * FROM iceberg_scan(?)", [metadata_location]).to_arrow_table()


def row_count(metadata_location: str, s3: S3 | None = None) -> int:
    """The number of rows, on which both readers must agree."""
    by_pyiceberg = read_pyiceberg(metadata_location, s3).num_rows
    by_duckdb = read_duckdb(metadata_location, s3).num_rows
    assert by_pyiceberg == by_duckdb, f"PyIceberg reads {by_pyiceberg} rows, DuckDB {by_duckdb}"
    return by_pyiceberg


def differences(left: pa.Table, right: pa.Table) -> int:
    """How many rows are in only one of two tables, or not equally often in both.

    The comparison is DuckDB's, column by column in the order of `left`.
    """
    connection = duckdb.connect()
    connection.register("l", left)
    connection.register("r", right.select(left.column_names))
    query = "SELECT count(*) FROM ((FROM l EXCEPT ALL FROM r) UNION ALL (FROM r EXCEPT ALL FROM l))"
    return connection.execute(query).fetchone()[0]
