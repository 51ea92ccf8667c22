"""UPDATE, DELETE and TRUNCATE inside transactions: each statement sees the ones before it, and only what commits stays."""

from __future__ import annotations

import psycopg
import pytest

from harness.database import Database
from harness.readers import pyiceberg_table
from harness.twins import Twins


@pytest.fixture
def twins(any_db: Database) -> Twins:
    """A pair of tables with two files' worth of rows."""
    twins = Twins(any_db, "t", "id int, n int, name text")
    twins.run(*(f"INSERT INTO {{t}} SELECT i, i % 10, 'name ' || i FROM generate_series({first}, {first + 99}) i" for first in (1, 101)))
    return twins


def snapshots(db: Database, table: str = "t_lake") -> int:
    """The number of a table's committed snapshots."""
    return len(pyiceberg_table(db.metadata_location(table)).snapshots())


# Each is one transaction; every statement runs on both tables, which are compared after each of them.
TRANSACTIONS: dict[str, list[str]] = {
    "update what was inserted": [
        "INSERT INTO {t} SELECT i, 0, 'new' FROM generate_series(1001, 1020) i",
        "UPDATE {t} SET n = id WHERE id > 1000",
        "UPDATE {t} SET n = n + 1 WHERE id > 1010",
        "DELETE FROM {t} WHERE id > 1015",
    ],
    "delete what was inserted": [
        "INSERT INTO {t} SELECT i, 0, 'new' FROM generate_series(1001, 1020) i",
        "DELETE FROM {t} WHERE id BETWEEN 1005 AND 1010 RETURNING *",
        "DELETE FROM {t} WHERE id > 1000",
        "INSERT INTO {t} VALUES (2000, 0, 'last')",
    ],
    "delete what was updated": [
        "UPDATE {t} SET n = 100 WHERE id <= 30",
        "DELETE FROM {t} WHERE n = 100 AND id % 2 = 0",
        "UPDATE {t} SET n = 101 WHERE n = 100",
        "DELETE FROM {t} WHERE n = 101 AND id < 20 RETURNING id",
        "UPDATE {t} SET name = 'x'",
        "DELETE FROM {t} WHERE n = 101",
    ],
    "one row, again and again": [f"UPDATE {{t}} SET n = n + {i}, name = name || '{i}' WHERE id = 42 RETURNING n, name" for i in range(12)],
    "all rows, again and again": ["UPDATE {t} SET n = n + 1"] * 4 + ["DELETE FROM {t} WHERE n % 2 = 0", "UPDATE {t} SET n = n * 2"],
    "delete all and insert again": [
        "DELETE FROM {t}",
        "INSERT INTO {t} SELECT i, 1, 'again' FROM generate_series(1, 10) i",
        "UPDATE {t} SET n = 2 WHERE id = 1",
        "DELETE FROM {t}",
        "INSERT INTO {t} VALUES (1, 1, 'once more')",
    ],
    "savepoints": [
        "UPDATE {t} SET n = 50 WHERE id = 1",
        "SAVEPOINT a",
        "DELETE FROM {t} WHERE id <= 50",
        "SAVEPOINT b",
        "UPDATE {t} SET n = 51 WHERE id > 190",
        "INSERT INTO {t} VALUES (1001, 0, 'lost')",
        "ROLLBACK TO b",
        "UPDATE {t} SET n = 52 WHERE id > 195",
        "ROLLBACK TO a",
        "UPDATE {t} SET n = n + 1 WHERE id = 1 RETURNING n",
        "SAVEPOINT c",
        "DELETE FROM {t} WHERE id BETWEEN 60 AND 70",
        "SAVEPOINT d",
        "DELETE FROM {t} WHERE id BETWEEN 65 AND 75",
        "RELEASE c",
        "SAVEPOINT e",
        "DELETE FROM {t}",
        "ROLLBACK TO e",
        "DELETE FROM {t} WHERE id BETWEEN 70 AND 80",
    ],
    "a file's last rows, taken back": [
        "DELETE FROM {t} WHERE id BETWEEN 2 AND 100",
        "SAVEPOINT a",
        "DELETE FROM {t} WHERE id = 1",
        "ROLLBACK TO a",
        "UPDATE {t} SET n = -1 WHERE id = 1",
        "SAVEPOINT b",
        "DELETE FROM {t} WHERE id = 1",
        "DELETE FROM {t} WHERE id > 100",
        "RELEASE b",
    ],
    "truncate": [
        "UPDATE {t} SET n = 1",
        "TRUNCATE {t}",
        "INSERT INTO {t} VALUES (1, 1, 'after')",
        "UPDATE {t} SET n = 2",
        "SAVEPOINT a",
        "TRUNCATE {t}",
        "INSERT INTO {t} VALUES (2, 2, 'lost')",
        "ROLLBACK TO a",
        "INSERT INTO {t} VALUES (3, 3, 'kept')",
    ],
}


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("name", TRANSACTIONS)
def test_transactions(twins: Twins, name: str, end: str) -> None:
    before, count = twins.db.metadata_location("t_lake"), snapshots(twins.db)
    with twins.db.session(autocommit=False) as session:
        for statement in TRANSACTIONS[name]:
            if "{t}" in statement:
                twins.run(statement, session=session)
            else:
                session.execute(statement)
            twins.assert_equal(session)
            assert twins.db.metadata_location("t_lake") == before
        session.execute(end)
        twins.assert_equal(session)
    twins.assert_equal_everywhere()
    if end == "COMMIT":
        assert snapshots(twins.db) == count + 1
    else:
        assert twins.db.metadata_location("t_lake") == before


def test_the_operation_of_a_snapshot(twins: Twins) -> None:
    statements = {
        "INSERT INTO {t} VALUES (1001, 1, 'x')": "append",
        "UPDATE {t} SET n = 5 WHERE id = 1": "overwrite",
        "DELETE FROM {t} WHERE id = 2": "delete",
        "DELETE FROM {t} WHERE id <= 100": "delete",
        "TRUNCATE {t}": "delete",
    }
    for statement, operation in statements.items():
        twins.run(statement)
        snapshot = pyiceberg_table(twins.db.metadata_location("t_lake")).current_snapshot()
        assert snapshot and snapshot.summary
        # A file that is rewritten without its deleted rows is an overwrite.
        assert snapshot.summary.operation.value == operation or (operation == "delete" and snapshot.summary.operation.value == "overwrite"), statement
    twins.assert_equal_everywhere()


def test_a_transaction_that_changes_nothing_writes_no_metadata(twins: Twins) -> None:
    before, files = twins.db.metadata_location("t_lake"), twins.db.lake_files()
    twins.run("UPDATE {t} SET n = 0 WHERE id = 1000000", "DELETE FROM {t} WHERE false", "DELETE FROM {t} WHERE name = 'nobody'")
    assert twins.db.metadata_location("t_lake") == before
    assert twins.db.lake_files() == files


def test_exception_blocks(twins: Twins) -> None:
    twins.db.sql(
        """CREATE FUNCTION work(t regclass) RETURNS int LANGUAGE plpgsql AS $$
           DECLARE found int;
           BEGIN
             EXECUTE format('UPDATE %s SET n = 20 WHERE id <= 10', t);
             BEGIN
               EXECUTE format('DELETE FROM %s WHERE id <= 5', t);
               BEGIN
                 EXECUTE format('UPDATE %s SET n = 1 / (id - 8)', t);
               EXCEPTION WHEN division_by_zero THEN
                 EXECUTE format('UPDATE %s SET n = n + 1 WHERE id = 8', t);
               END;
               BEGIN
                 EXECUTE format('DELETE FROM %s WHERE id = 9', t);
                 RAISE 'no';
               EXCEPTION WHEN raise_exception THEN
                 EXECUTE format('INSERT INTO %s VALUES (-1, 0, ''kept'')', t);
               END;
               EXECUTE format('SELECT count(*) FROM %s WHERE n >= 20', t) INTO found;
               RAISE 'outer';
             EXCEPTION WHEN raise_exception THEN
               EXECUTE format('DELETE FROM %s WHERE id = 10', t);
             END;
             FOR i IN 1 .. 5 LOOP
               BEGIN
                 EXECUTE format('UPDATE %s SET n = $1 WHERE id = $1 + 20', t) USING i;
                 IF i % 2 = 0 THEN RAISE 'even'; END IF;
               EXCEPTION WHEN raise_exception THEN NULL;
               END;
             END LOOP;
             RETURN found;
           END $$"""
    )
    twins.run("SELECT work('{t}')")
    assert twins.db.rows("SELECT id, n FROM t_lake WHERE id IN (-1, 8, 9, 10, 21, 22) ORDER BY id") == [(8, 20), (9, 20), (21, 1), (22, 2)]
    twins.assert_equal_everywhere()


def test_a_procedure_that_commits_and_rolls_back(twins: Twins) -> None:
    twins.db.sql(
        """CREATE PROCEDURE work(t regclass) LANGUAGE plpgsql AS $$
           BEGIN
             FOR i IN 1 .. 6 LOOP
               EXECUTE format('UPDATE %s SET n = -$1 WHERE id = $1', t) USING i;
               EXECUTE format('DELETE FROM %s WHERE id = $1 + 100', t) USING i;
               IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
             END LOOP;
           END $$"""
    )
    twins.run("CALL work('{t}')")
    assert twins.db.rows("SELECT id FROM t_lake WHERE n < 0 ORDER BY id") == [(1,), (2,), (4,), (5,)]
    twins.assert_equal_everywhere()


def test_a_cursor_keeps_the_rows_that_it_was_opened_on(twins: Twins) -> None:
    with twins.db.session(autocommit=False) as session:
        session.execute("DECLARE c CURSOR FOR SELECT id, n FROM t_lake ORDER BY id")
        session.execute("DECLARE u CURSOR FOR SELECT id FROM t_lake")
        first = session.execute("FETCH 50 FROM c").fetchall()
        some = session.execute("FETCH 1 FROM u").fetchall()
        twins.run("UPDATE {t} SET n = n + 100 WHERE id < 80", "DELETE FROM {t} WHERE id > 120", "INSERT INTO {t} VALUES (500, 0, 'x')", session=session)
        assert first + session.execute("FETCH ALL FROM c").fetchall() == [(i, i % 10) for i in range(1, 201)]
        assert len(some + session.execute("FETCH ALL FROM u").fetchall()) == 200
        assert session.execute("SELECT count(*) FROM t_lake").fetchone() == (121,)
        session.commit()
    twins.assert_equal_everywhere()


def test_a_failed_statement_ends_the_transaction(twins: Twins) -> None:
    before = twins.db.metadata_location("t_lake")
    with twins.db.session(autocommit=False) as session:
        twins.run("UPDATE {t} SET n = 1", "DELETE FROM {t} WHERE id < 50", session=session)
        with pytest.raises(psycopg.errors.DivisionByZero):
            session.execute("UPDATE t_lake SET n = 1 / (id - 150)")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            session.execute("DELETE FROM t_lake")
        session.execute("COMMIT")
    assert twins.db.metadata_location("t_lake") == before
    twins.assert_equal_everywhere()


def test_several_tables_are_one_transaction(twins: Twins) -> None:
    db = twins.db
    other = Twins(db, "o", "id int, n int, name text")
    other.run("INSERT INTO {t} SELECT i, 0, 'other' FROM generate_series(1, 50) i")
    before = db.metadata_location("t_lake"), db.metadata_location("o_lake")
    for end in ("ROLLBACK", "COMMIT"):
        with db.session(autocommit=False) as session:
            for kind in ("heap", "lake"):
                session.execute(f"UPDATE t_{kind} SET n = 7 WHERE id <= 50")
                session.execute(f"DELETE FROM o_{kind} o USING t_{kind} t WHERE t.id = o.id AND t.n = 7 AND t.id < 20")
                session.execute(f"INSERT INTO o_{kind} SELECT id + 1000, n, 'moved' FROM t_{kind} WHERE id BETWEEN 60 AND 65")
                session.execute(f"UPDATE t_{kind} t SET name = o.name FROM o_{kind} o WHERE o.id = t.id + 1000 OR o.id = t.id")
                session.execute(f"TRUNCATE o_{kind}")
                session.execute(f"INSERT INTO o_{kind} SELECT * FROM t_{kind} WHERE name IN ('moved', 'other')")
            session.execute(end)
        twins.assert_equal_everywhere()
        other.assert_equal_everywhere()
        assert ((db.metadata_location("t_lake"), db.metadata_location("o_lake")) == before) == (end == "ROLLBACK")
    assert db.value("SELECT count(*) FROM o_lake") == 37


def test_truncate(twins: Twins) -> None:
    db = twins.db
    db.sql(
        "CREATE TABLE s (id serial, k bigint GENERATED BY DEFAULT AS IDENTITY, x text)",
        "CREATE TABLE s_lake (id serial, x text) USING iceberg",
        "INSERT INTO s_lake (x) VALUES ('a'), ('b')",
        "INSERT INTO s (x) SELECT x FROM s_lake",
        "TRUNCATE s_lake",
        "INSERT INTO s_lake (x) VALUES ('c')",
    )
    assert db.rows("TABLE s_lake") == [(3, "c")]
    db.sql("TRUNCATE s, s_lake, t_lake RESTART IDENTITY CASCADE", "TRUNCATE t_heap")
    assert [db.value(f"SELECT count(*) FROM {table}") for table in ("s", "s_lake", "t_lake")] == [0, 0, 0]
    twins.assert_equal_everywhere()
    db.sql("INSERT INTO s_lake (x) VALUES ('d')")
    assert db.rows("TABLE s_lake") == [(1, "d")]
    with db.session(autocommit=False) as session:
        session.execute("TRUNCATE ONLY s_lake RESTART IDENTITY")
        session.execute("INSERT INTO s_lake (x) VALUES ('lost')")
        session.rollback()
    assert db.rows("TABLE s_lake") == [(1, "d")]
    db.sql("INSERT INTO s_lake (x) VALUES ('e')", "TRUNCATE s_lake", "TRUNCATE s_lake")
    assert db.rows("SELECT count(*) FROM s_lake") == [(0,)]
    metadata = db.metadata_location("s_lake")
    db.sql("TRUNCATE s_lake")
    assert db.metadata_location("s_lake") == metadata


def test_a_table_that_is_made_and_changed_in_one_transaction(any_db: Database) -> None:
    with any_db.session(autocommit=False) as session:
        session.execute("CREATE TABLE t (id int) USING iceberg")
        session.execute("INSERT INTO t SELECT generate_series(1, 10)")
        session.execute("DELETE FROM t WHERE id > 5")
        session.execute("SAVEPOINT a")
        session.execute("TRUNCATE t")
        session.execute("ROLLBACK TO a")
        session.execute("UPDATE t SET id = -id WHERE id = 5")
        session.commit()
    assert any_db.rows("SELECT id FROM t ORDER BY id") == [(-5,), (1,), (2,), (3,), (4,)]
    with any_db.session(autocommit=False) as session:
        session.execute("DELETE FROM t WHERE id = 1")
        session.execute("DROP TABLE t")
        session.rollback()
        session.execute("UPDATE t SET id = 100 WHERE id = 1")
        session.execute("DROP TABLE t")
        session.commit()
    assert any_db.value("SELECT to_regclass('t')") is None


def test_prepare_transaction_is_refused(twins: Twins) -> None:
    for statement in ("UPDATE t_lake SET n = 0", "DELETE FROM t_lake WHERE id = 1", "TRUNCATE t_lake"):
        with twins.db.session(autocommit=False) as session:
            session.execute(statement)
            with pytest.raises(psycopg.Error) as raised:
                session.execute("PREPARE TRANSACTION 'lake'")
            assert raised.value.sqlstate in ("0A000", "55000")
    twins.assert_equal_everywhere()


def test_read_only_transactions_refuse_changes(twins: Twins) -> None:
    for statement in ("UPDATE {t} SET n = 0", "DELETE FROM {t} WHERE id = 1", "TRUNCATE {t}"):
        with twins.db.session() as session:
            session.execute("SET default_transaction_read_only = on")
            twins.fails(statement, "25006", session)
