"""Fixtures of the end-to-end tests: real servers, one pair per test process, a database per test."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Callable, Iterator

import pytest

from harness.database import Database
from harness.lake import Lake
from harness.pg_install import PgInstall, private_install
from harness.pgduck import Pgduck
from harness.places import new_run_dir
from harness.proxy import Proxy
from harness.s3 import S3
from harness.unix_users import two_users

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def run_dir() -> Path:
    """The directory of this test process."""
    return new_run_dir()


@pytest.fixture(scope="session")
def install(run_dir: Path) -> PgInstall:
    """A PostgreSQL installation with the extension in it."""
    return private_install(run_dir / "install")


@pytest.fixture(scope="session")
def lake(run_dir: Path, install: PgInstall) -> Iterator[Lake]:
    """PostgreSQL and pgduck_server as two users, over TCP, tables on the server's own disk."""
    pair = Lake(run_dir / "lake", install=install)
    yield from _running(pair)


@pytest.fixture(scope="session")
def shared_lake(run_dir: Path, install: PgInstall) -> Iterator[Lake]:
    """A pair that runs as one user, so that both ways of writing work: by stream and by file.

    DuckDB has one thread there. With more, where a row group of a large file ends depends on which thread is faster
    (by one vector, 2048 rows; DuckDB 1.5.5, also from one and the same CSV file), and so do the file's bytes.
    """
    pair = Lake(run_dir / "shared_lake", install=install, shared_user=True, pgduck_threads=1)
    yield from _running(pair)


@pytest.fixture(scope="session")
def s3(run_dir: Path) -> Iterator[S3]:
    """An S3 server."""
    server = S3(run_dir / "s3")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_lake(run_dir: Path, install: PgInstall, s3: S3) -> Iterator[Lake]:
    """A pair whose tables go to the S3 server."""
    pair = Lake(run_dir / "s3_lake", install=install, s3=s3)
    yield from _running(pair)


@pytest.fixture
def db(lake: Lake) -> Iterator[Database]:
    """A new database of `lake`."""
    yield from _new_database(lake)


@pytest.fixture
def shared_db(shared_lake: Lake) -> Iterator[Database]:
    """A new database of `shared_lake`."""
    yield from _new_database(shared_lake)


@pytest.fixture
def s3_db(s3_lake: Lake) -> Iterator[Database]:
    """A new database of `s3_lake`."""
    yield from _new_database(s3_lake)


# How rows and deletes are written: streamed or through files, and the share of deleted rows from which on a file is rewritten.
WRITE_MODES = {"streamed, position deletes": ("on", 100), "streamed, rewritten": ("on", 0), "through files": ("off", 20)}


@pytest.fixture(params=WRITE_MODES)
def any_db(request: pytest.FixtureRequest) -> Database:
    """A new database, once for every way of writing."""
    streaming, threshold = WRITE_MODES[request.param]
    database: Database = request.getfixturevalue("db" if streaming == "on" else "shared_db")
    with database.lake.pg.connect("postgres") as connection:
        connection.execute(f'ALTER DATABASE "{database.name}" SET pg_lake_engine.streaming_writes = {streaming}')
        connection.execute(f'ALTER DATABASE "{database.name}" SET pg_lake_table.copy_on_write_threshold = {threshold}')
    return database


@pytest.fixture
def proxy(lake: Lake) -> Iterator[Proxy]:
    """A proxy in front of `lake`'s server; `through_proxy` sends a session that way."""
    between = Proxy(lake.duck.port)
    yield between
    between.close()


@pytest.fixture
def new_pgduck(run_dir: Path) -> Iterator[Callable[..., Pgduck]]:
    """Starts further servers, which end with the test."""
    servers: list[Pgduck] = []

    def start(**arguments: object) -> Pgduck:
        server = Pgduck(run_dir / f"pgduck_{next(_numbers)}", **arguments)  # type: ignore[arg-type]
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.remove()


@pytest.fixture
def needs_two_users() -> None:
    """Skips a test that makes no sense when everything runs as one user."""
    if not two_users():
        pytest.skip("needs root's rights, to run the servers as two users")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Shows the servers' logs with a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Lake):
                report.sections.append((f"servers of {value.base.name}", value.logs()))


def _running(pair: Lake) -> Iterator[Lake]:
    pair.base.mkdir(exist_ok=True)
    pair.start()
    yield pair
    pair.stop()


def _new_database(pair: Lake) -> Iterator[Database]:
    database = pair.database(f"test_{next(_numbers)}")
    yield database
    database.close()
    pair.drop_database(database.name)
