"""Hours of work in minutes: everything at once, and then everything has to be in order.

    bench/soak.py [MINUTES]

CDC writers on several Iceberg tables, each event on a heap twin as well; readers that compare the two under one snapshot; VACUUM, by
hand and by the background worker; a reader from outside (PyIceberg). Old snapshots expire and their files are removed
while it runs. It ends with full equality, and with no backend, connection, thread or file left over.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Callable

import psycopg

from _measure import durable_lake, mean, percentile, print_table, step
from harness.database import Database
from harness.lake import Lake
from harness.objects import assert_exactly_what_is_referred_to, assert_nothing_is_lost, assert_nothing_is_missing, clean_up
from harness.outside import assert_outside_equal
from harness.process import wait_until
from harness.readers import read_pyiceberg
from harness.twins import differing_rows

COLUMNS = "id bigint, a int, name text, d double precision, ts timestamptz, amt numeric(12,2)"
TABLES = ("one", "two", "three")
ROWS = 5_000
SETTINGS = {
    "pg_lake_iceberg__autovacuum": "on",
    "pg_lake_iceberg__autovacuum_naptime": "10s",
    "pg_lake_iceberg__max_snapshot_age": "30s",
    # Longer than any reader here takes.
    "pg_lake_engine__orphaned_file_retention_period": "60s",
}


class Soak:
    """The work, in threads, until the time is over or one of them fails."""

    def __init__(self, lake: Lake, database: Database) -> None:
        """Makes the tables."""
        self.lake = lake
        self.database = database
        self.stop = threading.Event()
        self.failures: list[BaseException] = []
        self.counts: dict[str, int] = {}
        self.latencies: list[float] = []
        self.random = random.Random(7)
        for table in TABLES:
            database.sql(f"CREATE TABLE {table}_heap ({COLUMNS})", f"CREATE TABLE {table}_lake ({COLUMNS}) USING iceberg")
            database.sql(
                f"INSERT INTO {table}_heap SELECT i, i % 100, 'name ' || i, i / 7.0, '2024-01-01 00:00Z', i / 100.0 FROM generate_series(1, {ROWS}) i",
                f"CREATE INDEX ON {table}_heap (id)",
                f"INSERT INTO {table}_lake SELECT * FROM {table}_heap",
            )

    def run(self, minutes: float) -> None:
        """Lets everybody work for so long."""
        works: list[tuple[str, Callable[[psycopg.Connection, random.Random], None]]] = [
            ("events on one", lambda session, chance: self.event(session, chance, "one")),
            ("events on two", lambda session, chance: self.event(session, chance, "two")),
            ("inserts on one", lambda session, chance: self.insert(session, chance, "one")),
            ("batches on three", lambda session, chance: self.batch(session, chance, "three")),
            ("batches on three", lambda session, chance: self.batch(session, chance, "three")),
            ("reads", self.read),
            ("reads", self.read),
            ("outside reads", self.read_outside),
            ("vacuums", self.vacuum),
        ]
        threads = [threading.Thread(target=self.work, args=(name, work, number)) for number, (name, work) in enumerate(works)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60 * minutes
        while time.monotonic() < deadline and not self.failures:
            self.stop.wait(min(30, max(0.1, deadline - time.monotonic())))
            step(f"{max(0, deadline - time.monotonic()):.0f} s to go: " + ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items())))
        self.stop.set()
        for thread in threads:
            thread.join(120)
        if self.failures:
            raise self.failures[0]
        assert not any(thread.is_alive() for thread in threads), "a session does not end"

    def work(self, name: str, work: Callable[[psycopg.Connection, random.Random], None], seed: int) -> None:
        """One session, again and again."""
        chance = random.Random(seed)
        try:
            while not self.stop.is_set():
                # A new session now and then: connections must not pile up at the server.
                with self.database.session(autocommit=False) as session:
                    for _ in range(200):
                        if self.stop.is_set():
                            break
                        work(session, chance)
                        session.rollback()
                        self.counts[name] = self.counts.get(name, 0) + 1
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            error.add_note(f"in: {name}")
            self.failures.append(error)

    def both(self, session: psycopg.Connection, table: str, statement: str) -> None:
        """A statement on a table and its twin, which must do the same.

        The lake table comes first: who updates it has it until the transaction ends, and so the heap table as well.
        """
        on_lake = session.execute(statement.replace("{t}", f"{table}_lake")).rowcount
        on_heap = session.execute(statement.replace("{t}", f"{table}_heap")).rowcount
        assert on_lake == on_heap, f"{statement}: {on_lake} rows on the lake table, {on_heap} on the heap table"

    def event(self, session: psycopg.Connection, chance: random.Random, table: str) -> None:
        """One event of a CDC stream."""
        key = chance.randrange(1, 2 * ROWS)
        started = time.perf_counter()
        self.both(
            session,
            table,
            chance.choice([
                f"INSERT INTO {{t}} VALUES ({key}, 0, 'event', {key}, '2024-02-29 12:00Z', 1)",
                f"UPDATE {{t}} SET a = a + 1, name = name || '.' WHERE id = {key} AND length(name) < 40",
                f"DELETE FROM {{t}} WHERE id = {key}",
            ]),  # fmt: skip
        )
        session.commit()
        self.latencies.append(time.perf_counter() - started)

    def insert(self, session: psycopg.Connection, chance: random.Random, table: str) -> None:
        """Inserts beside the events, with keys that these do not use."""
        count = chance.choice([1, 1, 20, 500])
        self.both(session, table, f"INSERT INTO {{t}} SELECT -i, i, 'inserted', i, NULL, i FROM generate_series(1, {count}) i")
        session.commit()
        self.stop.wait(0.5)

    def batch(self, session: psycopg.Connection, chance: random.Random, table: str) -> None:
        """A longer transaction, with parts that are taken back."""
        first = chance.randrange(1, 2 * ROWS)
        self.both(session, table, f"UPDATE {{t}} SET amt = amt + 1 WHERE id BETWEEN {first} AND {first + 200}")
        session.execute("SAVEPOINT a")
        self.both(session, table, f"DELETE FROM {{t}} WHERE id BETWEEN {first + 100} AND {first + 150}")
        if chance.random() < 0.5:
            session.execute("ROLLBACK TO a")
        self.both(session, table, f"INSERT INTO {{t}} SELECT i, 1, 'batch', i, NULL, 0 FROM generate_series({first}, {first + 50}) i")
        if chance.random() < 0.8:
            session.commit()
        self.stop.wait(1)

    def read(self, session: psycopg.Connection, chance: random.Random) -> None:
        """Under one snapshot both tables are always equal, whatever goes on."""
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        table = chance.choice(TABLES)
        query = "SELECT count(*), sum(id), sum(a), sum(amt), sum(length(name)) FROM {t}" + chance.choice(["", " WHERE id > 1000", " WHERE a = 1"])
        found = [session.execute(query.replace("{t}", f"{table}_{kind}")).fetchall() for kind in ("heap", "lake")]
        assert found[0] == found[1], f"{query}: {found}"
        self.stop.wait(0.1)

    def read_outside(self, session: psycopg.Connection, chance: random.Random) -> None:
        """PyIceberg reads what the snapshot says that is committed."""
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        table = chance.choice(TABLES)
        query = "SELECT metadata_location FROM lake_iceberg.tables_internal WHERE table_name = %s::regclass"
        ((location,),) = session.execute(query, [f"{table}_lake"]).fetchall()
        ((rows, ids),) = session.execute(f"SELECT count(*), coalesce(sum(id), 0)::bigint FROM {table}_heap").fetchall()
        read = read_pyiceberg(location)
        assert (read.num_rows, sum(read.column("id").to_pylist())) == (rows, ids), f"PyIceberg reads {read.num_rows} rows, there are {rows}"
        self.stop.wait(1)

    def vacuum(self, session: psycopg.Connection, chance: random.Random) -> None:
        """VACUUM by hand."""
        session.rollback()
        session.autocommit = True
        session.execute(chance.choice([f"VACUUM {chance.choice(TABLES)}_lake", "VACUUM (ICEBERG)", "SELECT lake_engine.flush_in_progress_queue()"]))
        session.autocommit = False
        self.stop.wait(3)

    def check(self) -> None:
        """Everything is in order."""
        step("comparing the tables, from inside and from outside")
        for table in TABLES:
            found = differing_rows(self.database, f"{table}_lake", f"{table}_heap")
            assert not found, f"{table}: {found}"
            assert_outside_equal(self.database, f"{table}_lake", f"{table}_heap")
        step("comparing the objects with the metadata")
        assert_nothing_is_missing(self.database)
        assert_nothing_is_lost(self.database)
        self.database.close()
        clean_up(self.database)
        assert_exactly_what_is_referred_to(self.database)
        self.database.close()


def threads_of(pid: int) -> int:
    """The number of a process's threads."""
    return len(os.listdir(f"/proc/{pid}/task"))


def resident_mb(pid: int) -> int:
    """A process's memory."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024


def end_background_work(lake: Lake) -> None:
    """Switches the background worker off; it would go on letting snapshots expire."""
    lake.pg.settings["pg_lake_iceberg.autovacuum"] = "off"
    lake.pg.reload()
    with lake.pg.connect("postgres") as session:
        workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_lake_iceberg autovacuum worker'"
        wait_until(lambda: session.execute("SHOW pg_lake_iceberg.autovacuum").fetchone() == ("off",), "the setting has arrived", 30)
        wait_until(lambda: session.execute(workers).fetchone() == (0,), "the background worker has ended", 60)


def check_nothing_is_left(lake: Lake, threads: int) -> None:
    """No backend, connection, stream, thread or temporary file."""
    step("looking for what is left over")
    with lake.pg.connect("postgres") as session:
        others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        wait_until(lambda: session.execute(others).fetchone() == (0,), "no backend is left", 30)
    wait_until(lambda: lake.duck.client_sockets() == 0, "no connection to the server is left", 30)
    wait_until(lambda: lake.duck.stream_descriptors() == [], "no stream is left", 30)
    wait_until(lambda: threads_of(lake.duck.pid) <= threads + 2, f"the server has {threads} threads again", 60)
    assert lake.pg.temporary_files() == []


def main() -> None:
    """Runs the soak."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    with durable_lake(**SETTINGS) as lake:
        database = lake.database("soak")
        soak = Soak(lake, database)
        threads, memory = threads_of(lake.duck.pid), resident_mb(lake.duck.pid)
        step(f"working for {minutes:g} minutes")
        soak.run(minutes)
        end_background_work(lake)
        soak.check()
        after = resident_mb(lake.duck.pid)
        check_nothing_is_left(lake, threads)
    quarter = len(soak.latencies) // 4
    rows = [[name, str(count)] for name, count in sorted(soak.counts.items())]
    print()
    print_table(["", "times"], rows)
    print(f"\nmemory of the server: {memory} MB at the start, {after} MB at the end")
    growth = mean(soak.latencies[-quarter:]) / mean(soak.latencies[:quarter])
    print(f"soak: minutes={minutes:g} events={len(soak.latencies)} p50_ms={1000 * percentile(soak.latencies, 0.5):.1f} growth={growth:.2f}")


if __name__ == "__main__":
    main()
