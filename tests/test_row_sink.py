"""The two ways that rows leave PostgreSQL, by stream and by file, store the same bytes; both rotate files by size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.database import Database
from harness.readers import row_count
from harness.twins import differing_rows

COLUMNS = "id bigint, a int, name text, d double precision, ts timestamptz, amt numeric(12,2), ok boolean, raw bytea, tags text[]"

ROWS = """
    SELECT i, (i::bigint * 7919 % 100003)::int, 'name ' || md5(i::text), sqrt(i) * 1e-3, timestamptz '2020-01-01 00:00Z' + i * interval '1.7 s',
           (i % 1000000)::numeric / 100, i % 3 = 0, decode(md5(i::text), 'hex'),
           CASE WHEN i % 5 = 0 THEN NULL ELSE ARRAY['a' || i, NULL, 'b"', E'c\\n'] END
    FROM generate_series(1, {count}) i"""


def data_files(db: Database, table: str) -> list[Path]:
    """The data files of a table, in the order in which they were written."""
    return [Path(path.removeprefix("file://")) for path in db.data_files(table)]


def md5_of_files(db: Database, table: str) -> list[str]:
    """The md5 of every data file of a table, in the order in which they were written."""
    return [hashlib.md5(path.read_bytes()).hexdigest() for path in data_files(db, table)]


def write_both_ways(db: Database, rows: str) -> None:
    """Fills `by_stream` and `by_file` with the same rows."""
    for table, streaming in (("by_stream", "on"), ("by_file", "off")):
        db.sql(f"CREATE TABLE {table} ({COLUMNS}) USING iceberg", f"SET pg_lake_engine.streaming_writes = {streaming}")
        db.sql(f"INSERT INTO {table} {rows}")


@pytest.mark.slow
def test_a_million_rows_are_the_same_bytes_by_stream_and_by_file(shared_db: Database) -> None:
    write_both_ways(shared_db, ROWS.format(count=1_000_000))

    streamed = md5_of_files(shared_db, "by_stream")
    assert streamed == md5_of_files(shared_db, "by_file")
    assert len(streamed) >= 1
    assert row_count(shared_db.metadata_location("by_stream")) == 1_000_000


@pytest.mark.parametrize("streaming", ["on", "off"])
def test_a_file_is_closed_when_it_has_reached_the_size(shared_db: Database, streaming: str) -> None:
    shared_db.sql(
        f"CREATE TABLE t ({COLUMNS}) USING iceberg",
        f"CREATE TABLE h ({COLUMNS})",
        f"INSERT INTO h {ROWS.format(count=60_000)}",
        f"SET pg_lake_engine.streaming_writes = {streaming}",
        "SET pg_lake_table.max_write_temp_file_size_mb = 2",
        "INSERT INTO t SELECT * FROM h ORDER BY id",
    )

    files = data_files(shared_db, "t")
    # About 140 bytes per row, 8 MB in all.
    assert 3 <= len(files) <= 8
    rows = [pq.ParquetFile(file).metadata.num_rows for file in files]
    assert sum(rows) == 60_000
    assert all(count > 5_000 for count in rows[:-1])
    # The order of the rows is kept across the files.
    first = [pq.read_table(file, columns=["id"]).column("id")[0].as_py() for file in files]
    assert first == sorted(first)
    assert not differing_rows(shared_db, "t", "h")
    assert row_count(shared_db.metadata_location("t")) == 60_000


def test_rotation_makes_the_same_files_both_ways(shared_db: Database) -> None:
    shared_db.sql("SET pg_lake_table.max_write_temp_file_size_mb = 2")
    write_both_ways(shared_db, ROWS.format(count=40_000))

    streamed = md5_of_files(shared_db, "by_stream")
    assert len(streamed) >= 2
    assert streamed == md5_of_files(shared_db, "by_file")


@pytest.mark.parametrize("streaming", ["on", "off"])
def test_no_temporary_file_is_left(shared_db: Database, streaming: str) -> None:
    shared_db.sql("CREATE TABLE t (a int) USING iceberg", f"SET pg_lake_engine.streaming_writes = {streaming}")
    before = shared_db.lake.duck.stream_descriptors()
    shared_db.sql("INSERT INTO t SELECT generate_series(1, 100000)")
    with pytest.raises(Exception, match="division by zero"):
        shared_db.sql("INSERT INTO t SELECT 1 / (100000 - i) FROM generate_series(1, 100000) i")

    assert shared_db.lake.pg.temporary_files() == []
    assert shared_db.lake.duck.stream_descriptors() == before
    assert shared_db.value("SELECT count(*) FROM t") == 100_000


def test_an_insert_without_rows_writes_no_file(db: Database) -> None:
    db.sql("CREATE TABLE t (a int) USING iceberg", "INSERT INTO t VALUES (1)")
    before = db.metadata_location("t")
    db.sql("INSERT INTO t SELECT 1 WHERE false")

    assert len(db.data_files("t")) == 1
    assert db.metadata_location("t") == before


def test_the_way_by_file_is_refused_clearly_when_nothing_is_shared(db: Database) -> None:
    db.sql("CREATE TABLE t (a int) USING iceberg", "SET pg_lake_engine.streaming_writes = off")
    with pytest.raises(Exception):
        db.sql("INSERT INTO t VALUES (1)")
    db.sql("SET pg_lake_engine.streaming_writes = on", "INSERT INTO t VALUES (2)")
    assert db.rows("SELECT a FROM t") == [(2,)]
