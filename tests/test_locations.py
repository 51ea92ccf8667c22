"""Where tables can live: directories of the server's machine, and S3."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from harness.database import Database
from harness.lake import Lake
from harness.readers import differences, read_duckdb, read_pyiceberg, row_count
from harness.s3 import S3


def fill(db: Database, location: str | None) -> None:
    """Makes a table of 1000 rows at a location."""
    option = f"WITH (location = '{location}')" if location else ""
    db.sql(f"CREATE TABLE t (id int, name text) USING iceberg {option}")
    db.sql("INSERT INTO t SELECT i, 'n' || i FROM generate_series(1, 900) i", "INSERT INTO t SELECT i, NULL FROM generate_series(901, 1000) i")
    assert db.rows("SELECT count(*), count(name), sum(id) FROM t") == [(1000, 900, 500500)]


@pytest.mark.parametrize("scheme", ["file://", ""], ids=["file URL", "absolute path"])
def test_a_directory_of_the_servers_machine(db: Database, lake: Lake, scheme: str) -> None:
    location = f"{scheme}{lake.duck.lake}/{db.name}/some/new directory"
    fill(db, location)

    metadata = db.metadata_location("t")
    assert metadata.startswith(f"{location}/metadata/00002-")
    assert all(path.startswith(f"{location}/data/") for path in db.data_files("t"))
    assert row_count(metadata) == 1000


def test_the_default_location_names_database_schema_and_table(db: Database, lake: Lake) -> None:
    fill(db, None)
    oid = db.value("SELECT 't'::regclass::oid")
    assert db.metadata_location("t").startswith(f"{lake.location}/{db.name}/public/t/{oid}/metadata/")


def test_names_of_files(db: Database) -> None:
    fill(db, None)
    hex_digits, uuid = "[0-9a-f]", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    for path in db.data_files("t"):
        assert re.search(f"/data/{hex_digits}{{2}}/{uuid}\\.parquet$", path), path
    assert re.search(f"/metadata/00002-{uuid}\\.metadata\\.json$", db.metadata_location("t"))


@pytest.mark.usefixtures("needs_two_users")
def test_files_on_disk_are_for_the_server_only(db: Database, lake: Lake) -> None:
    fill(db, None)
    files = [Path(path) for path in db.lake_files()]
    # Two data files, and per snapshot a manifest, a manifest list and a metadata file, plus the first metadata file.
    assert len(files) == 2 + 2 * 3 + 1
    for file in files:
        assert file.stat().st_uid == lake.duck.user.uid
        assert file.stat().st_mode & 0o077 == 0
        assert file.parent.stat().st_mode & 0o077 == 0


def test_s3(s3_db: Database, s3: S3) -> None:
    location = f"{s3.location}/{s3_db.name}/my/table"
    fill(s3_db, location)

    metadata = s3_db.metadata_location("t")
    assert metadata.startswith(f"{location}/metadata/")
    assert all(path.startswith(f"{location}/data/") for path in s3_db.data_files("t"))
    assert row_count(metadata, s3) == 1000
    assert differences(read_pyiceberg(metadata, s3), read_duckdb(metadata, s3)) == 0


def test_a_bucket_that_is_not_there(s3_db: Database) -> None:
    with pytest.raises(psycopg.Error) as raised:
        fill(s3_db, "s3://no-such-bucket/t")
    assert raised.value.sqlstate
    assert "no-such-bucket" in str(raised.value)
    assert s3_db.value("SELECT count(*) FROM pg_class WHERE relname = 't' AND relnamespace = 'public'::regnamespace") <= 1
    # The session goes on.
    s3_db.sql("CREATE TABLE t2 (a int) USING iceberg", "INSERT INTO t2 VALUES (1)")
    assert s3_db.rows("TABLE t2") == [(1,)]


@pytest.mark.parametrize("location", ["relative/path", "ftp://host/t", "s3:/bucket", "s3://bucket/t?versionId=1"])
def test_a_location_that_makes_no_sense_is_refused(db: Database, location: str) -> None:
    with pytest.raises(psycopg.Error) as raised:
        db.sql(f"CREATE TABLE t (a int) USING iceberg WITH (location = '{location}')")
    assert raised.value.sqlstate[:2] in ("22", "0A", "HV", "42")
    assert db.value("SELECT to_regclass('t')") is None


def test_a_location_that_cannot_be_written(db: Database) -> None:
    with pytest.raises(psycopg.Error):
        fill(db, "/proc/no/such/place")
    db.sql("CREATE TABLE t2 (a int) USING iceberg")


def test_two_tables_do_not_share_a_location(db: Database, lake: Lake) -> None:
    location = f"{lake.location}/{db.name}/shared"
    fill(db, location)
    with pytest.raises(psycopg.Error, match="location"):
        db.sql(f"CREATE TABLE other (a int) USING iceberg WITH (location = '{location}')")
