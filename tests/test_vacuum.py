"""VACUUM of lake tables: compaction, expiry of snapshots, bounded metadata, and the worker that does it by itself."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Callable, Iterator

import psycopg
import pytest

from harness.database import Database
from harness.lake import Lake
from harness.objects import assert_nothing_is_lost, assert_nothing_is_missing, clean_up, flush, local_path
from harness.process import wait_until
from harness.readers import pyiceberg_table
from harness.twins import Twins


@pytest.fixture
def twins(any_db: Database) -> Twins:
    """A pair of tables without rows."""
    return Twins(any_db, "t", "id int, n int, name text")


def add_files(twins: Twins, count: int, rows: int = 10) -> None:
    """Adds as many small data files."""
    for number in range(count):
        twins.run(f"INSERT INTO {{t}} SELECT i, i % 10, 'name ' || i FROM generate_series({number * rows + 1}, {(number + 1) * rows}) i")


def notices(session: psycopg.Connection) -> list[tuple[str | None, str | None]]:
    """Collects a session's notices: (severity, message)."""
    said: list[tuple[str | None, str | None]] = []
    session.add_notice_handler(lambda diagnostic: said.append((diagnostic.severity, diagnostic.message_primary)))
    return said


@contextlib.contextmanager
def server_settings(lake: Lake, **settings: str) -> Iterator[None]:
    """Settings of the cluster (with __ for the dot) that hold for the block."""
    new = {name.replace("__", "."): value for name, value in settings.items()}
    before = dict(lake.pg.settings)
    lake.pg.settings |= new
    lake.pg.reload()
    try:
        yield
    finally:
        lake.pg.settings = before
        lake.pg.reload()


def test_small_files_become_one(twins: Twins) -> None:
    add_files(twins, 12)
    twins.db.sql("VACUUM t_lake")
    assert len(twins.db.data_files("t_lake")) == 1
    snapshot = pyiceberg_table(twins.db.metadata_location("t_lake")).current_snapshot()
    assert snapshot and snapshot.summary and snapshot.summary.operation.value == "replace"
    twins.assert_equal_everywhere()
    metadata = twins.db.metadata_location("t_lake")
    twins.db.sql("VACUUM t_lake")
    assert twins.db.metadata_location("t_lake") == metadata, "there was nothing left to do"


def test_fewer_files_than_the_minimum_stay_as_they_are(twins: Twins) -> None:
    add_files(twins, 4)
    twins.db.sql("VACUUM t_lake")
    assert len(twins.db.data_files("t_lake")) == 4
    twins.db.sql("SET pg_lake_table.vacuum_compact_min_input_files = 4", "VACUUM t_lake")
    assert len(twins.db.data_files("t_lake")) == 1
    add_files(twins, 2)
    twins.db.sql("RESET pg_lake_table.vacuum_compact_min_input_files", "VACUUM (FULL) t_lake")
    assert len(twins.db.data_files("t_lake")) == 1
    twins.assert_equal_everywhere()


def test_files_with_many_deletes_are_rewritten(twins: Twins) -> None:
    db = twins.db
    add_files(twins, 6, rows=100)
    db.sql("SET pg_lake_table.copy_on_write_threshold = 100")
    twins.run("DELETE FROM {t} WHERE id % 2 = 0", "UPDATE {t} SET n = n + 1 WHERE id % 5 = 1", "DELETE FROM {t} WHERE id % 100 = 7")
    assert db.delete_files("t_lake")
    db.sql("VACUUM t_lake")
    assert db.delete_files("t_lake") == [] and len(db.data_files("t_lake")) < 6
    twins.assert_equal_everywhere()
    twins.run("DELETE FROM {t} WHERE n = 3", "UPDATE {t} SET name = 'after' WHERE id = 1")
    twins.assert_equal_everywhere()


def test_compaction_works_in_rounds(twins: Twins) -> None:
    add_files(twins, 15)
    twins.db.sql("SET pg_lake_table.max_compactions_per_vacuum = 0", "VACUUM t_lake")
    assert len(twins.db.data_files("t_lake")) == 15
    twins.db.sql("SET pg_lake_table.max_compactions_per_vacuum = 1", "VACUUM t_lake")
    assert len(twins.db.data_files("t_lake")) < 15
    twins.assert_equal_everywhere()


def test_vacuum_beside_writers(db: Database) -> None:
    """INSERTs and UPDATEs go on while the table is compacted again and again, and nothing is lost."""
    twins = Twins(db, "t", "id int, n int, name text")
    add_files(twins, 10)
    failures: list[BaseException] = []
    stop = threading.Event()

    def insert(number: int) -> None:
        with db.session(autocommit=False) as session:
            for i in range(25):
                twins.run(f"INSERT INTO {{t}} SELECT {number * 10000 + i * 10} + i, {number}, 'w' FROM generate_series(1, 5) i", session=session)
                session.commit()

    def update() -> None:
        with db.session(autocommit=False) as session:
            for i in range(25):
                twins.run(f"UPDATE {{t}} SET n = n + 1 WHERE id BETWEEN {i} AND {i + 20}", f"DELETE FROM {{t}} WHERE id = {i * 3}", session=session)
                session.commit()

    def vacuum() -> None:
        with db.session() as session:
            while not stop.is_set():
                session.execute("VACUUM t_lake")

    def guarded(work: Callable[..., None], *arguments: int) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failures.append(error)

    writers = [threading.Thread(target=guarded, args=(insert, number)) for number in (1, 2)]
    writers.append(threading.Thread(target=guarded, args=(update,)))
    background = threading.Thread(target=guarded, args=(vacuum,))
    for thread in (*writers, background):
        thread.start()
    for thread in writers:
        thread.join(200)
    stop.set()
    background.join(60)
    assert not failures, failures
    assert not any(thread.is_alive() for thread in (*writers, background))
    twins.assert_equal_everywhere()
    db.sql("VACUUM t_lake")
    assert len(db.data_files("t_lake")) <= 4
    assert_nothing_is_missing(db)
    assert_nothing_is_lost(db)
    twins.assert_equal_everywhere()


def test_vacuum_of_all_lake_tables(twins: Twins) -> None:
    db = twins.db
    db.sql("CREATE SCHEMA s", 'CREATE TABLE s."T 2" (a int) USING iceberg', "CREATE TABLE heap (a int)")
    add_files(twins, 6)
    for number in range(6):
        db.sql(f'INSERT INTO s."T 2" VALUES ({number})')
    db.sql("VACUUM (ICEBERG)")
    assert len(db.data_files("t_lake")) == len(db.data_files('s."T 2"')) == 1
    add_files(twins, 6)
    db.sql("VACUUM (ICEBERG) t_lake", "VACUUM (ICEBERG, VERBOSE) t_lake", "VACUUM t_lake, heap", "VACUUM (ANALYZE) t_lake", "VACUUM heap")
    assert len(db.data_files("t_lake")) == 1
    with pytest.raises(psycopg.Error):
        db.sql("VACUUM (ICEBERG) heap")
    twins.assert_equal_everywhere()


def test_not_in_a_transaction_block(twins: Twins) -> None:
    for statement in ("VACUUM t_lake", "VACUUM (ICEBERG)", "VACUUM (FULL) t_lake"):
        with twins.db.session(autocommit=False) as session:
            with pytest.raises(psycopg.errors.ActiveSqlTransaction):
                session.execute(statement)
        with pytest.raises(psycopg.errors.ActiveSqlTransaction):
            twins.db.sql(f"DO $$ BEGIN EXECUTE '{statement}'; END $$")


def test_only_the_owner_may(twins: Twins) -> None:
    db = twins.db
    role = f"{db.name}_other"
    add_files(twins, 6)
    with db.session() as session:
        said = notices(session)
        session.execute(f"CREATE ROLE {role}")
        session.execute(f"GRANT ALL ON t_lake, t_heap TO {role}")
        session.execute(f"SET ROLE {role}")
        session.execute("VACUUM t_heap")
        session.execute("VACUUM t_lake")
        assert [severity for severity, _ in said] == ["WARNING"] * 2
        assert said[1][1] == (said[0][1] or "").replace("t_heap", "t_lake")
        session.execute("RESET ROLE")
        assert len(db.data_files("t_lake")) == 6
        session.execute(f"ALTER TABLE t_lake OWNER TO {role}")
        session.execute(f"SET ROLE {role}")
        session.execute("VACUUM t_lake")
        session.execute("RESET ROLE")
        session.execute("ALTER TABLE t_lake OWNER TO postgres")
        session.execute(f"DROP OWNED BY {role}")
        session.execute(f"DROP ROLE {role}")
    assert len(db.data_files("t_lake")) == 1


def test_snapshots_expire(twins: Twins) -> None:
    db = twins.db

    def count() -> int:
        return len(pyiceberg_table(db.metadata_location("t_lake")).snapshots())

    add_files(twins, 8)
    assert count() == 8
    db.sql("VACUUM t_lake")
    assert count() == 9, "none of them is older than pg_lake_iceberg.max_snapshot_age"
    db.sql("SET pg_lake_iceberg.max_snapshot_age = 0")
    add_files(twins, 1)
    assert count() == 1, "0: expire on every write"
    db.sql("RESET pg_lake_iceberg.max_snapshot_age", "SET pg_lake_iceberg.max_snapshots = 8")
    add_files(twins, 20)
    assert count() <= 10, "a quarter more, so that not every commit has to expire some"
    db.sql("VACUUM t_lake")
    assert count() <= 8
    twins.assert_equal_everywhere()


def test_options_of_a_table_override_settings(any_db: Database) -> None:
    db = any_db
    db.sql("CREATE TABLE t (a int) USING iceberg WITH (max_snapshot_age = 0)", *(f"INSERT INTO t VALUES ({i})" for i in range(3)))

    def count() -> int:
        return len(pyiceberg_table(db.metadata_location("t")).snapshots())

    assert count() == 1
    db.sql("ALTER FOREIGN TABLE t OPTIONS (SET max_snapshot_age '1000')", *(f"INSERT INTO t VALUES ({i})" for i in range(3)))
    assert count() == 4
    db.sql("SET pg_lake_iceberg.max_snapshot_age = 0", "ALTER TABLE t OPTIONS (DROP max_snapshot_age, ADD autovacuum_enabled 'false')", "INSERT INTO t VALUES (3)")
    assert count() == 1
    for wrong in ("ADD max_snapshot_age '-1'", "SET autovacuum_enabled 'perhaps'", "ADD no_such_option '1'"):
        with pytest.raises(psycopg.Error):
            db.sql(f"ALTER FOREIGN TABLE t OPTIONS ({wrong})")
    assert db.value("SELECT count(*) FROM t") == 7


@pytest.mark.slow
def test_metadata_stays_bounded(db: Database) -> None:
    """After 300 commits metadata.json is as long as after 100, and a clean-up leaves few objects."""
    twins = Twins(db, "t", "id int, n int, name text")
    db.sql("SET pg_lake_iceberg.max_snapshots = 30", "SET pg_lake_iceberg.manifest_min_count_to_merge = 20")
    sizes, new_bytes = [], []
    known: set[str] = set()
    twins.run("INSERT INTO {t} SELECT i, 0, 'x' FROM generate_series(1, 1000) i")
    for number in range(300):
        event = [f"INSERT INTO {{t}} VALUES ({number + 2000}, 0, 'x')", f"UPDATE {{t}} SET n = n + 1 WHERE id = {number}", f"DELETE FROM {{t}} WHERE id = {number + 500}"]
        twins.run(event[number % 3])
        sizes.append(os.path.getsize(local_path(db.metadata_location("t_lake"))))
        files = db.lake_files()
        new_bytes.append(sum(os.path.getsize(path) for path in files - known))
        known = files
    # The metadata log has its hundred entries by then, and the number of snapshots goes up and down.
    assert max(sizes[250:]) < 1.1 * max(sizes[120:170])
    assert max(sizes) < 60_000
    # What a commit writes; a commit that merges manifests writes more.
    assert sorted(new_bytes[250:])[25] < 1.3 * sorted(new_bytes[120:170])[25]
    table = pyiceberg_table(db.metadata_location("t_lake"))
    assert len(table.snapshots()) <= 38 and len(table.metadata.metadata_log) <= 100
    twins.assert_equal_everywhere()
    db.sql("SET pg_lake_iceberg.max_snapshot_age = 0", "VACUUM t_lake")
    with db.session() as session:
        flush(session, "t_lake")
    assert len(db.data_files("t_lake")) <= 5
    assert len(db.lake_files()) <= 130
    twins.assert_equal_everywhere()


def test_manifests_are_merged(twins: Twins) -> None:
    db = twins.db

    def manifests() -> int:
        table = pyiceberg_table(db.metadata_location("t_lake"))
        return len(table.current_snapshot().manifests(table.io))

    db.sql("SET pg_lake_iceberg.manifest_min_count_to_merge = 10", "SET pg_lake_table.copy_on_write_threshold = 100")
    add_files(twins, 35)
    assert manifests() <= 12
    for number in range(15):
        twins.run(f"DELETE FROM {{t}} WHERE id = {number * 11 + 1}")
    assert manifests() <= 24
    twins.assert_equal_everywhere()
    db.sql("SET pg_lake_iceberg.enable_manifest_merge_on_write = off")
    before = manifests()
    add_files(twins, 15)
    assert manifests() == before + 15
    db.sql("RESET pg_lake_iceberg.enable_manifest_merge_on_write", "VACUUM (FULL) t_lake")
    assert manifests() <= 2
    twins.assert_equal_everywhere()


def test_the_worker_vacuums_by_itself(lake: Lake, db: Database) -> None:
    twins = Twins(db, "t", "id int, n int, name text")
    add_files(twins, 10)
    db.sql("CREATE TABLE left_alone (id int) USING iceberg WITH (autovacuum_enabled = false)")
    for number in range(10):
        db.sql(f"INSERT INTO left_alone VALUES ({number})")
    with server_settings(lake, pg_lake_iceberg__autovacuum="on", pg_lake_iceberg__autovacuum_naptime="1s"):
        wait_until(lambda: len(db.data_files("t_lake")) == 1, "the worker has compacted the table", 60)
        add_files(twins, 10)
        wait_until(lambda: len(db.data_files("t_lake")) <= 2, "and once more", 60)
        assert len(db.data_files("left_alone")) == 10
        with server_settings(lake, pg_lake_iceberg__autovacuum="off"):
            wait_until(lambda: db.value("SHOW pg_lake_iceberg.autovacuum") == "off", "the setting has arrived")
    twins.assert_equal_everywhere()
    clean_up(db)
    assert_nothing_is_missing(db)


def test_the_worker_is_not_in_the_way(lake: Lake, db: Database) -> None:
    """A database can be dropped and PostgreSQL stopped while the worker runs; the worker holds nothing between its rounds."""
    with server_settings(lake, pg_lake_iceberg__autovacuum="on", pg_lake_iceberg__autovacuum_naptime="1s"):
        other = lake.database(f"{db.name}_dropped")
        twins = Twins(other, "t", "id int, n int, name text")
        add_files(twins, 6)
        wait_until(lambda: len(other.data_files("t_lake")) == 1, "the worker has been there", 60)
        other.close()
        with lake.pg.connect("postgres") as session:
            session.execute(f'DROP DATABASE "{other.name}"')
