//! From the catalogs' new rows to new Iceberg metadata: one snapshot a table and transaction.
//!
//! Tables are locked one by one in the order of their OIDs. The metadata of all of them is uploaded together at the end; if
//! anything fails the transaction aborts, and nothing refers to what was uploaded.

use std::time::{SystemTime, UNIX_EPOCH};

use lake_iceberg::{Commit, Object};
use pgrx::pg_sys;

use crate::catalog::lake_table::LakeTable;
use crate::catalog::{files, tables};
use crate::commit::{metadata_cache, upload};
use crate::error::Result;
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::spi::Visibility;

/// Writes the metadata of every table that the transaction has changed.
pub fn commit_tables(relids: impl Iterator<Item = pg_sys::Oid>) -> Result<()> {
    let _snapshot = ActiveSnapshot::push();
    let mut objects: Vec<Object> = Vec::new();
    let mut states = Vec::new();
    for relid in relids {
        let Some(commit) = commit_table(relid)? else {
            continue;
        };
        tables::set_metadata_location(relid, commit.state.metadata_location())?;
        objects.extend(commit.objects);
        states.push((relid, commit.state));
    }
    upload::upload_all(&objects)?;
    for (relid, state) in states {
        metadata_cache::store(relid, state);
    }
    Ok(())
}

/// The next version of one table, or `None` if the transaction has in the end not changed it.
fn commit_table(relid: pg_sys::Oid) -> Result<Option<Commit>> {
    tables::lock_for_commit(relid);
    let Some(row) = tables::find(relid, Visibility::Latest)? else {
        return Ok(None);
    };
    let added = files::added(relid)?;
    let now_ms = now_ms();
    let commit = match row.metadata_location {
        None => {
            let schema = LakeTable::open(relid)?.schema();
            lake_iceberg::create_table(&row.location, &schema, &added, now_ms)?
        }
        Some(_) if added.is_empty() => return Ok(None),
        Some(location) => {
            let base = metadata_cache::load(relid, &location)?;
            lake_iceberg::append(&base, &added, now_ms)?
        }
    };
    if let (false, Some(snapshot_id)) = (added.is_empty(), commit.state.snapshot_id()) {
        files::assign_to_snapshot(relid, snapshot_id)?;
    }
    Ok(Some(commit))
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as i64)
}
