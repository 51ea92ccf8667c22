"""Cancel, timeout, termination and a dying server act at once at every point of a write, and leave nothing behind.

The points: before the server's CopyInResponse, while rows are sent to a server that has stopped reading, while waiting for the
result of a data file, and inside PRE_COMMIT, where the metadata is uploaded. The proxy stops the world at each of them.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from harness.database import Database
from harness.process import cpu_seconds, wait_until
from harness.proxy import Fault, Moment, Proxy
from harness.readers import row_count

# PostgreSQL itself promises nothing here; design.md says 100 ms. Generous enough for a busy machine, far from for ever.
PROMPT_SECONDS = 1.5
# What the interrupted statement inserts: 10 MB.
ROWS = 100_000

POINTS = {
    "before CopyInResponse": Fault(Moment.BEFORE_COPY_IN, "/data/"),
    "sending to a server that stopped reading": Fault(Moment.SENDING, "/data/", after_bytes=200_000),
    "waiting for the result": Fault(Moment.WAITING_FOR_RESULT, "/data/"),
    "PRE_COMMIT, before CopyInResponse": Fault(Moment.BEFORE_COPY_IN, "/metadata/"),
    "PRE_COMMIT, waiting for the result": Fault(Moment.WAITING_FOR_RESULT, "/metadata/"),
}

EVENTS = ["cancel", "statement_timeout", "pg_terminate_backend", "server dies"]

SQLSTATES = {
    "cancel": "57014",
    "statement_timeout": "57014",
    "pg_terminate_backend": "57P01",
    "server dies": "08006",
}


class Statement:
    """A statement that runs in its own thread."""

    def __init__(self, session: psycopg.Connection, sql: str) -> None:
        """Starts it."""
        self.session = session
        self.error: psycopg.Error | None = None
        self.ended = 0.0
        self._thread = threading.Thread(target=self._run, args=(sql,), daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Waits for its end."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"the statement still runs after {seconds} s"

    def _run(self, sql: str) -> None:
        try:
            self.session.execute(sql)
        except psycopg.Error as error:
            self.error = error
        self.ended = time.monotonic()


@dataclass
class Before:
    """What must be the same afterwards."""

    metadata: str
    files: set[str]
    descriptors: list[str]


@pytest.fixture
def table(db: Database) -> Database:
    """A database with the lake table `t`, which holds one row."""
    db.sql("CREATE TABLE t (a int, b text) USING iceberg", "INSERT INTO t VALUES (1, 'one')")
    return db


def through(db: Database, proxy: Proxy) -> psycopg.Connection:
    """A session whose way to the server goes through the proxy."""
    session = db.connect()
    session.execute("SELECT set_config('pg_lake_engine.host', %s, false)", [proxy.conninfo])
    return session


def strike(event: str, db: Database, proxy: Proxy, session: psycopg.Connection) -> None:
    """Makes the event happen."""
    match event:
        case "cancel":
            session.cancel_safe(timeout=5)
        case "pg_terminate_backend":
            db.sql(f"SELECT pg_terminate_backend({session.info.backend_pid})")
        case "server dies":
            proxy.die()


def backend_is_quiet(pid: int) -> bool:
    """Whether a process uses no CPU time to speak of for half a second."""
    used = cpu_seconds(pid)
    time.sleep(0.5)
    return cpu_seconds(pid) - used < 0.1


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("point", POINTS)
def test_an_event_at_a_point(table: Database, proxy: Proxy, point: str, event: str) -> None:
    template = POINTS[point]
    session = through(table, proxy)
    pid = session.info.backend_pid
    before = Before(table.metadata_location("t"), table.lake_files(), table.lake.duck.stream_descriptors())
    fault = proxy.arm(Fault(template.moment, template.query_contains, template.after_bytes))

    # Long enough to reach the point, however slow the machine is.
    if event == "statement_timeout":
        session.execute("SET statement_timeout = '3s'")
    statement = Statement(session, f"INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i")
    assert fault.reached.wait(30), "the point was not reached"
    if event == "statement_timeout":
        statement.join(3 + PROMPT_SECONDS)
    else:
        time.sleep(0.1)
        struck = time.monotonic()
        strike(event, table, proxy, session)
        statement.join(30)
        assert statement.ended - struck < PROMPT_SECONDS

    assert statement.error is not None, "the statement succeeded"
    assert statement.error.sqlstate == SQLSTATES[event] or (event == "pg_terminate_backend" and session.closed)
    if template.moment is Moment.SENDING:
        # Behind data that nobody reads, the end of a connection cannot be seen: the server must read again to learn of it.
        fault.release()
    # A file that the server had finished before the event stays, whole, for the collection of orphans, and so may metadata.
    finished = template.moment is Moment.WAITING_FOR_RESULT or "PRE_COMMIT" in point
    check_nothing_is_left(table, proxy, before, whole_files_may_stay=finished)

    if event == "pg_terminate_backend":
        wait_until(lambda: not table.lake.pg.backend_exists(pid), "the backend has ended")
        return
    assert backend_is_quiet(pid)
    fault.release()
    session.execute("SET statement_timeout = 0")
    assert session.execute("SELECT 1").fetchone() == (1,)
    if event == "server dies":
        session.execute("SELECT set_config('pg_lake_engine.host', %s, false)", [table.lake.duck.conninfo])
    session.execute("INSERT INTO t VALUES (2, 'two')")
    assert session.execute("SELECT a, b FROM t ORDER BY a").fetchall() == [(1, "one"), (2, "two")]
    assert row_count(table.metadata_location("t")) == 2
    session.close()


def check_nothing_is_left(db: Database, proxy: Proxy, before: Before, *, whole_files_may_stay: bool) -> None:
    """The table is unchanged, and neither a stream nor a half file nor a busy connection is left."""
    wait_until(lambda: not proxy.busy_sessions(), "no session of the server is busy")
    wait_until(lambda: db.lake.duck.stream_descriptors() == before.descriptors, "the server's pipes and files are closed")
    assert db.metadata_location("t") == before.metadata
    with db.session() as other:
        assert other.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert row_count(before.metadata) == 1
    left = db.lake_files() - before.files
    if whole_files_may_stay:
        assert all("tmp_" not in path for path in left)
        assert all(pq.ParquetFile(path).metadata.num_rows == ROWS for path in left if path.endswith(".parquet"))
    else:
        assert not left
    assert db.lake.pg.temporary_files() == []


def test_a_cancel_inside_a_transaction_leaves_what_came_before_a_savepoint(table: Database, proxy: Proxy) -> None:
    session = through(table, proxy)
    session.execute("BEGIN")
    session.execute("INSERT INTO t VALUES (2, 'two')")
    session.execute("SAVEPOINT s")
    fault = proxy.arm(Fault(Moment.SENDING, "/data/", after_bytes=200_000))
    statement = Statement(session, "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 100000) i")
    assert fault.reached.wait(30)
    session.cancel_safe(timeout=5)
    statement.join(10)
    assert statement.error and statement.error.sqlstate == "57014"
    fault.release()
    session.execute("ROLLBACK TO s")
    session.execute("INSERT INTO t VALUES (3, 'three')")
    session.execute("COMMIT")
    assert table.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,)]
    session.close()


def test_a_server_that_is_killed_while_it_receives(table: Database, new_pgduck: Any) -> None:
    server = new_pgduck(user=table.lake.duck.user)
    session = table.connect()
    session.execute("SELECT set_config('pg_lake_engine.host', %s, false)", [server.conninfo])
    # Rows flow at once; generate_series in FROM would be collected first.
    statement = Statement(session, "INSERT INTO t SELECT generate_series(1, 100000000), repeat('x', 100)")
    wait_until(lambda: any(name.startswith("pipe:") for name in server.stream_descriptors()), "rows flow", 30)
    struck = time.monotonic()
    server.kill()
    statement.join(30)
    assert statement.ended - struck < PROMPT_SECONDS
    assert statement.error and statement.error.sqlstate == "08006"

    session.execute("SELECT set_config('pg_lake_engine.host', %s, false)", [table.lake.duck.conninfo])
    session.execute("INSERT INTO t VALUES (2, 'two')")
    assert session.execute("SELECT count(*) FROM t").fetchone() == (2,)
    session.close()


def test_a_server_that_is_not_there(table: Database) -> None:
    session = table.connect()
    session.execute("SET pg_lake_engine.host = 'host=127.0.0.1 port=1'")
    for statement in ("INSERT INTO t VALUES (2, 'two')", "SELECT * FROM t"):
        with pytest.raises(psycopg.Error) as raised:
            session.execute(statement)
        assert raised.value.sqlstate == "08001"
    session.execute("SELECT set_config('pg_lake_engine.host', %s, false)", [table.lake.duck.conninfo])
    session.execute("INSERT INTO t VALUES (2, 'two')")
    assert session.execute("SELECT count(*) FROM t").fetchone() == (2,)
    session.close()


def test_a_connection_that_was_lost_while_idle_is_replaced_silently(table: Database) -> None:
    first = Proxy(table.lake.duck.port)
    session = through(table, first)
    session.execute("INSERT INTO t VALUES (2, 'two')")
    assert first.sessions()
    for link in first.sessions():
        link.abort()
    session.execute("INSERT INTO t VALUES (3, 'three')")
    assert session.execute("SELECT count(*) FROM t").fetchone() == (3,)
    session.close()
    first.close()


def test_connections_are_kept_and_end_with_the_session(table: Database, proxy: Proxy) -> None:
    session = through(table, proxy)
    for i in range(5):
        session.execute("INSERT INTO t VALUES (%s, 'x')", [i])
    opened = proxy.accepted
    for i in range(20):
        session.execute("INSERT INTO t VALUES (%s, 'x')", [i])
        session.execute("SELECT count(*) FROM t")
    assert proxy.accepted == opened
    session.close()
    wait_until(lambda: not proxy.sessions(), "the connections are closed")


@pytest.mark.parametrize("event", ["cancel", "statement_timeout", "pg_terminate_backend"])
def test_a_read_is_interrupted_at_once(table: Database, proxy: Proxy, event: str) -> None:
    table.sql("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i")
    session = through(table, proxy)
    if event == "statement_timeout":
        session.execute("SET statement_timeout = '1s'")
    # A cross join that would take hours.
    statement = Statement(session, "SELECT count(*) FROM t a, t b, t c WHERE a.b || b.b || c.b LIKE '%y%'")
    time.sleep(0.7)
    struck = time.monotonic() + (0.3 if event == "statement_timeout" else 0)
    strike(event, table, proxy, session)
    statement.join(30)
    assert statement.ended - struck < PROMPT_SECONDS
    assert statement.error is not None
    wait_until(lambda: not proxy.busy_sessions(), "no session of the server is busy")
    session.close()
