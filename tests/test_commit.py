"""What a transaction writes appears at COMMIT, to everybody at once and for good, or not at all."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Callable

import psycopg
import pytest

from harness.database import Database
from harness.process import wait_until
from harness.readers import pyiceberg_table, row_count


@pytest.fixture
def table(db: Database) -> Database:
    """A database with the lake table `t`, which holds the rows 1 and 2."""
    db.sql("CREATE TABLE t (a int, b text) USING iceberg", "INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    return db


def count(session: psycopg.Connection, query: str = "SELECT count(*) FROM t") -> int:
    """The only value of a query in a session."""
    row = session.execute(query).fetchone()
    assert row
    return row[0]


def assert_unchanged(db: Database, metadata: str) -> None:
    """The table still has its two rows, for everybody."""
    assert db.metadata_location("t") == metadata
    with db.session() as other:
        assert count(other) == 2
    assert row_count(metadata) == 2


def test_rows_are_seen_at_once_by_the_own_transaction_and_at_commit_by_the_others(table: Database) -> None:
    before = table.metadata_location("t")
    with table.session() as other, table.session(autocommit=False) as writer:
        writer.execute("INSERT INTO t SELECT i, 'x' FROM generate_series(3, 100) i")
        assert count(writer) == 100
        writer.execute("INSERT INTO t SELECT a + 100, b FROM t")
        assert count(writer) == 200

        assert count(other) == 2
        assert_unchanged(table, before)

        writer.commit()
        assert count(other) == 200
    assert row_count(table.metadata_location("t")) == 200


def test_a_transaction_is_one_snapshot(table: Database) -> None:
    with table.session(autocommit=False) as writer:
        for i in range(3, 8):
            writer.execute("INSERT INTO t VALUES (%s, 'x')", [i])
        writer.commit()

    snapshots = pyiceberg_table(table.metadata_location("t")).snapshots()
    assert len(snapshots) == 2
    assert [s.summary.operation.value for s in snapshots if s.summary] == ["append", "append"]
    assert snapshots[1].summary["added-records"] == "5"
    assert snapshots[1].summary["total-records"] == "7"
    assert snapshots[1].parent_snapshot_id == snapshots[0].snapshot_id


def test_rollback(table: Database) -> None:
    before = table.metadata_location("t")
    with table.session(autocommit=False) as writer:
        writer.execute("INSERT INTO t SELECT i, 'x' FROM generate_series(3, 100) i")
        writer.rollback()
        assert count(writer) == 2
    assert_unchanged(table, before)


def test_rollback_to_savepoint_takes_back_only_what_came_after_it(table: Database) -> None:
    with table.session(autocommit=False) as writer:
        writer.execute("INSERT INTO t VALUES (3, 'kept')")
        writer.execute("SAVEPOINT a")
        writer.execute("INSERT INTO t VALUES (4, 'lost')")
        writer.execute("SAVEPOINT b")
        writer.execute("INSERT INTO t VALUES (5, 'lost too')")
        writer.execute("RELEASE b")
        assert count(writer) == 5
        writer.execute("ROLLBACK TO a")
        assert count(writer) == 3
        writer.execute("INSERT INTO t VALUES (6, 'kept')")
        writer.commit()

    assert table.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,), (6,)]
    assert row_count(table.metadata_location("t")) == 4


def test_a_failing_statement_leaves_nothing(table: Database) -> None:
    before = table.metadata_location("t")
    with pytest.raises(psycopg.errors.DivisionByZero):
        table.sql("INSERT INTO t SELECT i, (1 / (50000 - i))::text FROM generate_series(3, 100000) i")
    assert_unchanged(table, before)


def test_a_failing_statement_inside_a_savepoint_leaves_the_rest(table: Database) -> None:
    with table.session(autocommit=False) as writer:
        writer.execute("INSERT INTO t VALUES (3, 'kept')")
        with pytest.raises(psycopg.errors.DivisionByZero):
            with writer.transaction():
                writer.execute("INSERT INTO t SELECT i, (1 / (50000 - i))::text FROM generate_series(4, 100000) i")
        writer.execute("INSERT INTO t VALUES (4, 'kept')")
        writer.commit()
    assert table.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,), (4,)]


def test_an_exception_block_of_plpgsql_is_a_savepoint(table: Database) -> None:
    table.sql(
        """DO $$ BEGIN
             INSERT INTO t VALUES (3, 'kept');
             BEGIN
               INSERT INTO t VALUES (4, 'lost');
               RAISE EXCEPTION 'no';
             EXCEPTION WHEN raise_exception THEN
               INSERT INTO t VALUES (5, 'kept');
             END;
           END $$"""
    )
    assert table.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,), (5,)]


def test_several_lake_tables_and_a_heap_table_are_one_transaction(table: Database) -> None:
    table.sql("CREATE TABLE t2 (a int) USING iceberg", "CREATE TABLE h (a int)")
    before = table.metadata_location("t"), table.metadata_location("t2")

    def write(writer: psycopg.Connection) -> None:
        writer.execute("INSERT INTO h SELECT generate_series(1, 10)")
        writer.execute("INSERT INTO t SELECT a + 2, 'h' FROM h")
        writer.execute("INSERT INTO t2 SELECT a FROM t")

    with table.session(autocommit=False) as writer:
        write(writer)
        writer.rollback()
        assert (table.metadata_location("t"), table.metadata_location("t2")) == before
        assert (count(writer), count(writer, "SELECT count(*) FROM t2"), count(writer, "SELECT count(*) FROM h")) == (2, 0, 0)
        writer.rollback()

        write(writer)
        writer.commit()
    assert table.rows("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM t2), (SELECT count(*) FROM h)") == [(12, 12, 10)]
    assert row_count(table.metadata_location("t")) == 12
    assert row_count(table.metadata_location("t2")) == 12


def test_a_constraint_that_is_checked_at_commit_takes_the_lake_rows_with_it(table: Database) -> None:
    table.sql("CREATE TABLE h (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    before = table.metadata_location("t")
    with table.session(autocommit=False) as writer:
        writer.execute("INSERT INTO t VALUES (3, 'x')")
        writer.execute("INSERT INTO h VALUES (1), (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            writer.commit()
    assert_unchanged(table, before)


def test_create_and_fill_in_a_transaction_that_rolls_back(db: Database) -> None:
    with db.session(autocommit=False) as writer:
        writer.execute("CREATE TABLE t (a int) USING iceberg")
        writer.execute("INSERT INTO t VALUES (1)")
        assert count(writer) == 1
        writer.rollback()
    assert db.value("SELECT to_regclass('t')") is None
    assert db.value("SELECT count(*) FROM lake_iceberg.tables_internal") == 0
    assert db.value("SELECT count(*) FROM lake_table.files") == 0
    db.sql("CREATE TABLE t (a int) USING iceberg", "INSERT INTO t VALUES (2)")
    assert db.rows("TABLE t") == [(2,)]


def test_a_dropped_table_comes_back_with_rollback(table: Database) -> None:
    with table.session(autocommit=False) as writer:
        writer.execute("DROP TABLE t")
        writer.rollback()
    assert table.value("SELECT count(*) FROM t") == 2


def test_prepare_transaction_is_refused(table: Database) -> None:
    with table.session(autocommit=False) as writer:
        writer.execute("INSERT INTO t VALUES (3, 'x')")
        with pytest.raises(psycopg.Error) as raised:
            writer.execute("PREPARE TRANSACTION 'x'")
    assert raised.value.sqlstate in ("0A000", "55000")
    assert table.value("SELECT count(*) FROM t") == 2


def test_writers_of_one_table_run_side_by_side(table: Database) -> None:
    with table.session(autocommit=False) as first, table.session(autocommit=False) as second:
        first.execute("INSERT INTO t VALUES (3, 'first')")
        second.execute("SET LOCAL statement_timeout = '5s'")
        second.execute("INSERT INTO t VALUES (4, 'second')")
        second.commit()
        first.commit()
    assert table.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,), (4,)]
    location = table.metadata_location("t")
    assert row_count(location) == 4
    assert len(pyiceberg_table(location).snapshots()) == 3


def test_many_writers_lose_no_row(table: Database) -> None:
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with table.session() as session:
                for i in range(10):
                    session.execute("INSERT INTO t VALUES (%s, 'w')", [1000 * number + i])
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    assert table.rows("SELECT count(*), count(DISTINCT a) FROM t") == [(62, 62)]
    location = table.metadata_location("t")
    assert row_count(location) == 62
    snapshots = pyiceberg_table(location).snapshots()
    assert len({s.sequence_number for s in snapshots}) == len(snapshots) == 61


@pytest.mark.parametrize("how", ["pg_terminate_backend", "kill -9"])
@pytest.mark.parametrize("moment", ["idle in the transaction", "in the middle of the statement"])
def test_a_killed_backend_leaves_the_table_as_it_was(table: Database, how: str, moment: str) -> None:
    before = table.metadata_location("t")
    writer = table.connect(autocommit=False)
    pid = writer.info.backend_pid
    writer.execute("INSERT INTO t SELECT i, 'x' FROM generate_series(3, 1000) i")
    endless: threading.Thread | None = None
    if moment == "in the middle of the statement":
        # Rows flow at once; generate_series in FROM would be collected first.
        endless = threading.Thread(target=_ignore_errors, args=(lambda: writer.execute("INSERT INTO t SELECT generate_series(1, 100000000), 'y'"),))
        endless.start()
        wait_until(lambda: _rows_flow(table, pid), "the statement runs")

    if how == "kill -9":
        starts = _starts(table)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _starts(table) > starts, "PostgreSQL has recovered", 30)
        table.close()
    else:
        assert table.value("SELECT pg_terminate_backend(%s, 5000)", pid)
    if endless:
        endless.join(10)
        assert not endless.is_alive()

    wait_until(lambda: not table.lake.pg.backend_exists(pid), "the backend has ended")
    assert_unchanged(table, before)
    wait_until(lambda: table.lake.duck.stream_descriptors() == [], "the server has no stream left")
    table.sql("INSERT INTO t VALUES (3, 'after')")
    assert row_count(table.metadata_location("t")) == 3


def test_metadata_written_by_a_commit_does_not_grow_with_the_number_of_commits(db: Database) -> None:
    db.sql("CREATE TABLE t (a int) USING iceberg")
    sizes = []
    known = db.lake_files()
    for i in range(60):
        db.sql(f"INSERT INTO t VALUES ({i})")
        new = db.lake_files() - known
        known |= new
        # A data file, and a manifest, a manifest list and a metadata file, however many there were before.
        assert len(new) == 4
        sizes.append({Path(path).suffix: os.path.getsize(path) for path in new if path.endswith(".json")}[".json"])
    assert db.value("SELECT count(*) FROM t") == 60
    assert row_count(db.metadata_location("t")) == 60


def test_the_catalog_agrees_with_the_metadata(table: Database) -> None:
    table.sql("INSERT INTO t VALUES (3, 'three')")
    location = table.metadata_location("t")
    (row,) = table.rows("SELECT catalog_name, table_namespace, table_name, metadata_location FROM iceberg_tables WHERE table_name = 't'")
    assert row == (table.name, "public", "t", location)
    assert table.value("SELECT lake_iceberg.metadata(%s) ->> 'current-snapshot-id'", location) == str(
        pyiceberg_table(location).current_snapshot().snapshot_id
    )
    assert table.value("SELECT sum(record_count) FROM lake_iceberg.files(%s)", location) == 3
    assert table.value("SELECT count(*) FROM lake_iceberg.snapshots(%s)", location) == 2
    metadata = json.loads(Path(location.removeprefix("file://")).read_text())
    assert metadata["format-version"] == 2
    assert metadata["metadata-log"][-1]["metadata-file"] == table.value(
        "SELECT previous_metadata_location FROM lake_iceberg.tables_internal WHERE table_name = 't'::regclass"
    )


def _starts(db: Database) -> int:
    """How often PostgreSQL has become ready, at its start and after crashes."""
    process = db.lake.pg.process
    assert process
    return process.log_text().count("database system is ready to accept connections")


def _ignore_errors(work: Callable[[], object]) -> None:
    try:
        work()
    except psycopg.Error:
        pass


def _rows_flow(db: Database, pid: int) -> bool:
    (state,) = db.rows("SELECT state FROM pg_stat_activity WHERE pid = %s", pid)
    return state == ("active",) and any(path.startswith("pipe:") for path in db.lake.duck.stream_descriptors())
