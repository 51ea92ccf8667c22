"""How long the events of a CDC stream take, and whether they get slower with the age of the table.

200 mixed single-row events (INSERT, UPDATE, DELETE by key, COMMIT after each) on an Iceberg table of 100,000 rows: streaming, over
TCP, the server as another user, everything synced to disk before COMMIT returns. The same events on a heap table with an index are
the reference, and show at the end that both tables have the same rows. `EVENTS=5000` adds a long run with the background worker on.
"""

from __future__ import annotations

import os
import time

import psycopg

from _measure import durable_lake, mean, measured, percentile, print_table, seconds_to_sync, step
from harness.database import Database

EVENTS = 200
LONG_RUN = int(os.environ.get("EVENTS", 0))
ROWS = 100_000
EDGE = 20
LONG_EDGE = 1000

COLUMNS = "id bigint, a int, name text, d double precision, ts timestamptz, amt numeric(12,2)"
FILL = f"""
    INSERT INTO {{table}}
    SELECT i, i % 1000, 'name ' || substr(md5(i::text), 1, 15), sqrt(i), timestamptz '2024-01-01 00:00Z' + i * interval '1 s', i / 100.0
    FROM generate_series(1, {ROWS}) i"""


def event(number: int) -> tuple[str, tuple[object, ...]]:
    """One event: the statement and its values. No two events name the same key; the upper half of the keys is deleted."""
    key = 1 + number * 7919 % (ROWS // 2)
    match number % 3:
        case 0:
            values = (ROWS + number, number, f"event {number}", number / 3, "2024-06-01 12:00Z", number / 100)
            return "INSERT INTO {table} VALUES (%s, %s, %s, %s, %s, %s)", values
        case 1:
            return "UPDATE {table} SET a = a + 1, name = %s, amt = amt + 0.01 WHERE id = %s", (f"event {number}", key)
        case _:
            return "DELETE FROM {table} WHERE id = %s", (ROWS // 2 + key,)


def play(session: psycopg.Connection, table: str, first: int, count: int) -> list[float]:
    """Plays events and returns how long each took."""
    taken = []
    for number in range(first, first + count):
        statement, values = event(number)
        started = time.perf_counter()
        done = session.execute(statement.format(table=table), values)
        taken.append(time.perf_counter() - started)
        assert done.rowcount == 1, f"event {number} changed {done.rowcount} rows"
    return taken


def prepare(database: Database, lake_table: str, heap_table: str) -> None:
    """Makes both tables, filled; the first events of a session connect to the server and are not measured."""
    database.sql(f"CREATE TABLE {lake_table} ({COLUMNS}) USING iceberg", f"CREATE TABLE {heap_table} ({COLUMNS})")
    database.sql(FILL.format(table=heap_table), f"CREATE INDEX ON {heap_table} (id)", f"VACUUM ANALYZE {heap_table}")
    database.sql(f"INSERT INTO {lake_table} SELECT * FROM {heap_table}", "CHECKPOINT")
    for table in (lake_table, heap_table):
        play(database.main, table, 0, 3)


def cells(values: list[float], edge: int) -> list[str]:
    """A line of the table."""
    first, last = mean(values[:edge]), mean(values[-edge:])
    shown = (percentile(values, 0.5), percentile(values, 0.99), first, last)
    return [f"{sum(values):.2f}", *(f"{1000 * value:.2f}" for value in shown), f"{last / first:.2f}"]


def check(database: Database, lake_table: str, heap_table: str) -> None:
    """Both tables have the same rows."""
    different = f"(TABLE {lake_table} EXCEPT ALL TABLE {heap_table}) UNION ALL (TABLE {heap_table} EXCEPT ALL TABLE {lake_table})"
    assert database.value(f"SELECT count(*) FROM ({different}) x") == 0, "the Iceberg table and the heap table differ"


def main() -> None:
    """Runs the benchmark."""
    with durable_lake() as lake:
        database = lake.database("bench")
        sync = seconds_to_sync(lake.base)
        step(f"{EVENTS} events on {ROWS:,} rows")
        prepare(database, "target", "heap")
        with measured(lake, database.main) as total:
            taken = play(database.main, "target", 3, EVENTS)
        heap = play(database.main, "heap", 3, EVENTS)
        check(database, "target", "heap")

        print()
        header = ["", "total s", "p50 ms", "p99 ms", f"first {EDGE} ms", f"last {EDGE} ms", "growth"]
        print_table(header, [["heap table with an index (reference)", *cells(heap, EDGE)], ["Iceberg table", *cells(taken, EDGE)]])
        print(f"\nper event: {1000 * total.postgresql / EVENTS:.1f} ms CPU in PostgreSQL, {1000 * total.server / EVENTS:.1f} ms in the server;")
        print(f"a sync of a new small file and its directory takes {1000 * sync:.1f} ms here\n", flush=True)
        if LONG_RUN:
            step(f"{LONG_RUN} events with the background worker on, every 10 s")
            lake.pg.settings |= {"pg_lake_iceberg.autovacuum": "on", "pg_lake_iceberg.autovacuum_naptime": "10s"}
            lake.pg.reload()
            prepare(database, "long_target", "long_heap")
            long_taken = play(database.main, "long_target", 3, LONG_RUN)
            long_heap = play(database.main, "long_heap", 3, LONG_RUN)
            check(database, "long_target", "long_heap")
            edge = min(LONG_EDGE, LONG_RUN // 2)
            print()
            header[4:6] = [f"first {edge} ms", f"last {edge} ms"]
            print_table(header, [["heap table with an index", *cells(long_heap, edge)], [f"Iceberg table, {LONG_RUN} events", *cells(long_taken, edge)]])
            files = "SELECT count(*) FILTER (WHERE content = 0), count(*) FILTER (WHERE content = 1) FROM lake_table.files WHERE table_name = 'long_target'::regclass"
            ((data_files, delete_files),) = database.rows(files)
            print(f"\nat the end {data_files} data files and {delete_files} delete files\n")
    growth = mean(taken[-EDGE:]) / mean(taken[:EDGE])
    p50, p99 = (1000 * percentile(taken, share) for share in (0.5, 0.99))
    print(f"bench cdc: total_s={sum(taken):.2f} p50_ms={p50:.1f} p99_ms={p99:.1f} growth={growth:.2f}")


if __name__ == "__main__":
    main()
