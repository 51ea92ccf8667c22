"""No object is lost and none is removed too early: every object of the location is compared with all metadata.

What a transaction leaves that rolled back or died is known to `lake_engine.in_progress_files`, what the tables have let go to
`lake_engine.deletion_queue`. When both are emptied, exactly what metadata refers to is there.
"""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import psycopg
import pytest

from harness.database import Database
from harness.objects import (
    assert_exactly_what_is_referred_to,
    assert_nothing_is_lost,
    assert_nothing_is_missing,
    clean_up,
    flush,
    left_over,
    local_path,
    reachable_from,
)
from harness.process import wait_until
from harness.proxy import Fault, Moment, Proxy
from harness.readers import pyiceberg_table, read_pyiceberg
from harness.twins import Twins
from test_commit import _rows_flow, _starts
from test_interrupts import Statement, through

# Rows flow at once, and for ever; generate_series in FROM would be collected first.
ENDLESS = "INSERT INTO t_lake SELECT generate_series(1, 100000000), 1, 'endless'"


@pytest.fixture
def twins(db: Database) -> Twins:
    """A pair of tables with four files of fifty rows."""
    twins = Twins(db, "t", "id int, n int, name text")
    twins.run(*(f"INSERT INTO {{t}} SELECT i, i % 10, 'name ' || i FROM generate_series({first}, {first + 49}) i" for first in (1, 51, 101, 151)))
    return twins


def check(twins: Twins) -> None:
    """Nothing is missing, nothing is lost, and after a clean-up nothing is left that is not needed."""
    assert_nothing_is_missing(twins.db)
    assert_nothing_is_lost(twins.db)
    twins.assert_equal_everywhere()
    clean_up(twins.db)
    assert_exactly_what_is_referred_to(twins.db)
    twins.assert_equal_everywhere()


def test_after_commits_and_rollbacks(twins: Twins) -> None:
    db, chance = twins.db, random.Random(3)
    statements = [
        "INSERT INTO {t} SELECT i, 1, 'new' FROM generate_series(1001, 1010) i",
        "UPDATE {t} SET n = n + 1 WHERE id % 7 = 3",
        "UPDATE {t} SET name = 'x' WHERE id < 120",
        "DELETE FROM {t} WHERE id BETWEEN 40 AND 60",
        "DELETE FROM {t} WHERE n = 5",
        "DELETE FROM {t} WHERE id > 1000",
        "TRUNCATE {t}",
        "INSERT INTO {t} SELECT i, i % 10, 'again' FROM generate_series(1, 100) i",
    ]
    for number in range(30):
        with db.session(autocommit=False) as session:
            twins.run(*chance.sample(statements[:6] if number % 10 else statements, 2), session=session)
            session.execute("SAVEPOINT a")
            twins.run(*chance.sample(statements[:6], 2), session=session)
            session.execute(chance.choice(["RELEASE a", "ROLLBACK TO a"]))
            twins.run("INSERT INTO {t} VALUES (2000, 1, 'last')", session=session)
            if number % 5 == 2:
                with pytest.raises(psycopg.errors.DivisionByZero):
                    session.execute("UPDATE t_lake SET n = 1 / (id - 2000)")
            session.execute(chance.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        assert_nothing_is_missing(db)
        assert_nothing_is_lost(db)
    check(twins)


def test_after_a_backend_was_killed_while_it_streamed(twins: Twins) -> None:
    db = twins.db
    with db.session(autocommit=False) as session:
        session.execute("UPDATE t_lake SET n = 0 WHERE id < 150")
        pid = session.info.backend_pid
        running = Statement(session, ENDLESS)
        wait_until(lambda: _rows_flow(db, pid), "rows flow", 30)
        starts = _starts(db)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _starts(db) > starts, "PostgreSQL has recovered", 30)
        running.join(30)
    db.close()
    wait_until(lambda: db.lake.duck.stream_descriptors() == [], "the server has no stream left")
    assert left_over(db) == set(), "what the killed backend had finished is not known to anybody"
    check(twins)


@pytest.mark.parametrize("where", ["/data/", "/metadata/"])
def test_after_a_backend_was_killed_with_finished_files(twins: Twins, proxy: Proxy, where: str) -> None:
    db = twins.db
    session = through(db, proxy)
    pid = session.info.backend_pid
    fault = proxy.arm(Fault(Moment.WAITING_FOR_RESULT, where))
    running = Statement(session, "INSERT INTO t_lake SELECT generate_series(1, 1000), 1, 'finished'")
    assert fault.reached.wait(30)
    wait_until(lambda: db.lake.duck.stream_descriptors() == [], "the server has written it")
    starts = _starts(db)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _starts(db) > starts, "PostgreSQL has recovered", 30)
    running.join(30)
    db.close()
    check(twins)


def test_after_the_server_was_killed_while_it_wrote(twins: Twins, new_pgduck: Any) -> None:
    db = twins.db
    server = new_pgduck(user=db.lake.duck.user)
    session = db.connect()
    session.execute("SELECT set_config('pg_lake_engine.host', %s, false)", [server.conninfo])
    running = Statement(session, ENDLESS)
    wait_until(lambda: any(name.startswith("pipe:") for name in server.stream_descriptors()), "rows flow", 30)
    server.kill()
    running.join(30)
    assert running.error and running.error.sqlstate == "08006"
    session.close()
    check(twins)


def test_after_a_cancelled_statement(twins: Twins) -> None:
    db = twins.db
    with db.session() as session:
        running = Statement(session, ENDLESS)
        wait_until(lambda: _rows_flow(db, session.info.backend_pid), "rows flow", 30)
        session.cancel_safe(timeout=5)
        running.join(30)
        assert running.error and running.error.sqlstate == "57014"
    wait_until(lambda: db.lake.duck.stream_descriptors() == [], "the server has no stream left")
    check(twins)


def test_create_table_rolled_back(db: Database) -> None:
    with db.session(autocommit=False) as session:
        session.execute("CREATE TABLE t (a int) USING iceberg")
        session.execute("INSERT INTO t SELECT generate_series(1, 1000)")
        session.execute("DELETE FROM t WHERE a < 10")
        session.execute("UPDATE t SET a = -a WHERE a < 100")
        session.execute("SAVEPOINT a")
        session.execute("CREATE TABLE u USING iceberg AS SELECT * FROM t")
        session.rollback()
        assert_nothing_is_lost(db)
        session.execute("CREATE TABLE v (a int) USING iceberg")
        session.execute("SAVEPOINT a")
        session.execute("CREATE TABLE w (a int) USING iceberg")
        session.execute("INSERT INTO w VALUES (1)")
        session.execute("ROLLBACK TO a")
        session.execute("INSERT INTO v VALUES (1)")
        session.commit()
    assert_nothing_is_missing(db)
    clean_up(db)
    assert_exactly_what_is_referred_to(db)
    assert db.rows("TABLE v") == [(1,)]


def test_drop_table_leaves_an_empty_location(twins: Twins) -> None:
    db = twins.db
    twins.run("UPDATE {t} SET n = 0 WHERE id < 30", "DELETE FROM {t} WHERE id > 180")
    (oid,) = db.rows("SELECT 't_lake'::regclass::oid::int")[0]
    with db.session(autocommit=False) as session:
        session.execute("INSERT INTO t_lake VALUES (1, 1, 'never committed')")
        session.execute("DROP TABLE t_lake")
        session.rollback()
    twins.assert_equal_everywhere()
    files = db.lake_files()
    db.sql("DROP TABLE t_lake")
    assert db.lake_files() == files
    assert_nothing_is_lost(db)
    # Before its time nothing is removed.
    assert db.rows("SELECT lake_engine.flush_deletion_queue(%s::oid::regclass)", oid) == []
    assert db.lake_files() == files
    # A session that has written keeps its record until it ends.
    db.close()
    with db.session() as session:
        flush(session, oid)
    assert db.lake_files() == set()
    assert db.rows("SELECT * FROM lake_engine.deletion_queue") == []
    # What a session that lives on has begun to write stays known.
    db.close()
    with db.session() as session:
        flush(session)
    assert db.rows("SELECT * FROM lake_engine.in_progress_files") == []


def test_a_dropped_schema_and_a_vacuum_of_all_tables(db: Database) -> None:
    db.sql("CREATE SCHEMA s", "CREATE TABLE s.t USING iceberg AS SELECT generate_series(1, 10) AS a", "CREATE TABLE t (a int) USING iceberg",
           "INSERT INTO t VALUES (1)", "DROP SCHEMA s CASCADE", "SET pg_lake_engine.orphaned_file_retention_period = 0", "VACUUM (ICEBERG)")  # fmt: skip
    assert_exactly_what_is_referred_to(db)
    assert db.rows("TABLE t") == [(1,)]


def test_files_of_a_running_transaction_are_never_touched(twins: Twins) -> None:
    db = twins.db
    with db.session(autocommit=False) as writer, db.session() as other:
        twins.run(
            "INSERT INTO {t} SELECT i, 1, 'running' FROM generate_series(1001, 1100) i",
            "UPDATE {t} SET n = -1 WHERE id < 20 OR id > 1050",
            "DELETE FROM {t} WHERE id BETWEEN 100 AND 110",
            session=writer,
        )
        writer.execute("CREATE TABLE made (a int) USING iceberg")
        writer.execute("INSERT INTO made VALUES (1)")
        files = db.lake_files()
        assert not flush(other, "t_lake") & files
        assert_nothing_is_lost(db)
        other.execute("SET pg_lake_engine.orphaned_file_retention_period = 0")
        other.execute("SELECT lake_engine.flush_in_progress_queue()")
        assert files <= db.lake_files()
        twins.assert_equal(writer)
        twins.run("UPDATE {t} SET name = name || '!' WHERE n = -1", session=writer)
        writer.commit()
    assert db.rows("TABLE made") == [(1,)]
    check(twins)


def test_old_snapshots_stay_readable_within_the_retention(twins: Twins) -> None:
    db = twins.db
    old = db.metadata_location("t_lake")
    snapshot = pyiceberg_table(old).current_snapshot().snapshot_id
    before = sorted(map(str, read_pyiceberg(old).to_pylist()))
    for number in range(5):
        twins.run(f"UPDATE {{t}} SET n = {number}", f"DELETE FROM {{t}} WHERE id % 7 = {number}", "VACUUM {t}")
    twins.run("TRUNCATE {t}", "INSERT INTO {t} VALUES (1, 1, 'new')", "VACUUM {t}")
    with db.session() as session:
        # With their own times, which are days: nothing goes.
        session.execute("SELECT lake_engine.flush_in_progress_queue()")
        session.execute("SELECT lake_engine.flush_deletion_queue('t_lake')")
    assert sorted(map(str, read_pyiceberg(old).to_pylist())) == before
    now = pyiceberg_table(db.metadata_location("t_lake"))
    assert sorted(map(str, now.scan(snapshot_id=snapshot).to_arrow().to_pylist())) == before
    assert reachable_from(old) <= db.lake_files()

    # Without an age to keep, the snapshots go, their files only after the retention of the deletion queue.
    db.sql("SET pg_lake_iceberg.max_snapshot_age = 0", "VACUUM t_lake")
    assert len(pyiceberg_table(db.metadata_location("t_lake")).snapshots()) == 1
    assert sorted(map(str, read_pyiceberg(old).to_pylist())) == before
    queued = {local_path(path) for (path,) in db.rows("SELECT path FROM lake_engine.deletion_queue")}
    assert reachable_from(old) - reachable_from(db.metadata_location("t_lake")) <= queued
    with db.session() as session:
        assert flush(session, "t_lake") >= queued
    assert_exactly_what_is_referred_to(db)
    twins.assert_equal_everywhere()


def test_a_reader_of_old_files_is_not_disturbed_by_a_flush_within_the_retention(twins: Twins) -> None:
    db = twins.db
    with db.session(autocommit=False) as reader:
        reader.execute("DECLARE c CURSOR FOR SELECT id FROM t_lake ORDER BY id")
        twins.run("DELETE FROM {t} WHERE id > 5", "VACUUM {t}")
        with db.session() as other:
            other.execute("SELECT lake_engine.flush_deletion_queue('t_lake')")
        assert len(reader.execute("FETCH ALL FROM c").fetchall()) == 200
    twins.assert_equal_everywhere()


def test_what_the_flush_functions_return_and_who_may_call_them(twins: Twins) -> None:
    db = twins.db
    db.sql("SET pg_lake_iceberg.max_snapshot_age = 0")
    twins.run("DELETE FROM {t}", "INSERT INTO {t} VALUES (1, 1, 'x')")
    queued = {local_path(path) for (path,) in db.rows("SELECT path FROM lake_engine.deletion_queue")}
    existing = queued & db.lake_files()
    with db.session() as session:
        removed = flush(session, "t_lake")
        assert existing <= removed <= queued | existing
        assert flush(session, "t_lake") == set()
    assert not removed & db.lake_files()
    role = f"{db.name}_nobody"
    db.sql(f"CREATE ROLE {role}", f"SET ROLE {role}")
    for call in ("flush_in_progress_queue()", "flush_deletion_queue(1::oid::regclass)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.rows(f"SELECT lake_engine.{call}")
    db.sql("RESET ROLE", f"DROP ROLE {role}")
