"""Concurrent sessions on lake tables: who waits for whom, what is seen after waiting, and what cannot be serialized.

Where a heap table gives the same outcome, the permutation runs on one as well: PostgreSQL itself says what is right.
"""

from __future__ import annotations

from typing import Iterator

import pytest

from harness.database import Database
from harness.outside import assert_outside_equal
from harness.permutation import Permutation

# These come out in the same way on a heap table, {t} or {u} being either.
LIKE_HEAP = {
    "read committed: an update after waiting sees the row that was committed": """
        a  BEGIN
        b  BEGIN
        a  UPDATE {t} SET n = n + 1 WHERE id = 1        => UPDATE 1
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => waits
        a  COMMIT
        b  ...                                          => UPDATE 1
        b  SELECT n FROM {t} WHERE id = 1               => 12
        b  COMMIT
        a  SELECT n FROM {t} WHERE id = 1               => 12
    """,
    "read committed: the condition is evaluated again after waiting": """
        a  BEGIN
        b  BEGIN
        a  UPDATE {t} SET n = 99 WHERE id = 1
        b  DELETE FROM {t} WHERE n = 10                 => waits
        a  COMMIT
        b  ...                                          => DELETE 0
        b  COMMIT
        a  SELECT count(*) FROM {t}                     => 20
    """,
    "read committed: an update of what was deleted meanwhile": """
        a  BEGIN
        a  DELETE FROM {t} WHERE id = 1                 => DELETE 1
        b  UPDATE {t} SET n = 0 WHERE id = 1            => waits
        a  COMMIT
        b  ...                                          => UPDATE 0
        a  SELECT count(*) FROM {t} WHERE id = 1        => 0
    """,
    "read committed: a delete of what was updated meanwhile": """
        a  BEGIN
        a  UPDATE {t} SET n = n + 1 WHERE id = 1
        b  DELETE FROM {t} WHERE id = 1 RETURNING n     => waits
        a  COMMIT
        b  ...                                          => 11
        a  SELECT count(*) FROM {t} WHERE id = 1        => 0
    """,
    "read committed: both delete the same row": """
        a  BEGIN
        a  DELETE FROM {t} WHERE id = 1                 => DELETE 1
        b  DELETE FROM {t} WHERE id = 1                 => waits
        a  COMMIT
        b  ...                                          => DELETE 0
        a  SELECT count(*) FROM {t}                     => 19
    """,
    "a rollback releases, and the other one goes on with the old row": """
        a  BEGIN
        a  UPDATE {t} SET n = 1000 WHERE id = 1
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => waits
        a  ROLLBACK
        b  ...                                          => UPDATE 1
        a  SELECT n FROM {t} WHERE id = 1               => 11
    """,
    "a rollback to a savepoint releases what came after it": """
        a  BEGIN
        a  SAVEPOINT s
        a  UPDATE {t} SET n = 1000 WHERE id = 1
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => waits
        a  ROLLBACK TO s
        b  ...                                          => UPDATE 1
        a  SELECT n FROM {t} WHERE id = 1               => 11
        a  COMMIT
    """,
    "three in a row": """
        a  BEGIN
        a  UPDATE {t} SET n = n + 1 WHERE id = 1
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => waits
        c  UPDATE {t} SET n = n + 1 WHERE id = 1        => waits
        a  COMMIT
        b  ...                                          => UPDATE 1
        c  ...                                          => UPDATE 1
        a  SELECT n FROM {t} WHERE id = 1               => 13
    """,
    "repeatable read: no lost update": """
        a  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        a  SELECT n FROM {t} WHERE id = 1               => 10
        b  SELECT n FROM {t} WHERE id = 1               => 10
        a  UPDATE {t} SET n = 11 WHERE id = 1           => UPDATE 1
        b  UPDATE {t} SET n = 11 WHERE id = 1           => waits
        a  COMMIT
        b  ...                                          => 40001
        b  ROLLBACK
        a  SELECT n FROM {t} WHERE id = 1               => 11
    """,
    "repeatable read: no lost update, without waiting": """
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT n FROM {t} WHERE id = 1               => 10
        a  UPDATE {t} SET n = 11 WHERE id = 1           => UPDATE 1
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => 40001
        b  ROLLBACK
        a  SELECT n FROM {t} WHERE id = 1               => 11
    """,
    "repeatable read: a delete of what was updated": """
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT n FROM {t} WHERE id = 1               => 10
        a  UPDATE {t} SET n = 11 WHERE id = 1           => UPDATE 1
        b  DELETE FROM {t} WHERE id = 1                 => 40001
        b  ROLLBACK
    """,
    "repeatable read: an update of what was deleted": """
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT n FROM {t} WHERE id = 1               => 10
        a  DELETE FROM {t} WHERE id = 1                 => DELETE 1
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => 40001
        b  ROLLBACK
        b  SELECT count(*) FROM {t}                     => 19
    """,
    "repeatable read: after a rollback there is no conflict": """
        a  BEGIN
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT n FROM {t} WHERE id = 1               => 10
        a  UPDATE {t} SET n = 1000 WHERE id = 1
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => waits
        a  ROLLBACK
        b  ...                                          => UPDATE 1
        b  COMMIT
        a  SELECT n FROM {t} WHERE id = 1               => 11
    """,
    "repeatable read: others' inserts are neither seen nor in the way": """
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT count(*) FROM {t}                     => 20
        a  INSERT INTO {t} VALUES (100, 100)            => INSERT 0 1
        b  UPDATE {t} SET n = n + 1                     => UPDATE 20
        b  DELETE FROM {t} WHERE id > 15                => DELETE 5
        b  SELECT count(*) FROM {t}                     => 15
        b  COMMIT
        a  SELECT id, n FROM {t} WHERE id > 14 ORDER BY id    => 15, 151; 100, 100
    """,
    "repeatable read: a transaction that only inserts never fails": """
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT count(*) FROM {t}                     => 20
        a  UPDATE {t} SET n = 0
        a  DELETE FROM {t} WHERE id > 10                => DELETE 10
        b  INSERT INTO {t} SELECT id + 100, n FROM {t}  => INSERT 0 20
        b  COMMIT
        a  SELECT count(*), sum(n) FROM {t}             => 30, 2100
    """,
    "repeatable read: a snapshot is not moved by what others commit": """
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT count(*), sum(n) FROM {t}             => 20, 2100
        a  UPDATE {t} SET n = n + 1
        a  DELETE FROM {t} WHERE id <= 5
        a  INSERT INTO {t} VALUES (100, 100)
        b  SELECT count(*), sum(n) FROM {t}             => 20, 2100
        b  SELECT n FROM {t} WHERE id = 3               => 30
        a  DELETE FROM {t}
        b  SELECT count(*), sum(n) FROM {t}             => 20, 2100
        b  COMMIT
        b  SELECT count(*) FROM {t}                     => 0
    """,
    "repeatable read: a truncate waits for the reader": """
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT count(*) FROM {t}                     => 20
        a  TRUNCATE {t}                                 => waits
        b  SELECT sum(n) FROM {t}                       => 2100
        b  COMMIT
        a  ...                                          => TRUNCATE TABLE
        b  SELECT count(*) FROM {t}                     => 0
    """,
    "serializable: no lost update": """
        a  BEGIN ISOLATION LEVEL SERIALIZABLE
        b  BEGIN ISOLATION LEVEL SERIALIZABLE
        a  SELECT n FROM {t} WHERE id = 1               => 10
        b  SELECT n FROM {t} WHERE id = 1               => 10
        a  UPDATE {t} SET n = 11 WHERE id = 1           => UPDATE 1
        b  UPDATE {t} SET n = 12 WHERE id = 1           => waits
        a  COMMIT
        b  ...                                          => 40001
        b  ROLLBACK
    """,
    "deadlock between two tables": """
        a  SET deadlock_timeout = '60s'
        b  SET deadlock_timeout = '20ms'
        a  BEGIN
        b  BEGIN
        a  UPDATE {t} SET n = 1 WHERE id = 1
        b  UPDATE {u} SET n = 2 WHERE id = 1
        a  UPDATE {u} SET n = 1 WHERE id = 1            => waits
        b  DELETE FROM {t} WHERE id = 1                 => 40P01
        b  ROLLBACK
        a  ...                                          => UPDATE 1
        a  COMMIT
        b  SELECT t.n, u.n FROM {t} t, {u} u WHERE t.id = 1 AND u.id = 1    => 1, 1
    """,
    "an insert does not wait for an open update or delete": """
        a  BEGIN
        a  UPDATE {t} SET n = n + 1
        a  DELETE FROM {t} WHERE id = 5
        b  INSERT INTO {t} VALUES (100, 100)            => INSERT 0 1
        c  BEGIN
        c  INSERT INTO {t} VALUES (101, 101)            => INSERT 0 1
        b  SELECT count(*) FROM {t}                     => 21
        a  SELECT count(*) FROM {t}                     => 20
        a  COMMIT
        c  COMMIT
        b  SELECT count(*), sum(n) FROM {t}             => 21, 2270
    """,
    "an update does not wait for an open insert, and does not see it": """
        a  BEGIN
        a  INSERT INTO {t} VALUES (100, 100)
        b  UPDATE {t} SET n = 0                         => UPDATE 20
        b  DELETE FROM {t} WHERE id > 10                => DELETE 10
        a  COMMIT
        b  SELECT count(*), sum(n) FROM {t}             => 11, 100
    """,
    "a reader never waits": """
        a  BEGIN
        a  UPDATE {t} SET n = n + 1
        b  SELECT count(*), sum(n) FROM {t}             => 20, 2100
        a  DELETE FROM {t}
        b  SELECT count(*), sum(n) FROM {t}             => 20, 2100
        a  COMMIT
        b  SELECT count(*) FROM {t}                     => 0
    """,
    "an update, then one that was prepared before it": """
        b  PREPARE up (int) AS UPDATE {t} SET n = n + 1 WHERE id = $1
        b  EXECUTE up (1)                               => UPDATE 1
        a  BEGIN
        a  UPDATE {t} SET n = n + 100 WHERE id = 1
        b  EXECUTE up (1)                               => waits
        a  COMMIT
        b  ...                                          => UPDATE 1
        a  SELECT n FROM {t} WHERE id = 1               => 112
    """,
    "cancelled while it waits": """
        a  BEGIN
        a  UPDATE {t} SET n = n + 1 WHERE id = 1
        b  SET lock_timeout = '50ms'
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => 55P03
        b  SET lock_timeout = 0
        a  COMMIT
        b  UPDATE {t} SET n = n + 1 WHERE id = 1        => UPDATE 1
        a  SELECT n FROM {t} WHERE id = 1               => 12
    """,
}

# A lake table is locked as a whole, a heap table row by row: here a lake table waits, or refuses, where a heap table might not.
LAKE_ONLY = {
    "updates of different rows take turns, and both stay": """
        a  BEGIN
        b  BEGIN
        a  UPDATE {t} SET n = 0 WHERE id = 1            => UPDATE 1
        b  UPDATE {t} SET n = 0 WHERE id = 2            => waits
        a  COMMIT
        b  ...                                          => UPDATE 1
        b  COMMIT
        a  SELECT id FROM {t} WHERE n = 0 ORDER BY id   => 1; 2
    """,
    "write skew under serializable": """
        a  BEGIN ISOLATION LEVEL SERIALIZABLE
        b  BEGIN ISOLATION LEVEL SERIALIZABLE
        a  SELECT sum(n) FROM {t} WHERE id IN (1, 2)    => 30
        b  SELECT sum(n) FROM {t} WHERE id IN (1, 2)    => 30
        a  UPDATE {t} SET n = n - 30 WHERE id = 1       => UPDATE 1
        b  UPDATE {t} SET n = n - 30 WHERE id = 2       => waits
        a  COMMIT
        b  ...                                          => 40001
        b  ROLLBACK
        a  SELECT sum(n) FROM {t} WHERE id IN (1, 2)    => 0
    """,
    "write skew under serializable, one after the other": """
        a  BEGIN ISOLATION LEVEL SERIALIZABLE
        b  BEGIN ISOLATION LEVEL SERIALIZABLE
        a  SELECT sum(n) FROM {t} WHERE id IN (1, 2)    => 30
        b  SELECT sum(n) FROM {t} WHERE id IN (1, 2)    => 30
        a  UPDATE {t} SET n = n - 30 WHERE id = 1       => UPDATE 1
        a  COMMIT
        b  DELETE FROM {t} WHERE id = 2                 => 40001
        b  ROLLBACK
    """,
    "a compaction waits for an open update": """
        a  BEGIN
        a  UPDATE {t} SET n = 0 WHERE id = 1
        b  VACUUM (FULL) {t}                            => waits
        a  COMMIT
        b  ...                                          => VACUUM
        a  SELECT count(*), sum(n) FROM {t}             => 20, 2090
    """,
    "a compaction does not wait for an open insert": """
        a  BEGIN
        a  INSERT INTO {t} VALUES (100, 100)
        b  VACUUM {t}                                   => VACUUM
        a  COMMIT
        b  SELECT count(*), sum(n) FROM {t}             => 21, 2200
    """,
    "repeatable read: a snapshot survives compaction": """
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT count(*), sum(n) FROM {t}             => 20, 2100
        a  DELETE FROM {t} WHERE id > 10
        a  VACUUM {t}
        b  SELECT count(*), sum(n) FROM {t}             => 20, 2100
        b  SELECT n FROM {t} WHERE id = 15              => 150
        b  COMMIT
        b  SELECT count(*) FROM {t}                     => 10
    """,
    "a cursor keeps its rows across another session's delete and vacuum": """
        b  BEGIN
        b  DECLARE c CURSOR FOR SELECT id FROM {t} ORDER BY id
        b  FETCH 2 FROM c                               => 1; 2
        a  DELETE FROM {t} WHERE id > 1
        a  VACUUM {t}
        b  FETCH 3 FROM c                               => 3; 4; 5
        b  SELECT count(*) FROM {t}                     => 1
        b  MOVE ALL FROM c                              => MOVE 15
        b  COMMIT
    """,
    "an insert into a table that is being compacted": """
        a  BEGIN
        a  INSERT INTO {t} VALUES (100, 100)
        b  VACUUM {t}
        b  UPDATE {t} SET n = n + 1 WHERE id = 1
        a  INSERT INTO {t} VALUES (101, 101)
        b  VACUUM {t}
        a  COMMIT
        b  SELECT count(*), sum(n) FROM {t}             => 22, 2302
    """,
    "two-phase commit is refused": """
        a  BEGIN
        a  DELETE FROM {t} WHERE id = 1
        a  PREPARE TRANSACTION 'lake'                   => 0A000
        b  SELECT count(*) FROM {t}                     => 20
        b  UPDATE {t} SET n = 0 WHERE id = 1            => UPDATE 1
    """,
    "two transactions that update two tables in one order": """
        a  BEGIN
        b  BEGIN
        a  UPDATE {t} SET n = 0 WHERE id = 1
        b  UPDATE {t} SET n = 1 WHERE id = 2            => waits
        a  UPDATE {u} SET n = 0 WHERE id = 1
        a  COMMIT
        b  ...                                          => UPDATE 1
        b  UPDATE {u} SET n = 1 WHERE id = 2            => UPDATE 1
        b  COMMIT
        a  SELECT count(*) FROM {t} t JOIN {u} u ON t.id = u.id AND t.n = u.n    => 20
    """,
}


@pytest.fixture
def permutation(db: Database) -> Iterator[Permutation]:
    """A database with two heap tables and two lake tables of twenty rows, the lake tables in several files."""
    for kind, using in (("heap", ""), ("lake", " USING iceberg")):
        for name in ("t", "u"):
            db.sql(f"CREATE TABLE {name}_{kind} (id int, n int){using}")
            for first in (1, 8, 15):
                db.sql(f"INSERT INTO {name}_{kind} SELECT i, i * 10 FROM generate_series({first}, {min(first + 6, 20)}) i")
    permutation = Permutation(db)
    yield permutation
    permutation.close()


@pytest.mark.parametrize("kind", ["heap", "lake"])
@pytest.mark.parametrize("name", LIKE_HEAP)
def test_as_on_a_heap_table(db: Database, permutation: Permutation, name: str, kind: str) -> None:
    permutation.run(LIKE_HEAP[name].replace("{t}", f"t_{kind}").replace("{u}", f"u_{kind}"))
    if kind == "lake":
        assert_outside_equal(db, "t_lake")


@pytest.mark.parametrize("name", LAKE_ONLY)
def test_as_one_lock_for_a_table_does_it(db: Database, permutation: Permutation, name: str) -> None:
    permutation.run(LAKE_ONLY[name].replace("{t}", "t_lake").replace("{u}", "u_lake"))
    assert_outside_equal(db, "t_lake")


def test_repeatable_read_keeps_its_snapshot_beside_its_own_changes(db: Database, permutation: Permutation) -> None:
    """Another row of the same file was changed meanwhile: the statement is refused, or sees that row as it was."""
    permutation.run("""
        b  BEGIN ISOLATION LEVEL REPEATABLE READ
        b  SELECT count(*), sum(n) FROM t_lake             => 20, 2100
        a  UPDATE t_lake SET n = n + 1 WHERE id = 1        => UPDATE 1
    """)
    b = permutation.sessions["b"]
    b.start("DELETE FROM t_lake WHERE id = 2")
    assert b.wait(30)
    if b.failed:
        assert b.outcome == "40001"
        permutation.run("b  ROLLBACK")
    else:
        permutation.run("""
            b  SELECT count(*), sum(n) FROM t_lake         => 19, 2080
            b  COMMIT
            b  SELECT count(*), sum(n) FROM t_lake         => 19, 2081
        """)
    assert_outside_equal(db, "t_lake")
