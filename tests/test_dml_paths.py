"""How UPDATE and DELETE are carried out: by the server alone or row by row, position deletes, rewritten and dropped files."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from harness.database import Database
from harness.objects import flush
from harness.outside import assert_outside_equal
from harness.process import wait_until
from harness.proxy import Fault, Moment, Proxy
from harness.readers import pyiceberg_table
from harness.s3 import S3
from harness.twins import Twins
from test_interrupts import Statement, backend_is_quiet, through

# Position deletes have these two fields, with field ids that the Iceberg specification reserves ("Position Delete Files").
POSITION_DELETE_FIELDS = {"file_path": 2147483546, "pos": 2147483545}


def fill(twins: Twins, files: int, rows: int) -> None:
    """Inserts `files` times `rows` rows, each time in a statement of its own; ids go on."""
    for number in range(files):
        twins.run(f"INSERT INTO {{t}} SELECT i, i % 10, repeat('x', 20) || i FROM generate_series({number * rows + 1}, {(number + 1) * rows}) i")


@pytest.fixture
def twins(db: Database) -> Twins:
    """A pair of tables with four files of 100 rows."""
    twins = Twins(db, "t", "id int, n int, name text")
    fill(twins, 4, 100)
    return twins


@pytest.fixture
def deleting(twins: Twins) -> Twins:
    """The same, and files are not rewritten."""
    twins.db.sql("SET pg_lake_table.copy_on_write_threshold = 100")
    return twins


@pytest.fixture
def row_by_row(deleting: Twins) -> Twins:
    """The same, and every changed row passes through PostgreSQL, for it has a trigger."""
    deleting.db.sql(
        "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(NEW, OLD); END'",
        "CREATE TRIGGER pass BEFORE UPDATE OR DELETE ON t_lake FOR EACH ROW EXECUTE FUNCTION pass()",
    )
    return deleting


def explain(db: Database, statement: str) -> str:
    """The plan of a statement."""
    return "\n".join(line for (line,) in db.rows(f"EXPLAIN (COSTS off) {statement}"))


def check_delete_files(db: Database, table: str) -> None:
    """Every delete file names rows of one data file, sorted, each once and no row that another one names."""
    data = {path: pq.ParquetFile(path.removeprefix("file://")).metadata.num_rows for path in db.data_files(table)}
    named: set[tuple[str, int]] = set()
    for path in db.delete_files(table):
        content = pq.read_table(path.removeprefix("file://"))
        ids = {field.name: int((field.metadata or {})[b"PARQUET:field_id"]) for field in content.schema}
        assert ids == POSITION_DELETE_FIELDS
        rows = list(zip(content.column("file_path").to_pylist(), content.column("pos").to_pylist()))
        assert rows and rows == sorted(set(rows))
        assert len({data_file for data_file, _ in rows}) == 1
        assert all(data_file in data and 0 <= position < data[data_file] for data_file, position in rows)
        assert not named & set(rows)
        named |= set(rows)


def test_explain_says_which_way_is_taken(row_by_row: Twins) -> None:
    db = row_by_row.db
    for statement, operation in (("DELETE FROM t_lake WHERE id < 5", "Delete"), ("UPDATE t_lake SET name = 'x' WHERE id < 5", "Update")):
        text = explain(db, statement)
        assert f"{operation} on t_lake" in text and "Foreign Scan on t_lake" in text and f"Foreign {operation}" not in text, text
    db.sql("DROP TRIGGER pass ON t_lake")
    for statement, operation in (
        ("DELETE FROM t_lake", "Delete"),
        ("DELETE FROM t_lake WHERE id < 5 AND name = 'x'", "Delete"),
        ("UPDATE t_lake SET name = 'x' WHERE id < 5", "Update"),
        ("UPDATE t_lake SET n = id, name = NULL", "Update"),
    ):
        assert f"Foreign {operation} on t_lake" in explain(db, statement), explain(db, statement)
    for statement, operation in (
        ("DELETE FROM t_lake WHERE md5(name) < '8'", "Delete"),
        ("DELETE FROM t_lake USING t_heap WHERE t_heap.id = t_lake.id", "Delete"),
        ("UPDATE t_lake SET name = md5(name) WHERE id < 5", "Update"),
        ("UPDATE t_lake SET n = (random() * 10)::int", "Update"),
    ):
        text = explain(db, statement)
        assert f"{operation} on t_lake" in text and f"Foreign {operation}" not in text, text
    assert db.value("SELECT count(*) FROM t_lake") == 400


def test_explain_analyze_carries_out_what_explain_shows(deleting: Twins) -> None:
    deleting.run("DELETE FROM {t} WHERE id <= 10", "UPDATE {t} SET name = 'x' WHERE id BETWEEN 20 AND 25")
    for statement in ("DELETE FROM t_lake WHERE id BETWEEN 30 AND 40", "UPDATE t_lake SET n = 0 WHERE id > 390"):
        deleting.db.rows(f"EXPLAIN (ANALYZE, VERBOSE) {statement}")
        deleting.db.sql(statement.replace("t_lake", "t_heap"))
    deleting.assert_equal_everywhere()


@pytest.mark.parametrize("way", ["deleting", "row_by_row"])
def test_a_few_rows_become_position_deletes(way: str, request: pytest.FixtureRequest) -> None:
    twins: Twins = request.getfixturevalue(way)
    db = twins.db
    files = db.data_files("t_lake")
    twins.run("DELETE FROM {t} WHERE n = 3 AND id < 300")
    check_delete_files(db, "t_lake")
    assert db.data_files("t_lake") == files and len(db.delete_files("t_lake")) == 3
    twins.run("UPDATE {t} SET name = 'new' WHERE id IN (5, 205, 206)")
    check_delete_files(db, "t_lake")
    assert len(db.data_files("t_lake")) == 5
    # Positions that are deleted already stay deleted once; the row that is already new can be deleted as well.
    twins.run("DELETE FROM {t} WHERE id < 10 OR name = 'new'")
    check_delete_files(db, "t_lake")
    twins.assert_equal_everywhere()
    summary = pyiceberg_table(db.metadata_location("t_lake")).current_snapshot().summary
    assert summary["total-records"] and int(summary["total-position-deletes"]) >= 30 + 3


@pytest.mark.parametrize("way", ["deleting", "row_by_row"])
def test_a_file_without_live_rows_is_dropped(way: str, request: pytest.FixtureRequest) -> None:
    twins: Twins = request.getfixturevalue(way)
    db = twins.db
    first, second, third, fourth = db.data_files("t_lake")
    twins.run("DELETE FROM {t} WHERE id <= 100")
    assert (db.data_files("t_lake"), db.delete_files("t_lake")) == ([second, third, fourth], [])
    # In several steps; what is left of the deletes goes with the file.
    twins.run("DELETE FROM {t} WHERE id BETWEEN 101 AND 110", "DELETE FROM {t} WHERE id BETWEEN 111 AND 199")
    assert db.data_files("t_lake") == [second, third, fourth] and db.delete_files("t_lake")
    twins.run("DELETE FROM {t} WHERE id = 200 OR id BETWEEN 201 AND 300")
    assert (db.data_files("t_lake"), db.delete_files("t_lake")) == ([fourth], [])
    twins.run("UPDATE {t} SET n = -1")
    assert fourth not in db.data_files("t_lake") and db.delete_files("t_lake") == []
    twins.run("DELETE FROM {t}")
    assert db.data_files("t_lake") == db.delete_files("t_lake") == []
    twins.assert_equal_everywhere()


def test_a_delete_that_covers_whole_files_reads_none_of_them(deleting: Twins) -> None:
    db = deleting.db
    for path in db.data_files("t_lake")[:2]:
        os.rename(path.removeprefix("file://"), path.removeprefix("file://") + ".away")
    deleting.run("DELETE FROM {t} WHERE id <= 200")
    assert len(db.data_files("t_lake")) == 2
    deleting.assert_equal_everywhere()


@pytest.mark.parametrize(("threshold", "deleted", "rewritten"), [(20, 19, False), (20, 20, True), (50, 49, False), (0, 1, True), (100, 99, False)])
def test_copy_on_write_from_the_threshold_on(db: Database, threshold: int, deleted: int, rewritten: bool) -> None:
    twins = Twins(db, "t", "id int, n int, name text")
    fill(twins, 2, 100)
    db.sql(f"SET pg_lake_table.copy_on_write_threshold = {threshold}")
    first, second = db.data_files("t_lake")
    twins.run(f"DELETE FROM {{t}} WHERE id <= {deleted}")
    assert (first not in db.data_files("t_lake")) == rewritten
    assert len(db.delete_files("t_lake")) == (0 if rewritten else 1)
    assert second in db.data_files("t_lake") and len(db.data_files("t_lake")) == 2
    # Together with what is deleted already, more is over the threshold.
    twins.run("DELETE FROM {t} WHERE id BETWEEN 81 AND 99")
    assert (first not in db.data_files("t_lake")) == (rewritten or threshold <= 50 and deleted + 19 >= threshold)
    twins.run("UPDATE {t} SET n = -n WHERE id BETWEEN 101 AND 160")
    assert (second not in db.data_files("t_lake")) == (threshold <= 60)
    twins.assert_equal_everywhere()


def test_copy_on_write_when_the_table_has_many_deleted_rows(deleting: Twins) -> None:
    db = deleting.db
    db.sql("SET pg_lake_table.copy_on_write_max_delete_rows = 15")
    deleting.run("DELETE FROM {t} WHERE id <= 10")
    assert len(db.delete_files("t_lake")) == 1
    files = db.data_files("t_lake")
    deleting.run("DELETE FROM {t} WHERE id BETWEEN 101 AND 110")
    assert db.data_files("t_lake") != files
    deleting.assert_equal_everywhere()
    db.sql("SET pg_lake_table.copy_on_write_max_delete_rows = -1")
    files = db.data_files("t_lake")
    deleting.run("DELETE FROM {t} WHERE id BETWEEN 301 AND 380")
    assert db.data_files("t_lake") == files
    deleting.assert_equal_everywhere()


@pytest.mark.parametrize("threshold", [0, 100])
@pytest.mark.parametrize("condition", ["n = 3", "n = 3 AND md5(name) <> ''"])
def test_a_statement_that_touches_many_files_opens_no_connection_for_each(db: Database, proxy: Proxy, condition: str, threshold: int) -> None:
    twins = Twins(db, "t", "id int, n int, name text")
    fill(twins, 40, 20)
    with through(db, proxy) as session:
        session.execute(f"SET pg_lake_table.copy_on_write_threshold = {threshold}")
        twins.run(f"DELETE FROM {{t}} WHERE id < 20 AND {condition}", f"UPDATE {{t}} SET name = 'y' WHERE id BETWEEN 21 AND 40 AND {condition}", session=session)
        opened = proxy.accepted
        twins.run(f"DELETE FROM {{t}} WHERE id % 2 = 1 AND {condition}", f"UPDATE {{t}} SET name = 'z' WHERE {condition.replace('3', '4')}", session=session)
        assert proxy.accepted <= opened + 1
    twins.assert_equal_everywhere()
    check_delete_files(db, "t_lake")


@pytest.mark.parametrize("statement", ["UPDATE {t} SET name = name || id", "DELETE FROM {t} WHERE id > 5"])
@pytest.mark.parametrize("event", ["division by zero", "cancel", "the server dies"])
def test_an_error_in_the_middle_leaves_the_session_usable(row_by_row: Twins, proxy: Proxy, statement: str, event: str) -> None:
    db = row_by_row.db
    row_by_row.run("INSERT INTO {t} SELECT i, i, repeat('x', 100) FROM generate_series(1001, 100000) i")
    before, descriptors = db.metadata_location("t_lake"), db.lake.duck.stream_descriptors()
    session = through(db, proxy)
    if event == "division by zero":
        db.sql(
            "CREATE OR REPLACE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1 / (OLD.id - 90000); RETURN coalesce(NEW, OLD); END'"
        )
        with pytest.raises(psycopg.errors.DivisionByZero):
            session.execute(statement.replace("{t}", "t_lake"))
        db.sql("CREATE OR REPLACE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(NEW, OLD); END'")
    else:
        # New rows are sent while the statement runs; positions may go all at once at its end, in a few kilobytes.
        fault = proxy.arm(Fault(Moment.SENDING, after_bytes=100_000) if "UPDATE" in statement else Fault(Moment.WAITING_FOR_RESULT))
        running = Statement(session, statement.replace("{t}", "t_lake"))
        assert fault.reached.wait(60), "no RECEIVE that deletes or updates"
        session.cancel_safe(timeout=5) if event == "cancel" else proxy.die()
        running.join(30)
        assert running.error and running.error.sqlstate == {"cancel": "57014", "the server dies": "08006"}[event]
        fault.release()
        session.execute("SELECT set_config('pg_lake_engine.host', %s, false)", [db.lake.duck.conninfo])
    assert backend_is_quiet(session.info.backend_pid)
    assert db.metadata_location("t_lake") == before
    wait_until(lambda: db.lake.duck.stream_descriptors() == descriptors, "the server's streams are closed")
    row_by_row.assert_equal_everywhere()
    row_by_row.run(statement, session=session)
    session.close()
    row_by_row.assert_equal_everywhere()


@pytest.mark.parametrize("way", ["deleting", "row_by_row"])
def test_rows_of_several_megabytes(way: str, request: pytest.FixtureRequest) -> None:
    twins: Twins = request.getfixturevalue(way)
    twins.run(
        "UPDATE {t} SET name = repeat('wide ', 600000) WHERE id = 7",
        "UPDATE {t} SET name = repeat(md5(id::text), 100000) WHERE id % 200 = 1",
        "INSERT INTO {t} SELECT id + 10000, n, name || 'copy' FROM {t} WHERE id < 10",
        "UPDATE {t} SET n = n + 1 WHERE length(name) > 2000000",
        "UPDATE {t} t SET name = s.name FROM {t} s WHERE s.id = 7 AND t.id BETWEEN 50 AND 55",
        "DELETE FROM {t} WHERE length(name) > 2000000 AND id % 2 = 0",
    )
    twins.assert_equal_everywhere()


def test_what_a_statement_wrote_is_all_there_is(deleting: Twins) -> None:
    db = deleting.db
    files = db.lake_files()
    deleting.run("UPDATE {t} SET name = 'x' WHERE n = 3")
    new = sorted(Path(path).suffix for path in db.lake_files() - files)
    # One data file, a delete file for each of the four old ones, a manifest for each kind, manifest list, metadata.
    assert new == [".avro"] * 3 + [".json"] + [".parquet"] * 5
    assert [number for (number,) in db.rows("SELECT row_count FROM lake_table.files WHERE table_name = 't_lake'::regclass AND content = 1")] == [10] * 4


def test_a_table_of_a_hundred_thousand_rows(db: Database) -> None:
    twins = Twins(db, "big", "id int, n int, name text, f float8")
    twins.run("INSERT INTO {t} SELECT i, i % 100, 'name ' || i, i / 7.0 FROM generate_series(1, 100000) i")
    twins.run(
        "UPDATE {t} SET n = n + 1 WHERE id % 10 = 3",
        "DELETE FROM {t} WHERE id % 10 = 7",
        "UPDATE {t} SET name = upper(name), f = -f WHERE n < 50",
        "DELETE FROM {t} WHERE f < -5000 OR name LIKE '%99'",
        "UPDATE {t} t SET n = s.n FROM {t} s WHERE s.id = t.id - 1",
    )
    twins.assert_equal()
    twins.assert_equal_everywhere()


@pytest.mark.parametrize("threshold", [0, 100])
def test_on_s3(s3_db: Database, s3: S3, threshold: int) -> None:
    db = s3_db
    db.sql(f"SET pg_lake_table.copy_on_write_threshold = {threshold}")
    twins = Twins(db, "t", "id int, n int, name text")
    fill(twins, 6, 100)
    twins.run(
        "UPDATE {t} SET name = 'by the server' WHERE n = 3",
        "UPDATE {t} SET name = upper(name) WHERE md5(name) < '8'",
        "DELETE FROM {t} WHERE id BETWEEN 150 AND 320",
        "DELETE FROM {t} WHERE name LIKE '%7'",
        "INSERT INTO {t} SELECT id + 1000, n, name FROM {t} WHERE id < 10",
        "DELETE FROM {t} USING {t} s WHERE s.id = {t}.id + 1 AND s.n = 5",
    )
    twins.assert_equal()
    assert_outside_equal(db, "t_lake", "t_heap", s3=s3)
    db.sql("VACUUM (FULL) t_lake")
    assert len(db.data_files("t_lake")) == 1
    twins.assert_equal()
    assert_outside_equal(db, "t_lake", "t_heap", s3=s3)

    location = db.value("SELECT location FROM lake_iceberg.tables_internal WHERE table_name = 't_lake'::regclass")
    (oid,) = db.rows("SELECT 't_lake'::regclass::oid::int")[0]
    assert len(s3.objects(location)) > 20
    db.sql("DROP TABLE t_lake")
    with db.session() as session:
        flush(session, oid)
    assert s3.objects(location) == set()
