//! Removes the objects of the deletion queue whose time has come.

use pgrx::{PgLogLevel, PgSqlErrorCode, ereport, pg_sys};

use crate::catalog::deletion_queue::{self, Queued};
use crate::error::Result;
use crate::guc;
use crate::pgduck::object;

/// Removes what has been in the queue for `pg_lake_engine.orphaned_file_retention_period`: the objects of one table, or
/// those of tables that do not exist any more. Returns what was removed.
///
/// What cannot be removed stays in the queue, with a warning.
pub fn flush(relid: Option<pg_sys::Oid>) -> Result<Vec<String>> {
    let retention = guc::orphaned_file_retention_s();
    let mut removed = Vec::new();
    loop {
        let batch = deletion_queue::take_due(relid, retention)?;
        if batch.is_empty() {
            return Ok(removed);
        }
        let (prefixes, objects): (Vec<Queued>, Vec<Queued>) =
            batch.into_iter().partition(|queued| queued.is_prefix);
        let objects: Vec<String> = objects.into_iter().map(|queued| queued.path).collect();
        remove(&objects, &objects, &mut removed)?;
        for prefix in prefixes {
            match object::list(&prefix.path) {
                Ok(below) => remove(&below, &[prefix.path], &mut removed)?,
                Err(error) => failed(&[prefix.path], error.message())?,
            }
        }
    }
}

/// Removes objects, and the entries of the queue that they come from.
fn remove(objects: &[String], entries: &[String], removed: &mut Vec<String>) -> Result<()> {
    match object::remove(objects) {
        Ok(gone) => {
            removed.extend(gone);
            deletion_queue::done(entries)
        }
        Err(error) => failed(entries, error.message()),
    }
}

fn failed(entries: &[String], message: &str) -> Result<()> {
    ereport!(
        PgLogLevel::WARNING,
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("could not remove objects: {message}")
    );
    deletion_queue::failed(entries)
}
