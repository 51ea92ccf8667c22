"""A random workload: several sessions run each statement on a lake table and on its heap twin, and nothing may differ.

Sessions take turns in one thread, so that a seed always gives the same run. What a lake table and a heap table lock differs (the
table, or a row), so only one session at a time has an open transaction that has updated or deleted.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, field

import psycopg

from .database import Database
from .outside import assert_outside_equal
from .random_sql import SECOND_COLUMNS, RandomSql, Statement
from .twins import Twins, differing_rows_in

# Above so many rows the workload rather deletes.
MANY_ROWS = 700
# After so many transactions the outside readers have to agree as well.
OUTSIDE_EVERY = 30


@dataclass
class _Session:
    """One session and its transaction."""

    name: str
    connection: psycopg.Connection
    in_transaction: bool = False
    repeatable_read: bool = False
    savepoints: list[str] = field(default_factory=list)
    seen: int = 0
    """For REPEATABLE READ: the workload's `changes` when its snapshot was taken."""


@dataclass
class Result:
    """What a statement did."""

    tag: str | None = None
    rows: list[str] = field(default_factory=list)
    sqlstate: str | None = None
    message: str = ""


class Workload:
    """The tables, the sessions, and what has happened."""

    def __init__(self, db: Database, sql: RandomSql, *, sessions: int = 3) -> None:
        """Makes the tables and connects."""
        self.db = db
        self.sql = sql
        self.random = sql.random
        self.main = Twins(db, "m", sql.definition())
        self.second = Twins(db, "k", SECOND_COLUMNS)
        self.sessions = [_Session(f"s{number}", self._connect()) for number in range(1, sessions + 1)]
        self.observer = db.connect()
        self.updater: _Session | None = None
        self.changes = 0
        self.transactions = 0
        self.counts: collections.Counter[str] = collections.Counter()
        self.history: collections.deque[str] = collections.deque(maxlen=40)

    def run(self, steps: int) -> None:
        """Takes so many steps, ends the open transactions and compares once more."""
        number = 0
        try:
            for number in range(1, steps + 1):
                self._step(self._next_session())
            for session in self.sessions:
                if session.in_transaction:
                    self._end(session, "COMMIT")
            self._compare(outside=True)
        except BaseException as error:
            error.add_note(f"at step {number} of the workload, after:\n" + "\n".join(self.history))
            raise

    def close(self) -> None:
        """Ends the sessions."""
        for session in self.sessions:
            session.connection.close()
        self.observer.close()

    def _connect(self) -> psycopg.Connection:
        # The driver's own prepared statements would deallocate ours.
        connection = self.db.connect(prepare_threshold=None)
        connection.execute("SET statement_timeout = '60s'")
        for kind in ("heap", "lake"):
            connection.execute(f"PREPARE upd_m_{kind} (int, int) AS UPDATE m_{kind} SET n = $2 WHERE id = $1 OR id = $1 + 1")
            connection.execute(f"PREPARE del_m_{kind} (int, int) AS DELETE FROM m_{kind} WHERE id BETWEEN $1 AND $1 + $2 RETURNING id")
        return connection

    def _next_session(self) -> _Session:
        if self.updater and self.random.random() < 0.5:
            return self.updater
        return self.random.choice(self.sessions)

    def _step(self, session: _Session) -> None:
        chance = self.random.random()
        if not session.in_transaction:
            if chance < 0.35:
                self._begin(session)
            elif chance < 0.38:
                self._vacuum(session)
            elif chance < 0.395:
                self._truncate(session)
            else:
                self._statement(session)
        elif chance < 0.66:
            self._statement(session)
        elif chance < 0.74:
            name = f"p{len(session.savepoints)}"
            self._control(session, f"SAVEPOINT {name}")
            session.savepoints.append(name)
        elif chance < 0.80 and session.savepoints:
            kept = self.random.randrange(len(session.savepoints))
            self._control(session, f"ROLLBACK TO {session.savepoints[kept]}")
            del session.savepoints[kept + 1 :]
        elif chance < 0.82 and session.savepoints:
            kept = self.random.randrange(len(session.savepoints))
            self._control(session, f"RELEASE {session.savepoints[kept]}")
            del session.savepoints[kept:]
        elif chance < 0.86:
            self._look(session)
        else:
            self._end(session, "COMMIT" if chance < 0.96 else "ROLLBACK")

    def _begin(self, session: _Session) -> None:
        session.repeatable_read = self.random.random() < 0.3
        self._control(session, "BEGIN ISOLATION LEVEL " + ("REPEATABLE READ" if session.repeatable_read else "READ COMMITTED"))
        session.in_transaction = True
        if session.repeatable_read:
            session.seen = self.changes
            self._look(session)

    def _end(self, session: _Session, how: str) -> None:
        self._control(session, how)
        session.in_transaction = False
        session.savepoints.clear()
        if self.updater is session:
            self.updater = None
            self.changes += how == "COMMIT"
        self._transaction_ended()

    def _statement(self, session: _Session) -> None:
        behind = session.in_transaction and session.repeatable_read and self.changes > session.seen
        if self.updater not in (None, session) or behind and self.random.random() < 0.7:
            statement = self.sql.insert()
        elif len(self.sql.live) > MANY_ROWS:
            statement = self.sql.delete_many()
        else:
            chance = self.random.random()
            make = [(0.3, self.sql.insert), (0.65, self.sql.update), (0.85, self.sql.delete), (0.93, self.sql.block), (1.0, self.sql.failing)]
            statement = next(make for limit, make in make if chance < limit)()
        if session.in_transaction and statement.changes_rows:
            self.updater = session
        self._both(session, statement)
        if not session.in_transaction:
            self.changes += statement.changes_rows
            self._transaction_ended()

    def _both(self, session: _Session, statement: Statement) -> None:
        """Runs a statement on both tables; they must do the same."""
        # A failure ends the transaction unless there is a savepoint, and the other table could not be tried any more.
        guarded = session.in_transaction and (statement.may_fail or session.repeatable_read or self.random.random() < 0.2)
        copied = self._copy_out(session, statement.copy_of) if statement.copy_of else None
        on_heap = self._run(session, statement, "heap", guarded, copied)
        if on_heap.sqlstate and session.in_transaction and not guarded:
            raise AssertionError(f"unexpected on the heap table: {statement.sql}: {on_heap}")
        on_lake = self._run(session, statement, "lake", guarded, copied)
        if on_lake.sqlstate == "40001" and on_heap.sqlstate is None and session.repeatable_read and self.changes > session.seen:
            # The whole table counts as changed where it was only other rows.
            self.counts["40001 on the lake table only"] += 1
            self._end(session, "ROLLBACK")
            return
        assert (on_lake.tag, on_lake.rows, on_lake.sqlstate) == (on_heap.tag, on_heap.rows, on_heap.sqlstate), (
            f"{statement.sql[:3000]}: {str(on_lake)[:2000]} on the lake table, {str(on_heap)[:2000]} on the heap table"
        )
        assert on_heap.sqlstate is None or statement.may_fail or on_heap.sqlstate == "40001", f"{statement.sql[:3000]}: {on_heap}"
        self.counts[on_heap.sqlstate or statement.sql.split()[0]] += 1

    def _copy_out(self, session: _Session, query: str) -> bytes:
        with session.connection.cursor() as cursor, cursor.copy(_on(query, "heap")) as copy:
            return b"".join(bytes(piece) for piece in copy)

    def _run(self, session: _Session, statement: Statement, kind: str, guarded: bool, copied: bytes | None) -> Result:
        self.history.append(f"{session.name} {kind}: {statement.sql[:1500]}")
        if guarded:
            session.connection.execute("SAVEPOINT guard")
        try:
            result = self._execute(session, statement, kind, copied)
        except psycopg.Error as error:
            result = Result(sqlstate=error.sqlstate or "connection lost", message=str(error))
            if guarded:
                session.connection.execute("ROLLBACK TO guard")
        if guarded:
            session.connection.execute("RELEASE guard")
        return result

    def _execute(self, session: _Session, statement: Statement, kind: str, copied: bytes | None) -> Result:
        with session.connection.cursor() as cursor:
            if copied is not None:
                with cursor.copy(_on(statement.sql, kind)) as copy:
                    copy.write(copied)
                return Result(cursor.statusmessage)
            cursor.execute(_on(statement.sql, kind))
            return Result(cursor.statusmessage, sorted(map(repr, cursor.fetchall())) if cursor.description else [])

    def _look(self, session: _Session) -> None:
        """What a session sees inside its transaction."""
        query = self.sql.query()
        self.history.append(f"{session.name}: {query[:300]}")
        found = [sorted(map(repr, session.connection.execute(_on(query, kind)).fetchall())) for kind in ("heap", "lake")]
        assert found[0] == found[1], f"{query}: {str(found[1])[:2000]} in the lake table, {str(found[0])[:2000]} in the heap table"
        self._compare_in(session.connection)

    def _control(self, session: _Session, statement: str) -> None:
        self.history.append(f"{session.name}: {statement}")
        session.connection.execute(statement)

    def _vacuum(self, session: _Session) -> None:
        if self.updater is None:
            full = not any(other.in_transaction for other in self.sessions) and self.random.random() < 0.3
            self._control(session, f"VACUUM {'(FULL) ' if full else ''}{self.random.choice([self.main.lake, self.second.lake])}")
            self.changes += 1
            self.counts["VACUUM"] += 1
            self._transaction_ended()

    def _truncate(self, session: _Session) -> None:
        """TRUNCATE waits for everybody who has used the table, and everybody waits for it."""
        if any(other.in_transaction for other in self.sessions):
            return
        target = self.random.choice(["{k}", "{k}", "{t}"])
        with session.connection.transaction(force_rollback=self.random.random() < 0.3):
            session.in_transaction = True
            self._both(session, Statement(f"TRUNCATE {target}", changes_rows=True))
            if self.random.random() < 0.5:
                self._both(session, self.sql.insert())
            self._compare_in(session.connection)
            session.in_transaction = False
        self.changes += 1
        self._transaction_ended()

    def _transaction_ended(self) -> None:
        self.transactions += 1
        self._compare(outside=self.transactions % OUTSIDE_EVERY == 0)
        self.sql.live = [id for (id,) in self.observer.execute(f"SELECT id FROM {self.main.heap} ORDER BY id")]

    def _compare(self, *, outside: bool) -> None:
        self._compare_in(self.observer)
        if outside:
            for twins in (self.main, self.second):
                assert_outside_equal(self.db, twins.lake, twins.heap)

    def _compare_in(self, connection: psycopg.Connection) -> None:
        for twins in (self.main, self.second):
            found = differing_rows_in(connection, twins.lake, twins.heap)
            assert not found, f"rows differ: {str(found)[:5000]}"


def _on(sql: str, kind: str) -> str:
    return sql.replace("{t}", f"m_{kind}").replace("{k}", f"k_{kind}")
