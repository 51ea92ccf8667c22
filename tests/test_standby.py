"""A hot standby reads lake tables, transaction by transaction as the primary commits them, and refuses to write."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import psycopg
import pytest

from harness.database import Database
from harness.lake import Lake
from harness.postgres import Postgres
from harness.process import wait_until
from harness.twins import Twins, differing_rows_in


@pytest.fixture
def standby(run_dir: Path, lake: Lake, db: Database) -> Iterator[Postgres]:
    """A streaming replica of `lake`'s PostgreSQL that uses the same pgduck_server."""
    replica = Postgres(run_dir / f"standby_{db.name}", lake.pg.install, settings={})
    replica.settings = lake.pg.settings | {"port": str(replica.port), "hot_standby": "on"}
    replica.init_standby(lake.pg)
    replica.start()
    yield replica
    replica.remove()


def catch_up(db: Database, replica: psycopg.Connection) -> None:
    """Waits until the standby has replayed what the primary has committed."""
    target = db.value("SELECT pg_current_wal_lsn()")
    wait_until(
        lambda: replica.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [target]).fetchone() == (True,), "the standby has caught up", 30
    )


def test_reads_work_and_follow_the_primary(db: Database, standby: Postgres) -> None:
    twins = Twins(db, "t", "id int, n int, name text")
    with standby.connect("postgres") as session:
        catch_up(db, session)
    with standby.connect(db.name) as replica:
        for statement in (
            "INSERT INTO {t} SELECT i, i % 10, 'name ' || i FROM generate_series(1, 500) i",
            "UPDATE {t} SET n = -n WHERE id < 100",
            "DELETE FROM {t} WHERE id % 3 = 0",
            "TRUNCATE {t}",
            "INSERT INTO {t} SELECT i, 0, 'new' FROM generate_series(1, 20) i",
            "DELETE FROM {t} WHERE id = 7",
        ):
            twins.run(statement)
            catch_up(db, replica)
            assert not differing_rows_in(replica, "t_lake", "t_heap"), statement
            assert replica.execute("SELECT count(*), sum(n) FROM t_lake").fetchone() == db.rows("SELECT count(*), sum(n) FROM t_heap")[0]
        db.sql("VACUUM (FULL) t_lake")
        catch_up(db, replica)
        assert replica.execute("SELECT count(*) FROM t_lake WHERE id > 5").fetchone() == (14,)
        assert replica.execute("SELECT count(*) FROM t_lake l JOIN t_heap h USING (id, n, name)").fetchone() == (19,)
        replica.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert replica.execute("SELECT count(*) FROM t_lake").fetchone() == (19,)
        twins.run("DELETE FROM {t} WHERE id > 3")
        catch_up(db, replica)
        assert replica.execute("SELECT count(*) FROM t_lake").fetchone() == (19,)
        replica.execute("COMMIT")
        assert replica.execute("SELECT count(*) FROM t_lake").fetchone() == (3,)


def test_writes_are_refused(db: Database, standby: Postgres) -> None:
    db.sql("CREATE TABLE t (id int) USING iceberg", "INSERT INTO t SELECT generate_series(1, 10)")
    with standby.connect("postgres") as session:
        catch_up(db, session)
    files = db.lake_files()
    with standby.connect(db.name) as replica:
        for statement in (
            "INSERT INTO t VALUES (11)",
            "UPDATE t SET id = 0 WHERE id = 1",
            "DELETE FROM t",
            "DELETE FROM t WHERE md5(id::text) < '8'",
            "TRUNCATE t",
            "VACUUM t",
            "VACUUM (ICEBERG)",
            "CREATE TABLE u (id int) USING iceberg",
            "DROP TABLE t",
            "SELECT lake_engine.flush_in_progress_queue()",
            "SELECT lake_engine.flush_deletion_queue('t')",
            "COPY t FROM STDIN",
        ):
            with pytest.raises(psycopg.Error) as raised:
                with replica.cursor() as cursor:
                    cursor.execute(statement)
            assert raised.value.sqlstate == "25006", f"{statement}: {raised.value.sqlstate} {raised.value}"
            assert replica.execute("SELECT count(*) FROM t").fetchone() == (10,)
    assert db.lake_files() == files


def test_a_promoted_standby_goes_on_writing(db: Database, lake: Lake, standby: Postgres) -> None:
    db.sql("CREATE TABLE t (id int) USING iceberg", "INSERT INTO t SELECT generate_series(1, 10)", "DELETE FROM t WHERE id = 3")
    with standby.connect("postgres") as session:
        catch_up(db, session)
        session.execute("SELECT pg_promote()")
    # The old primary's sessions are gone by then; here they just do not write any more.
    with standby.connect(db.name) as promoted:
        promoted.execute("UPDATE t SET id = id + 100 WHERE id < 3")
        promoted.execute("INSERT INTO t VALUES (1)")
        promoted.execute("DELETE FROM t WHERE id = 10")
        assert sorted(promoted.execute("TABLE t").fetchall()) == [(i,) for i in (1, 4, 5, 6, 7, 8, 9, 101, 102)]
    assert db.value("SELECT count(*) FROM t") == 9
