//! `lake_engine.deletion_queue`: objects that no snapshot refers to, until they are old enough to be removed.

use pgrx::pg_sys;

use crate::error::Result;
use crate::pg::spi::{self, Arg, Visibility, columns, value};

/// An entry of the queue.
#[derive(Debug)]
pub struct Queued {
    /// An object, or the location of a dropped table.
    pub path: String,
    /// Whether all objects below `path` are meant.
    pub is_prefix: bool,
}

/// Queues objects of a table.
pub fn insert(relid: pg_sys::Oid, paths: &[String]) -> Result<()> {
    for path in paths {
        spi::run(
            "INSERT INTO lake_engine.deletion_queue (path, table_name, orphaned_at) VALUES ($2, $1::regclass, now())",
            &[Arg::Oid(relid), Arg::Text(path)],
            Visibility::Latest,
        )?;
    }
    Ok(())
}

/// Some entries that have been in the queue for `retention_s` seconds, of one table or of all that were dropped, locked
/// against others who do the same. What has failed in this transaction or less than ten minutes ago is left out, and so is
/// the location of a dropped table in or below which another table lives by now.
pub fn take_due(relid: Option<pg_sys::Oid>, retention_s: i64) -> Result<Vec<Queued>> {
    let rows = spi::run(
        "SELECT path, is_prefix FROM lake_engine.deletion_queue q \
         WHERE CASE WHEN $1::oid <> 0 THEN table_name = $1::regclass \
                    ELSE NOT EXISTS (SELECT FROM lake_iceberg.tables_internal t WHERE t.table_name = q.table_name) END \
           AND orphaned_at <= clock_timestamp() - $2 * interval '1 second' \
           AND (last_attempt_at IS NULL OR last_attempt_at < clock_timestamp() - interval '10 minutes') \
           AND NOT (is_prefix AND EXISTS (SELECT FROM lake_iceberg.tables_internal t \
                WHERE starts_with(t.location || '/', q.path || '/') OR starts_with(q.path || '/', t.location || '/'))) \
         LIMIT 1000 FOR UPDATE SKIP LOCKED",
        &[
            Arg::Oid(relid.unwrap_or(pg_sys::InvalidOid)),
            Arg::Int8(retention_s),
        ],
        Visibility::Latest,
    )?;
    rows.into_iter()
        .map(|row| {
            let [path, is_prefix] = columns(row)?;
            Ok(Queued {
                path: value(path)?,
                is_prefix: is_prefix.as_deref() == Some("t"),
            })
        })
        .collect()
}

/// Takes entries out of the queue: their objects are gone.
pub fn done(paths: &[String]) -> Result<()> {
    for path in paths {
        spi::run(
            "DELETE FROM lake_engine.deletion_queue WHERE path = $1",
            &[Arg::Text(path)],
            Visibility::Latest,
        )?;
    }
    Ok(())
}

/// Marks entries whose objects could not be removed.
pub fn failed(paths: &[String]) -> Result<()> {
    for path in paths {
        spi::run(
            "UPDATE lake_engine.deletion_queue SET retry_count = retry_count + 1, last_attempt_at = clock_timestamp() \
             WHERE path = $1",
            &[Arg::Text(path)],
            Visibility::Latest,
        )?;
    }
    Ok(())
}
