"""How fast rows go from a heap table into an Iceberg table, streaming on.

Measured beside reference (a): the same DuckDB, two threads, turning the same rows from a CSV file on disk into Parquet, in the
same run. `BENCH_ROWS` and `BENCH_RUNS` change the size; `BENCH_PROFILE=1` records the backend with `perf` and prints where
its time goes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb

from _measure import Timing, durable_lake, measured, median, print_table, step
from harness.lake import Lake

ROWS = int(os.environ.get("BENCH_ROWS", 5_000_000))
RUNS = int(os.environ.get("BENCH_RUNS", 3))
PROFILE = os.environ.get("BENCH_PROFILE") == "1"

COLUMNS = "id bigint, a int, name text, d double precision, ts timestamptz, amt numeric(12,2)"
FILL = f"""
    INSERT INTO source
    SELECT i, (i::bigint * 7919 % 1000003)::int, 'name ' || substr(md5(i::text), 1, 15), sqrt(i) * 1.0001,
           timestamptz '2020-01-01 00:00Z' + i * interval '1.7 s', (i * 31 % 100000000)::numeric / 100
    FROM generate_series(1, {ROWS}) i"""

REFERENCE = """
    COPY (FROM read_csv('{csv}', auto_detect=false, header=false, delim=',', quote='"', escape='"', nullstr='',
                        columns={{'id': 'BIGINT', 'a': 'INTEGER', 'name': 'VARCHAR', 'd': 'DOUBLE', 'ts': 'TIMESTAMPTZ', 'amt': 'DECIMAL(12,2)'}}))
    TO '{parquet}' (FORMAT parquet, COMPRESSION snappy)"""


def main() -> None:
    """Runs the benchmark."""
    with durable_lake() as lake:
        database = lake.database("bench")
        session = database.main
        step(f"filling a heap table with {ROWS:,} rows")
        database.sql(f"CREATE TABLE source ({COLUMNS})", FILL, "VACUUM (FREEZE, ANALYZE) source", "CHECKPOINT")
        heap_bytes = database.value("SELECT pg_table_size('source')")
        csv = lake.base / "postgresql" / "rows.csv"
        database.sql(f"COPY (SELECT * FROM source) TO '{csv}' (FORMAT csv)")

        reference: list[Timing] = []
        streamed: list[Timing] = []
        for run in range(1, RUNS + 1):
            step(f"run {run} of {RUNS}")
            reference.append(run_reference(csv, lake.base))
            table = f"target_{run}"
            database.sql(f"CREATE TABLE {table} ({COLUMNS}) USING iceberg")
            with measured(lake, session) as timing:
                session.execute(f"INSERT INTO {table} SELECT * FROM source")
            streamed.append(timing)
        assert database.value(f"SELECT count(*) FROM target_{RUNS}") == ROWS
        parquet_bytes = database.value(f"SELECT sum(file_size) FROM lake_table.files WHERE table_name = 'target_{RUNS}'::regclass")
        report(median(reference), median(streamed), csv.stat().st_size, heap_bytes, parquet_bytes)
        if PROFILE:
            profile(lake)
    print(f"bench insert_select: ratio={median(streamed).wall / median(reference).wall:.2f}")


def run_reference(csv: Path, base: Path) -> Timing:
    """DuckDB alone, CSV file to Parquet file."""
    parquet = base / "reference.parquet"
    connection = duckdb.connect(config={"threads": 2})
    cpu, wall = time.process_time(), time.perf_counter()
    connection.execute(REFERENCE.format(csv=csv, parquet=parquet))
    timing = Timing(wall=time.perf_counter() - wall, server=time.process_time() - cpu)
    connection.close()
    parquet.unlink()
    return timing


def report(reference: Timing, streamed: Timing, csv_bytes: int, heap_bytes: int, parquet_bytes: int) -> None:
    """Prints the table."""
    print(f"\n{ROWS:,} rows: heap {heap_bytes / 1e6:.0f} MB, CSV {csv_bytes / 1e6:.0f} MB, Parquet {parquet_bytes / 1e6:.0f} MB; medians of {RUNS} runs\n")

    def cells(timing: Timing) -> list[str]:
        return [f"{timing.wall:.2f}", f"{timing.wall / reference.wall:.2f}", f"{timing.postgresql:.2f}", f"{timing.server:.2f}", f"{ROWS / timing.wall / 1e6:.2f}"]

    print_table(
        ["", "wall s", "x (a)", "PostgreSQL CPU s", "DuckDB CPU s", "M rows/s"],
        [
            ["(a) DuckDB, CSV file -> Parquet", *cells(reference)],
            ["INSERT ... SELECT, streaming on", *cells(streamed)],
        ],
    )
    print(flush=True)


def profile(lake: Lake) -> None:
    """Records one more INSERT with perf and prints the functions that take most of the backend's time."""
    data = lake.base / "perf.data"
    with lake.pg.connect("bench") as session:
        session.execute(f"CREATE TABLE profiled ({COLUMNS}) USING iceberg")
        command = ["perf", "record", "-q", "-F", "499", "-g", "-o", str(data), "-p", str(session.info.backend_pid)]
        try:
            recorder = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            print("There is no `perf` here (Debian package linux-perf), so there is no profile.")
            return
        session.execute("INSERT INTO profiled SELECT * FROM source")
        recorder.terminate()
        recorder.wait()
    listing = ["perf", "report", "-i", str(data), "--no-children", "-g", "none", "--stdio", "--percent-limit", "0.7"]
    output = subprocess.run(listing, capture_output=True, text=True)
    print("Where the backend's time goes:")
    print("\n".join(line for line in output.stdout.splitlines() if line.strip() and not line.startswith("#")))
    if output.returncode:
        print(output.stderr, file=sys.stderr)


if __name__ == "__main__":
    main()
