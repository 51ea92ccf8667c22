"""pgduck_server by itself: psql, drivers, RECEIVE, TRANSMIT, cancel, limits, start-up files."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import duckdb
import psycopg
import pytest

from harness.pgduck import Pgduck
from harness.places import files_under
from harness.process import cpu_seconds, wait_until
from harness.s3 import S3
from harness.wire import Message, Wire

RECEIVE_CSV = (
    "RECEIVE COPY (SELECT c0 AS id, c1 AS name FROM read_csv('@@PG_LAKE_RECV@@', auto_detect=false, header=false, delim=',', quote='\"',"
    " escape='\"', nullstr='\\N', allow_quoted_nulls=false, columns={{'c0': 'BIGINT', 'c1': 'VARCHAR'}})) TO '{path}' (FORMAT parquet, RETURN_STATS)"
)


@pytest.fixture(scope="module")
def server(run_dir: Path) -> Iterator[Pgduck]:
    """One server for this file."""
    running = Pgduck(run_dir / "pgduck_alone")
    running.start()
    yield running
    running.remove()


@pytest.fixture
def wire(server: Pgduck) -> Iterator[Wire]:
    """A raw connection."""
    connection = Wire(server.port)
    yield connection
    connection.close()


def psql(server: Pgduck, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs psql against the server."""
    command = ["psql", "-X", "-h", "127.0.0.1", "-p", str(server.port), "-U", "me", "-d", "duck", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def rows_of(path: Path) -> int:
    """The number of rows of a Parquet file."""
    return duckdb.execute(f"SELECT count(*) FROM '{path}'").fetchone()[0]


def assert_alive(wire: Wire) -> None:
    """The session takes another query."""
    wire.query("SELECT 42")
    assert [m.row() for m in wire.until_ready() if m.kind == "D"] == [["42"]]


def lines(count: int, start: int = 0) -> bytes:
    """CSV for `RECEIVE_CSV`."""
    return b"".join(b"%d,name %d\n" % (i, i) for i in range(start, start + count))


def test_psql(server: Pgduck) -> None:
    done = psql(server, "-At", "-c", "SELECT 1 + 1", "-c", "SELECT [1, 2], {'a': 1}, NULL, true, DATE '2020-01-02'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "2"
    assert done.stdout.splitlines()[1].endswith("||t|2020-01-02")


def test_psql_over_the_unix_socket(server: Pgduck) -> None:
    done = subprocess.run(
        ["psql", "-X", "-At", "-h", str(server.sockets), "-p", str(server.port), "-U", "me", "-d", "duck", "-c", "SELECT 7"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "7\n", done.stderr


def test_psql_shows_errors_with_their_sqlstate(server: Pgduck) -> None:
    done = psql(server, "-v", "VERBOSITY=verbose", "-c", "SELECT * FROM no_such_table")
    assert done.returncode == 1
    assert "ERROR:  42P01" in done.stderr
    assert "no_such_table" in done.stderr
    assert "ERROR:  42601" in psql(server, "-v", "VERBOSITY=verbose", "-c", "SELEKT 1").stderr
    assert "ERROR:  22" in psql(server, "-v", "VERBOSITY=verbose", "-c", "SELECT CAST('x' AS INTEGER)").stderr


def test_command_tags(server: Pgduck) -> None:
    done = psql(server, "-c", "CREATE TABLE tags (a int)", "-c", "INSERT INTO tags VALUES (1), (2)", "-c", "DELETE FROM tags WHERE a = 1", "-c", "DROP TABLE tags")
    assert done.stdout.splitlines() == ["CREATE TABLE", "INSERT 0 2", "DELETE 1", "DROP TABLE"]


def test_large_results_are_not_held_in_memory(server: Pgduck) -> None:
    wire = Wire(server.port)
    wire.query("SELECT i, repeat('x', 100) FROM range(100000000) t(i)")
    for _ in range(1000):
        wire.read()
    resident = int(next(line.split()[1] for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith("VmRSS")))
    assert resident < 1_000_000, "kB"
    wire.close()
    wait_until(lambda: _is_quiet(server.pid), "the server stops when its client is gone")


@pytest.mark.parametrize("binary", [False, True])
def test_a_driver_with_parameters(server: Pgduck, binary: bool) -> None:
    with server.connect() as connection:
        cursor = connection.cursor(binary=binary)
        cursor.execute("SELECT CAST($1 AS INTEGER) + 1, CAST($2 AS VARCHAR), CAST($3 AS DOUBLE)".replace("$1", "%s").replace("$2", "%s").replace("$3", "%s"), (41, "x'y", 0.1))
        assert cursor.fetchall() == [(42, "x'y", 0.1)]
        cursor.execute("SELECT i, i::VARCHAR, i::DOUBLE, i::DECIMAL(10,2), DATE '2020-01-01' + i::INTEGER FROM range(100000) t(i)")
        rows = cursor.fetchall()
        assert len(rows) == 100_000
        assert rows[99_999][:3] == (99_999, "99999", 99_999.0)


def test_several_clients_at_once(server: Pgduck) -> None:
    results: list[int] = []

    def work() -> None:
        with server.connect() as connection:
            for _ in range(20):
                results.append(connection.execute("SELECT sum(i)::BIGINT FROM range(10000) t(i)").fetchone()[0])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [49_995_000] * 160


def test_cancel_stops_duckdb(server: Pgduck) -> None:
    with server.connect() as connection:
        threading.Timer(0.5, lambda: connection.cancel_safe(timeout=5)).start()
        started = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 3")
        assert time.monotonic() - started < 3
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert _is_quiet(server.pid)


def test_receive_small_and_large(server: Pgduck, wire: Wire) -> None:
    for count in (0, 1, 10, 200_000):
        path = server.lake / f"received_{count}" / "deep" / "file.parquet"
        wire.query(RECEIVE_CSV.format(path=path))
        wire.expect("G")
        wire.data(lines(count))
        wire.done()
        answers = wire.until_ready()
        assert [m.kind for m in answers][-1] == "C", answers
        (row,) = [m.row() for m in answers if m.kind == "D"]
        assert row[0] == str(path) and row[1] == str(count)
        assert rows_of(path) == count
        assert path.stat().st_mode & 0o077 == 0
    assert server.stream_descriptors() == []


def test_receive_cuts_rows_anywhere(server: Pgduck, wire: Wire) -> None:
    path = server.lake / "cut.parquet"
    content = lines(3000)
    wire.query(RECEIVE_CSV.format(path=path))
    wire.expect("G")
    for start in range(0, len(content), 7):
        wire.data(content[start : start + 7])
    wire.data(b"")
    wire.done()
    assert wire.until_ready()[-1].kind == "C"
    assert duckdb.execute(f"SELECT count(*), sum(id), count(*) FILTER (WHERE name = 'name ' || id) FROM '{path}'").fetchone() == (3000, 4498500, 3000)


def test_receive_keeps_nulls_empty_strings_and_the_text_of_a_null_apart(server: Pgduck, wire: Wire) -> None:
    path = server.lake / "nulls.parquet"
    wire.query(RECEIVE_CSV.format(path=path))
    wire.expect("G")
    wire.data(b'1,\\N\n2,""\n3,"\\N"\n4,"a""b\n,c"\n')
    wire.done()
    assert wire.until_ready()[-1].kind == "C"
    assert duckdb.execute(f"SELECT name FROM '{path}' ORDER BY id").fetchall() == [(None,), ("",), ("\\N",), ('a"b\n,c',)]


def test_receive_with_the_older_placeholder(server: Pgduck, wire: Wire) -> None:
    path = server.lake / "older.parquet"
    wire.query(RECEIVE_CSV.format(path=path).replace("'@@PG_LAKE_RECV@@'", "@@PGLAKE_RECV_SINK@@"))
    wire.expect("G")
    wire.data(lines(5))
    wire.done()
    assert wire.until_ready()[-1].kind == "C"
    assert rows_of(path) == 5


def test_receive_transmit(server: Pgduck, wire: Wire) -> None:
    wire.query("RECEIVE TRANSMIT SELECT c0 * 2 AS x FROM read_csv('@@PG_LAKE_RECV@@', auto_detect=false, header=false, columns={'c0': 'INTEGER'})")
    wire.expect("G")
    wire.data(b"1\n2\n")
    wire.done()
    answers = wire.until_ready()
    assert [m.kind for m in answers][0] == "H"
    assert b"".join(m.body for m in answers if m.kind == "d") == b"2\n4\n"


@pytest.mark.parametrize(
    ("query", "sqlstate"),
    [
        ("RECEIVE SELECT 1", "0A000 42601 22023 08P01"),
        ("RECEIVE SELECT '@@PG_LAKE_RECV@@', '@@PG_LAKE_RECV@@'", "0A000 42601 22023 08P01"),
        ("RECEIVE SELEKT '@@PG_LAKE_RECV@@'", "42601"),
        ("RECEIVE SELECT * FROM no_such_table WHERE x = '@@PG_LAKE_RECV@@'", "42P01"),
    ],
)
def test_receive_refuses_a_bad_query_before_it_asks_for_data(wire: Wire, query: str, sqlstate: str) -> None:
    wire.query(query)
    (error,) = wire.until_ready()
    assert error.kind == "E"
    assert error.error_fields()["C"] in sqlstate.split()
    assert_alive(wire)


def receive_that_fails(server: Pgduck, end: Callable[[Wire], None]) -> None:
    """Starts a large RECEIVE, ends it badly, and checks that nothing of it is left."""
    wire = Wire(server.port)
    before = files_under(server.lake)
    path = server.lake / "failed" / "file.parquet"
    wire.query(RECEIVE_CSV.format(path=path))
    wire.expect("G")
    # Whole records only: a stream that is cut here looks complete.
    for part in range(40):
        wire.data(lines(5000, part * 5000))
    end(wire)
    wait_until(lambda: server.stream_descriptors() == [], "pipes and files are closed")
    assert files_under(server.lake) == before
    wait_until(lambda: _is_quiet(server.pid), "the server is quiet")


def test_a_client_that_disappears_at_a_record_boundary_leaves_no_file(server: Pgduck) -> None:
    receive_that_fails(server, Wire.close)


def test_copy_fail_leaves_no_file(server: Pgduck) -> None:
    def end(wire: Wire) -> None:
        wire.fail("changed my mind")
        (error,) = wire.until_ready()
        assert error.kind == "E" and error.error_fields()["C"] == "57014"
        assert_alive(wire)
        wire.close()

    receive_that_fails(server, end)


def test_cancel_while_receiving_leaves_no_file(server: Pgduck) -> None:
    def end(wire: Wire) -> None:
        wire.cancel()
        wire.data(lines(10))
        wire.done()
        (error,) = wire.until_ready()
        assert error.kind == "E" and error.error_fields()["C"] == "57014"
        assert_alive(wire)
        wire.close()

    receive_that_fails(server, end)


def test_a_bad_row_is_one_error_and_the_rest_is_drained(server: Pgduck) -> None:
    def end(wire: Wire) -> None:
        wire.data(b"no number,x\n")
        for part in range(400):
            wire.data(lines(5000, part * 5000))
        wire.done()
        (error,) = wire.until_ready()
        assert error.kind == "E" and error.error_fields()["C"].startswith("22")
        assert_alive(wire)
        wire.close()

    receive_that_fails(server, end)


def test_receive_in_the_extended_protocol_is_refused(server: Pgduck) -> None:
    with server.connect() as connection:
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            connection.execute("RECEIVE SELECT '@@PG_LAKE_RECV@@'", binary=True)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_stalled_stream_does_not_starve_other_clients(new_pgduck: Any) -> None:
    server = new_pgduck(threads=2)
    query = "SELECT sum(i * 3 % 7)::BIGINT FROM range(20000000) t(i)"

    def seconds() -> float:
        with server.connect() as connection:
            started = time.monotonic()
            connection.execute(query)
            return time.monotonic() - started

    alone = min(seconds() for _ in range(3))
    stalled = [Wire(server.port) for _ in range(6)]
    for number, wire in enumerate(stalled):
        wire.query(RECEIVE_CSV.format(path=server.lake / f"stalled_{number}.parquet"))
        wire.expect("G")
        wire.data(lines(100_000))
    time.sleep(1)
    beside = min(seconds() for _ in range(3))
    for wire in stalled:
        wire.close()
    assert beside < 2.5 * alone + 0.3


def test_recv_max_bytes(new_pgduck: Any) -> None:
    server = new_pgduck(flags=("--recv_max_bytes=100000",))
    wire = Wire(server.port)
    path = server.lake / "limited.parquet"
    for count, kind in ((100, "C"), (50_000, "E"), (100, "C")):
        wire.query(RECEIVE_CSV.format(path=path))
        wire.expect("G")
        wire.data(lines(count))
        wire.done()
        last = wire.until_ready()[-1]
        assert last.kind == kind
        if kind == "E":
            assert last.error_fields()["C"] == "53400"
            assert not path.exists() or rows_of(path) == 100
    wire.close()


def test_init_file(new_pgduck: Any) -> None:
    server = new_pgduck(init_sql="CREATE TABLE ready AS SELECT 42 AS answer;\n-- a comment; with a semicolon\nCREATE MACRO twice(x) AS 2 * x;")
    with server.connect() as connection:
        assert connection.execute("SELECT twice(answer)::INTEGER FROM ready").fetchone() == (84,)


def test_extensions_dir(new_pgduck: Any) -> None:
    server = new_pgduck(extensions=("httpfs",))
    with server.connect() as connection:
        assert connection.execute("SELECT loaded FROM duckdb_extensions() WHERE extension_name = 'httpfs'").fetchone() == (True,)


def check_removal(connection: psycopg.Connection, location: str) -> None:
    """Writes, lists and removes files below a location."""
    for name in ("a b", "c", "d"):
        connection.execute(f"COPY (SELECT 1 AS i) TO '{location}/{name}.parquet' (FORMAT parquet)")
    connection.execute(f"COPY (SELECT 'x'::BLOB) TO '{location}/raw' (FORMAT blob)")

    def listed() -> list[str]:
        return [file.rsplit("/", 1)[1] for (file,) in connection.execute(f"SELECT file FROM glob('{location}/**') ORDER BY file").fetchall()]

    assert listed() == ["a b.parquet", "c.parquet", "d.parquet", "raw"]
    names = "['a b.parquet', 'c.parquet', 'c.parquet', NULL, 'raw', 'none', 'no/such/directory']"
    removed = connection.execute(f"SELECT pg_lake_remove_file('{location}/' || name) FROM (SELECT unnest({names}) AS name)").fetchall()
    assert [done for (done,) in removed] == [True, True, False, None, True, False, False]
    assert listed() == ["d.parquet"]


def test_files_are_listed_and_removed(server: Pgduck) -> None:
    directory = server.lake / "removal"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    with server.connect() as connection:
        check_removal(connection, f"file://{directory}")
        with pytest.raises(psycopg.errors.IoError, match="it is a directory"):
            connection.execute(f"SELECT pg_lake_remove_file('{directory}')")
    assert files_under(directory) == {str(directory / "d.parquet")}


def test_objects_are_listed_and_removed(new_pgduck: Any, s3: S3) -> None:
    server = new_pgduck(extensions=("httpfs",), init_sql=s3.secret_sql())
    with server.connect() as connection:
        check_removal(connection, f"{s3.location}/removal")
        assert connection.execute("SELECT pg_lake_remove_file('s3://no-such-bucket/key')").fetchone() == (False,)
        # What cannot be seen must not pass for gone.
        connection.execute(s3.secret_sql().replace("lake-secret", "wrong"))
        for name in ("d.parquet", "none"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT pg_lake_remove_file('{s3.location}/removal/{name}')")
        connection.execute(s3.secret_sql().replace(str(s3.port), "1"))
        with pytest.raises(psycopg.errors.OperationalError):
            connection.execute(f"SELECT pg_lake_remove_file('{s3.location}/removal/d.parquet')")


def write_objects(wire: Wire, objects: dict[str, bytes], taken: int | None = None) -> list[Message]:
    """Stores objects with one RECEIVE."""
    rows, first = [], 0
    for url, content in objects.items():
        rows.append(f"('{url}', {first}, {len(content)})")
        first += len(content)
    wire.query(
        "RECEIVE SELECT count(pg_lake_write_file(v.url, b.content, v.first, v.length)) FROM read_blob('@@PG_LAKE_RECV@@') AS b, "
        f"(VALUES {', '.join(rows)}) AS v(url, first, length)"
    )
    wire.expect("G")
    wire.data(b"".join(objects.values())[:taken])
    wire.done()
    return wire.until_ready()


def test_files_are_written_by_one_stream(server: Pgduck, wire: Wire) -> None:
    directory = server.lake / "written"
    objects = {f"file://{directory}/metadata/{name}": name.encode() * size for name, size in (("a", 4000), ("b", 6000), ("c", 300_000))}
    # The check of the query, before the stream, writes nothing; nor does a stream that is too short.
    wire.query(f"RECEIVE SELECT pg_lake_write_file('{directory}/a', content, 0, 1) FROM read_blob('@@PG_LAKE_RECV@@')")
    wire.expect("G")
    wire.fail("no")
    assert [m.kind for m in wire.until_ready()] == ["E"]
    (error,) = [m for m in write_objects(wire, objects, taken=20_000) if m.kind == "E"]
    assert error.error_fields()["C"] == "22023"
    assert files_under(directory) == set()
    (row,) = [m.row() for m in write_objects(wire, objects) if m.kind == "D"]
    assert row == ["3"]
    assert {f"file://{path}": Path(path).read_bytes() for path in files_under(directory)} == objects
    # What is there stays, and of the others nothing.
    (error,) = [m for m in write_objects(wire, {f"{directory}/new": b"x", f"{directory}/metadata/a": b"x"}) if m.kind == "E"]
    assert error.error_fields()["C"] == "58P02"
    assert {f"file://{path}": Path(path).read_bytes() for path in files_under(directory)} == objects


def test_objects_are_written_by_one_stream(new_pgduck: Any, s3: S3) -> None:
    server = new_pgduck(extensions=("httpfs",), init_sql=s3.secret_sql())
    local = f"{server.lake}/written"
    remote = {f"{s3.location}/written/{number}.avro": f"{number}".encode() * (1000 + number) for number in range(30)}
    wire = Wire(server.port)
    (row,) = [m.row() for m in write_objects(wire, {local: b"local"} | remote) if m.kind == "D"]
    assert row == ["31"]
    with server.connect() as connection:
        stored = connection.execute(f"SELECT filename, content FROM read_blob('{s3.location}/written/*')", binary=True).fetchall()
        assert dict(stored) == remote
    # With a wrong secret nothing is stored, and the error shows the URL but no secret.
    wire.query(s3.secret_sql().replace("lake-secret", "wrong-secret"))
    wire.until_ready()
    (error,) = [m for m in write_objects(wire, {f"{local}2": b"x", f"{s3.location}/refused": b"x"}) if m.kind == "E"]
    assert error.error_fields()["C"] == "42501"
    assert f"{s3.location}/refused" in error.error_fields()["M"]
    assert "wrong-secret" not in str(error.error_fields())
    assert files_under(server.lake) == {local}
    wire.close()


def test_memory_limit(new_pgduck: Any) -> None:
    server = new_pgduck(flags=("--memory_limit=300MB",))
    with server.connect() as connection:
        (limit,) = connection.execute("SELECT current_setting('memory_limit')").fetchone()
        assert limit.startswith(("286.", "300"))


def _is_quiet(pid: int) -> bool:
    used = cpu_seconds(pid)
    time.sleep(0.3)
    return cpu_seconds(pid) - used < 0.05
