"""How fast a tenth of a large table is updated or deleted.

UPDATE and DELETE of 10 % of 1,000,000 rows in an Iceberg table, beside DuckDB (two threads) that rewrites the table's own data file
locally, without a network, a transaction or a sync. Medians of 5 runs, each on a new table. `BENCH_ROWS` and `BENCH_RUNS` change the size.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import duckdb

from _measure import Timing, durable_lake, measured, median, print_table, step
from harness.database import Database
from harness.lake import Lake

ROWS = int(os.environ.get("BENCH_ROWS", 1_000_000))
RUNS = int(os.environ.get("BENCH_RUNS", 5))

COLUMNS = "id bigint, a int, name text, d double precision, ts timestamptz, amt numeric(12,2)"
FILL = f"""
    INSERT INTO source
    SELECT i, (i::bigint * 7919 % 1000003)::int, 'name ' || substr(md5(i::text), 1, 15), sqrt(i) * 1.0001,
           timestamptz '2020-01-01 00:00Z' + i * interval '1.7 s', (i * 31 % 100000000)::numeric / 100
    FROM generate_series(1, {ROWS}) i"""

UPDATE = "UPDATE {table} SET a = a + 1 WHERE id % 10 = 3"
DELETE = "DELETE FROM {table} WHERE id % 10 = 7"
# The same rows, but the condition is one that only PostgreSQL evaluates, or a trigger looks at every row.
DELETE_BY_ROW = "DELETE FROM {table} WHERE id % 10 = 7 AND md5(name) <> 'x'"

REWRITE_UPDATE = "COPY (SELECT id, CASE WHEN id % 10 = 3 THEN a + 1 ELSE a END AS a, name, d, ts, amt FROM read_parquet({files})) TO '{target}'"
REWRITE_DELETE = "COPY (SELECT * FROM read_parquet({files}) WHERE NOT (id % 10 = 7)) TO '{target}'"


class Bench:
    """The servers, and the tables of one run."""

    def __init__(self, lake: Lake) -> None:
        """Fills the table that all others are copies of."""
        self.lake = lake
        self.database: Database = lake.database("bench")
        step(f"filling a heap table with {ROWS:,} rows")
        self.database.sql(f"CREATE TABLE source ({COLUMNS})", FILL, "VACUUM (FREEZE, ANALYZE) source", "CHECKPOINT")
        self.database.sql("CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")

    def new_table(self, using: str) -> str:
        """A new table with all rows."""
        self.database.sql("DROP TABLE IF EXISTS target", f"CREATE TABLE target ({COLUMNS}) {using}", "INSERT INTO target SELECT * FROM source")
        return "target"

    def run(self, statement: str, *, heap: bool = False, trigger: bool = False) -> Timing:
        """Measures a statement on a new table."""
        table = self.new_table("" if heap else "USING iceberg")
        if heap:
            self.database.sql(f"VACUUM (FREEZE, ANALYZE) {table}")
        if trigger:
            self.database.sql(f"CREATE TRIGGER pass BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION pass()")
        with measured(self.lake, self.database.main) as timing:
            done = self.database.main.execute(statement.format(table=table))
        assert done.rowcount == ROWS // 10, f"{statement}: {done.rowcount} rows"
        left = ROWS - ROWS // 10 if "DELETE" in statement else ROWS
        assert self.database.value(f"SELECT count(*) FROM {table}") == left
        return timing

    def rewrite(self, statement: str) -> Timing:
        """Measures DuckDB rewriting the data file of a new table."""
        files = [path.removeprefix("file://") for path in self.database.data_files(self.new_table("USING iceberg"))]
        target = Path(self.lake.base) / "rewritten.parquet"
        connection = duckdb.connect(config={"threads": 2})
        cpu, wall = time.process_time(), time.perf_counter()
        connection.execute(statement.format(files=files, target=target))
        timing = Timing(wall=time.perf_counter() - wall, server=time.process_time() - cpu)
        connection.close()
        target.unlink()
        return timing


def main() -> None:
    """Runs the benchmark."""
    timings: dict[str, list[Timing]] = {}
    with durable_lake() as lake:
        bench = Bench(lake)
        works = {
            "DuckDB, update by rewriting": lambda: bench.rewrite(REWRITE_UPDATE),
            "UPDATE 10 %": lambda: bench.run(UPDATE),
            "UPDATE 10 %, row by row (a trigger)": lambda: bench.run(UPDATE, trigger=True),
            "UPDATE 10 % of a heap table": lambda: bench.run(UPDATE, heap=True),
            "DuckDB, delete by rewriting": lambda: bench.rewrite(REWRITE_DELETE),
            "DELETE 10 %": lambda: bench.run(DELETE),
            "DELETE 10 %, condition in PostgreSQL": lambda: bench.run(DELETE_BY_ROW),
            "DELETE 10 % of a heap table": lambda: bench.run(DELETE, heap=True),
        }
        for number in range(1, RUNS + 1):
            step(f"run {number} of {RUNS}")
            for name, work in works.items():
                timings.setdefault(name, []).append(work())

    medians = {name: median(runs) for name, runs in timings.items()}
    update, delete = medians["DuckDB, update by rewriting"].wall, medians["DuckDB, delete by rewriting"].wall

    def ratio(name: str) -> float:
        return medians[name].wall / (delete if "delete" in name.lower() else update)

    print(f"\n{ROWS:,} rows; medians of {RUNS} runs, each on a new table\n")
    rows = [
        [name, f"{timing.wall:.3f}", f"{ratio(name):.2f}", f"{timing.postgresql:.2f}", f"{timing.server:.2f}"] for name, timing in medians.items()
    ]
    print_table(["", "wall s", "x DuckDB", "PostgreSQL CPU s", "DuckDB CPU s"], rows)
    print(f"\nbench bulk_dml: update_ratio={ratio('UPDATE 10 %'):.2f} delete_ratio={ratio('DELETE 10 %'):.2f}")


if __name__ == "__main__":
    main()
