"""Every object in the tables' locations, beside everything that metadata refers to: nothing may be missing, nothing may be left over.

What a snapshot refers to is read by PyIceberg from the metadata itself, not from PostgreSQL's catalogs.
"""

from __future__ import annotations

import psycopg

from .database import Database
from .readers import pyiceberg_table


def local_path(url: str) -> str:
    """A path on the server's disk."""
    return url.removeprefix("file://")


def reachable_from(metadata_location: str) -> set[str]:
    """All objects that a metadata file leads to: itself, the metadata log, and the files of every snapshot that it retains."""
    table = pyiceberg_table(metadata_location)
    found = {metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    manifests = {}
    for snapshot in table.snapshots():
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            manifests[manifest.manifest_path] = manifest
    for path, manifest in manifests.items():
        found.add(path)
        # An entry that says "deleted" is history: older snapshots that still have the file have another manifest with it.
        found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)}
    return {local_path(path) for path in found}


def reachable(db: Database) -> set[str]:
    """All objects that the current metadata of the database's lake tables leads to."""
    with db.session() as session:
        query = "SELECT metadata_location FROM lake_iceberg.tables_internal WHERE metadata_location IS NOT NULL"
        locations = [location for (location,) in session.execute(query)]
    return set().union(*map(reachable_from, locations))


def assert_nothing_is_missing(db: Database) -> None:
    """Fails when metadata refers to an object that is not there."""
    # First what is referred to: what is written meanwhile does no harm then.
    wanted = reachable(db)
    missing = wanted - db.lake_files()
    assert not missing, f"{len(missing)} objects are gone that metadata refers to: {sorted(missing)[:10]}"


def left_over(db: Database) -> set[str]:
    """Objects that no metadata refers to and that neither queue knows of: nobody would ever remove them."""
    files = db.lake_files() - reachable(db)
    with db.session() as session:
        queued = {local_path(path) for (path,) in session.execute("SELECT path FROM lake_engine.deletion_queue")}
        # What a session writes to a location has paths in which a UUID begins with the operation's number.
        operations = [
            (local_path(location), f"{number >> 16:08x}-{number & 0xFFFF:04x}-")
            for location, number in session.execute("SELECT path, operation_id FROM lake_engine.in_progress_files")
        ]
    return {
        path
        for path in files - queued
        if not any(path.startswith(location + "/") and number in path[len(location) :] for location, number in operations)
    }


def assert_nothing_is_lost(db: Database) -> None:
    """Fails when an object is there that nobody knows of."""
    lost = left_over(db)
    assert not lost, f"{len(lost)} objects that nobody refers to and no queue knows of: {sorted(lost)[:10]}"


def flush(session: psycopg.Connection, *tables: str | int) -> set[str]:
    """Empties both queues as if all times had passed; returns the removed paths. `tables` may be OIDs of dropped ones."""
    session.execute("SET pg_lake_engine.orphaned_file_retention_period = 0")
    removed = [path for (path,) in session.execute("SELECT lake_engine.flush_in_progress_queue()")]
    for table in tables:
        named = f"{table}::oid::regclass" if isinstance(table, int) else f"'{table}'::regclass"
        removed += [path for (path,) in session.execute(f"SELECT lake_engine.flush_deletion_queue({named})")]
    session.execute("RESET pg_lake_engine.orphaned_file_retention_period")
    return {local_path(path) for path in removed}


def clean_up(db: Database) -> None:
    """Vacuums all lake tables and empties both queues."""
    with db.session() as session:
        tables = [str(name) for (name,) in session.execute("SELECT table_name::text FROM lake_iceberg.tables_internal")]
        session.execute("SET pg_lake_engine.orphaned_file_retention_period = 0")
        for table in tables:
            session.execute(f"VACUUM {table}")
        flush(session, *tables)


def assert_exactly_what_is_referred_to(db: Database) -> None:
    """After `clean_up`: the objects that are there are the objects that metadata refers to."""
    assert_nothing_is_missing(db)
    surplus = db.lake_files() - reachable(db)
    assert not surplus, f"{len(surplus)} objects are left, {len(left_over(db))} of them in no queue: {sorted(surplus)[:10]}"
