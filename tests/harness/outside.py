"""What PyIceberg and DuckDB read of a lake table, compared value by value with what PostgreSQL says.

Dates, times and timestamps are compared as numbers, since Python has no years before 1 or after 9999.
"""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any, Callable

import psycopg
import pyarrow as pa

from .database import Database
from .readers import read_duckdb, read_pyiceberg
from .s3 import S3

Rows = Counter  # row → how often it is there

_MICROSECONDS = "(extract(epoch FROM {}) * 1000000)::bigint"

# PostgreSQL's name of a type → the expression whose value Python, PyIceberg and DuckDB all show in the same way.
_IN_SQL = {
    "date": "({} - date '1970-01-01')",
    "time": _MICROSECONDS,
    "timestamp": _MICROSECONDS,
    "timestamptz": _MICROSECONDS,
    "float4": "({})::float8",
    "bpchar": "rtrim({}::text)",
    "uuid": "({})::text",
    "json": "({})::text",
    "jsonb": "({})::text",
}


def assert_outside_equal(db: Database, table: str, source: str | None = None, *, s3: S3 | None = None) -> None:
    """Both outside readers see in the committed metadata what PostgreSQL sees in the table (or in `source`, its heap twin)."""
    with db.session() as session:
        assert_reads_equal(session, db.metadata_location(table), source or table, s3=s3)


def assert_reads_equal(session: psycopg.Connection, metadata_location: str, source: str, *, s3: S3 | None = None) -> None:
    """Both outside readers see in this metadata what a session of PostgreSQL sees in `source`."""
    columns = _columns(session, source)
    expected = rows_in_postgresql(session, source, columns)
    for name, read in (("PyIceberg", read_pyiceberg), ("DuckDB", read_duckdb)):
        found = rows_in_arrow(read(metadata_location, s3), columns)
        missing, surplus = expected - found, found - expected
        assert not missing and not surplus, (
            f"{name} reads {found.total()} rows, PostgreSQL has {expected.total()} in {source};"
            f" missing: {_some(missing)}; surplus: {_some(surplus)}"
        )


def rows_in_postgresql(session: psycopg.Connection, source: str, columns: dict[str, tuple[str, bool]]) -> Rows:
    """All rows of a table, in the form in which they are compared."""
    expressions = []
    for name, (sql_type, is_array) in columns.items():
        quoted = '"' + name.replace('"', '""') + '"'
        form = _IN_SQL.get(sql_type, "{}")
        if is_array:
            elements = f"ARRAY(SELECT {form.format('e')} FROM unnest({quoted}) WITH ORDINALITY u (e, n) ORDER BY n)"
            expressions.append(f"CASE WHEN {quoted} IS NOT NULL THEN {elements} END")
        else:
            expressions.append(form.format(quoted))
    return Rows(tuple(map(_comparable, row)) for row in session.execute(f"SELECT {', '.join(expressions)} FROM {source}"))


def rows_in_arrow(table: pa.Table, columns: dict[str, tuple[str, bool]]) -> Rows:
    """All rows of what a reader read, in the form in which they are compared."""
    assert table.column_names == list(columns)
    read = []
    for name, (sql_type, is_array) in columns.items():
        convert = _after_reading(sql_type)
        values = _as_numbers(table.column(name)).to_pylist()
        if is_array:
            read.append([None if value is None else tuple(_comparable(convert(element)) for element in value) for value in values])
        else:
            read.append([_comparable(convert(value)) for value in values])
    return Rows(zip(*read)) if columns else Rows()


def _columns(session: psycopg.Connection, table: str) -> dict[str, tuple[str, bool]]:
    """Column → (name of its type or of its elements' type, whether it is an array)."""
    query = """
        SELECT a.attname, coalesce(e.typname, t.typname), e.typname IS NOT NULL
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
         WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
    return {name: (sql_type, is_array) for name, sql_type, is_array in session.execute(query, [table])}


def _as_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        target = _number_type(column.type.value_type)
        return column.cast(pa.list_(target)) if target else column
    target = _number_type(column.type)
    if target is None:
        return column
    return column.cast(pa.timestamp("us")).cast(target) if pa.types.is_timestamp(column.type) else column.cast(target)


def _number_type(arrow_type: pa.DataType) -> pa.DataType | None:
    if pa.types.is_date32(arrow_type):
        return pa.int32()
    if pa.types.is_time(arrow_type) or pa.types.is_timestamp(arrow_type):
        return pa.int64()
    return None


def _after_reading(sql_type: str) -> Callable[[Any], Any]:
    if sql_type == "uuid":
        return _uuid_text
    if sql_type == "bpchar":
        return lambda value: value if value is None else value.rstrip(" ")
    return lambda value: value


def _uuid_text(value: Any) -> str | None:
    if value is None:
        return None
    return str(uuid.UUID(bytes=value)) if isinstance(value, bytes) else str(value)


def _comparable(value: Any) -> Any:
    """Equal if and only if the values are the same, NaN and the sign of zero included; can be hashed."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return tuple(map(_comparable, value))
    return bytes(value) if isinstance(value, (memoryview, bytearray)) else value


def _some(rows: Rows) -> str:
    return str([(str(row)[:300], count) for row, count in list(rows.items())[:3]])
