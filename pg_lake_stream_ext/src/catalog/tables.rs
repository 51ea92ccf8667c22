//! `lake_iceberg.tables_internal`: one row a lake table, with its location and current metadata.

use pgrx::pg_sys;

use crate::error::{LakeError, Result};
use crate::pg::spi::{self, Arg, Visibility};

/// The state of a table that a commit builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// Where the table lives: URL or absolute path, no slash at the end.
    pub location: String,
    /// The current metadata.json; `None` until the transaction that created the table commits.
    pub metadata_location: Option<String>,
}

/// Enters a new table.
pub fn insert(relid: pg_sys::Oid, location: &str, has_custom_location: bool) -> Result<()> {
    spi::run(
        "INSERT INTO lake_iceberg.tables_internal (table_name, location, has_custom_location) VALUES ($1::regclass, $2, $3)",
        &[Arg::Oid(relid), Arg::Text(location), Arg::Bool(has_custom_location)],
        Visibility::Transaction,
    )
    .map(drop)
}

/// Reads a table's row, or `None` if it is not a lake table (or no longer).
pub fn find(relid: pg_sys::Oid, visibility: Visibility) -> Result<Option<TableRow>> {
    let rows = spi::run(
        "SELECT location, metadata_location FROM lake_iceberg.tables_internal WHERE table_name = $1::regclass",
        &[Arg::Oid(relid)],
        visibility,
    )?;
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let [location, metadata_location]: [Option<String>; 2] = row
        .try_into()
        .map_err(|_| LakeError::internal("tables_internal has another number of columns"))?;
    let location =
        location.ok_or_else(|| LakeError::internal("tables_internal.location is null"))?;
    Ok(Some(TableRow {
        location,
        metadata_location,
    }))
}

/// What a lock on a table is for.
const COMMIT: u16 = 0;
/// See above.
const CHANGES: u16 = 1;

/// Makes commits to one table take turns until the end of the transaction; deadlocks are PostgreSQL's to find.
pub fn lock_for_commit(relid: pg_sys::Oid) {
    lock(relid, COMMIT);
}

/// Makes transactions that change or remove rows of one table, or rewrite its files, take turns until they end.
pub fn lock_for_changes(relid: pg_sys::Oid) {
    lock(relid, CHANGES);
}

/// Takes the lock of [`lock_for_changes`] if that needs no waiting; false if it would.
pub fn try_lock_for_changes(relid: pg_sys::Oid) -> bool {
    let tag = pg_sys::LOCKTAG {
        // SAFETY: a plain read.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: pg_sys::ForeignTableRelationId.to_u32(),
        locktag_field3: relid.to_u32(),
        locktag_field4: CHANGES,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // SAFETY: the tag that LockDatabaseObject makes (SET_LOCKTAG_OBJECT, storage/lock.h).
    let result = unsafe {
        pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false, true)
    };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn lock(relid: pg_sys::Oid, purpose: u16) {
    // SAFETY: an object lock on (our catalog's class, the table), which nobody else uses.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::ForeignTableRelationId,
            relid,
            purpose,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

/// Moves a table to new metadata. Called under [`lock_for_commit`].
pub fn set_metadata_location(relid: pg_sys::Oid, metadata_location: &str) -> Result<()> {
    spi::run(
        "UPDATE lake_iceberg.tables_internal \
         SET previous_metadata_location = metadata_location, metadata_location = $2 WHERE table_name = $1::regclass",
        &[Arg::Oid(relid), Arg::Text(metadata_location)],
        Visibility::Latest,
    )
    .map(drop)
}

/// Removes a dropped table from all catalogs and queues what lies at its location for removal.
pub fn delete(relid: pg_sys::Oid) -> Result<()> {
    spi::run(
        "WITH dropped AS (DELETE FROM lake_iceberg.tables_internal WHERE table_name = $1::regclass RETURNING location), \
              files AS (DELETE FROM lake_table.files WHERE table_name = $1::regclass), \
              removed AS (DELETE FROM lake_table.removed_files WHERE table_name = $1::regclass), \
              queued AS (DELETE FROM lake_engine.deletion_queue WHERE table_name = $1::regclass), \
              fields AS (DELETE FROM lake_table.field_id_mappings WHERE table_name = $1::regclass) \
         INSERT INTO lake_engine.deletion_queue (path, table_name, orphaned_at, is_prefix) \
         SELECT location, $1::regclass, now(), true FROM dropped",
        &[Arg::Oid(relid)],
        Visibility::Transaction,
    )
    .map(drop)
}
