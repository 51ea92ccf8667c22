"""The set-up of the tests proves what it claims: nothing but the network connects PostgreSQL and pgduck_server."""

from __future__ import annotations

import pytest

from harness.database import Database
from harness.lake import Lake


@pytest.mark.usefixtures("needs_two_users")
def test_neither_user_reads_the_other_ones_files(db: Database, lake: Lake) -> None:
    db.sql("CREATE TABLE t (a int) USING iceberg", "INSERT INTO t VALUES (1)")
    (file,) = db.data_files("t")
    path = file.removeprefix("file://")

    assert lake.duck.user.can_read(path)
    assert not lake.pg.user.can_read(path)
    assert not lake.pg.user.can_read(lake.duck.home)
    assert lake.pg.user.can_read(lake.pg.data / "PG_VERSION")
    assert not lake.duck.user.can_read(lake.pg.data / "PG_VERSION")
    assert not lake.duck.user.can_read(lake.pg.data)


def test_the_server_is_reached_by_tcp(lake: Lake) -> None:
    with lake.pg.connect("postgres") as connection:
        (host,) = connection.execute("SHOW pg_lake_engine.host").fetchone()
    assert host == f"host=127.0.0.1 port={lake.duck.port}"
