"""Concurrent sessions that run their steps in a given order, as PostgreSQL's isolationtester does it.

    a  BEGIN
    a  UPDATE t SET n = n + 1 WHERE id = 1
    b  UPDATE t SET n = n + 1 WHERE id = 1     => waits
    a  COMMIT
    b  ...                                     => UPDATE 1
    b  SELECT n FROM t WHERE id = 1            => 2

A line is a step: a session's name, a statement, and what comes of it: `waits` (for a lock that another session holds), an
SQLSTATE, a command tag, or rows as `1, x; 2, y`. `...` is the end of a step that waited. A step without an outcome has to
succeed without waiting.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg

from .database import Database

# How long a step may take before the test gives up; nothing here is meant to take long.
GIVE_UP_SECONDS = 30


@dataclass(frozen=True)
class Step:
    """One line of a permutation."""

    session: str
    statement: str
    outcome: str | None


def parse(text: str) -> list[Step]:
    """The steps of a permutation."""
    steps = []
    for line in text.strip().splitlines():
        line, _, outcome = line.partition("=>")
        session, _, statement = line.strip().partition(" ")
        if statement:
            steps.append(Step(session, statement.strip(), outcome.strip() or None))
    return steps


class Session:
    """A session with a thread of its own, so that its statements can wait."""

    def __init__(self, db: Database) -> None:
        """Connects."""
        self.connection = db.connect()
        self.connection.execute("SET statement_timeout = '40s'")
        self.pid = self.connection.info.backend_pid
        self.outcome = ""
        self.failed = False
        self._statements: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._done.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def start(self, statement: str) -> None:
        """Begins a statement."""
        assert self.finished(), "the session's last statement still waits"
        self._done.clear()
        self._statements.put(statement)

    def finished(self) -> bool:
        """Whether the last statement has ended."""
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits for the end of the last statement; whether it has come."""
        return self._done.wait(seconds)

    def close(self) -> None:
        """Ends the session, whatever it does."""
        if not self.finished():
            self.connection.cancel_safe(timeout=5)
            self._done.wait(10)
        self._statements.put(None)
        self._thread.join(10)
        self.connection.close()

    def _run(self) -> None:
        while (statement := self._statements.get()) is not None:
            try:
                self.outcome, self.failed = _describe(self.connection.execute(statement)), False
            except psycopg.Error as error:
                self.outcome, self.failed = error.sqlstate or "connection lost", True
            self._done.set()


class Permutation:
    """Runs steps; the sessions are made when they are first named."""

    def __init__(self, db: Database) -> None:
        """`db` is where the sessions connect to."""
        self.db = db
        self.sessions: dict[str, Session] = {}
        self._observer = db.connect()

    def run(self, text: str) -> None:
        """Runs the steps of a permutation and fails where an outcome is another one than expected."""
        for number, step in enumerate(parse(text), 1):
            session = self._session(step.session)
            if step.statement != "...":
                session.start(step.statement)
            expected = step.outcome
            found = self._outcome(session, may_wait=step.statement != "..." and expected in (None, "waits"))
            if expected is None:
                assert found != "waits" and not session.failed, f"step {number}, {step}: {found}"
            else:
                assert found == expected, f"step {number}, {step}: {found}"

    def close(self) -> None:
        """Ends all sessions."""
        for session in self.sessions.values():
            session.close()
        self._observer.close()

    def _session(self, name: str) -> Session:
        if name not in self.sessions:
            self.sessions[name] = Session(self.db)
        return self.sessions[name]

    def _outcome(self, session: Session, *, may_wait: bool) -> str:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while not session.wait(0.01):
            if may_wait and self._is_blocked(session):
                return "waits"
            assert time.monotonic() < deadline, f"neither finished nor blocked after {GIVE_UP_SECONDS} s: {self._activity()}"
        return session.outcome

    def _is_blocked(self, session: Session) -> bool:
        """Whether it waits for one of the others. This function of PostgreSQL is the one that isolationtester asks."""
        others = [other.pid for other in self.sessions.values() if other is not session]
        ((blocked,),) = self._observer.execute("SELECT pg_isolation_test_session_is_blocked(%s, %s)", [session.pid, others]).fetchall()
        return blocked

    def _activity(self) -> list[Any]:
        query = "SELECT pid, state, wait_event_type, wait_event, query FROM pg_stat_activity WHERE backend_type = 'client backend'"
        return self._observer.execute(query).fetchall()


def _describe(cursor: psycopg.Cursor) -> str:
    if cursor.description is None:
        return cursor.statusmessage or ""
    rows = "; ".join(", ".join("" if value is None else str(value) for value in row) for row in cursor.fetchall())
    return rows or "no rows"

