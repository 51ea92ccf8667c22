"""How long a commit of one row takes, and whether it gets longer with the number of commits before it.

500 single-row INSERTs into one Iceberg table, each its own transaction, everything synced to disk before COMMIT returns.
"""

from __future__ import annotations

import os
import time

from _measure import durable_lake, measured, mean, percentile, print_table, seconds_to_sync, step

COMMITS = int(os.environ.get("BENCH_COMMITS", 500))
EDGE = 20


def main() -> None:
    """Runs the benchmark."""
    with durable_lake() as lake:
        database = lake.database("bench")
        session = database.main
        sync = seconds_to_sync(lake.base)
        database.sql("CREATE TABLE events (id bigint, at timestamptz DEFAULT now(), note text) USING iceberg", "CREATE TABLE heap (LIKE events)")

        step(f"{COMMITS} single-row INSERTs")
        taken: list[float] = []
        # The first INSERT of a session connects to the server; that is not what is measured.
        database.sql("INSERT INTO events (id, note) VALUES (0, 'first')", "INSERT INTO heap (id, note) VALUES (0, 'first')")
        with measured(lake, session) as total:
            for number in range(1, COMMITS + 1):
                started = time.perf_counter()
                session.execute("INSERT INTO events (id, note) VALUES (%s, %s)", (number, f"event {number}"))
                taken.append(time.perf_counter() - started)
        heap: list[float] = []
        for number in range(1, COMMITS + 1):
            started = time.perf_counter()
            session.execute("INSERT INTO heap (id, note) VALUES (%s, %s)", (number, f"event {number}"))
            heap.append(time.perf_counter() - started)
        assert database.value("SELECT count(*) FROM events") == COMMITS + 1

    def cells(values: list[float]) -> list[str]:
        return [f"{1000 * value:.1f}" for value in (percentile(values, 0.5), percentile(values, 0.99), mean(values[:EDGE]), mean(values[-EDGE:]))]

    print()
    print_table(["ms", "p50", "p99", f"first {EDGE}", f"last {EDGE}"], [["Iceberg table", *cells(taken)], ["heap table", *cells(heap)]])
    print(f"\nper commit: {1000 * total.postgresql / COMMITS:.1f} ms CPU in PostgreSQL, {1000 * total.server / COMMITS:.1f} ms in the server;")
    print(f"a sync of a new small file and its directory takes {1000 * sync:.1f} ms here\n")
    growth = mean(taken[-EDGE:]) / mean(taken[:EDGE])
    print(f"bench commit: p50_ms={1000 * percentile(taken, 0.5):.1f} growth={growth:.2f}")


if __name__ == "__main__":
    main()
