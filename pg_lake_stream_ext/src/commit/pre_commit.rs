//! From the catalogs' new rows to new Iceberg metadata: one snapshot a table and transaction.
//!
//! Tables are locked one by one in the order of their OIDs. The metadata of all of them is uploaded together at the end; if
//! anything fails the transaction aborts, and nothing refers to what was uploaded.

use std::time::{SystemTime, UNIX_EPOCH};

use lake_iceberg::{Changes, Commit, ExpireWhen, Object, Stamp};
use pgrx::pg_sys;

use crate::catalog::lake_table::LakeTable;
use crate::catalog::{deletion_queue, files, in_progress, removed_files, tables};
use crate::commit::{metadata_cache, transaction, upload};
use crate::error::Result;
use crate::fdw::options;
use crate::guc;
use crate::maintenance::launcher;
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::spi::Visibility;
use crate::pgduck::object;

/// After so many commits to a table the background worker looks at it, however long it would still sleep.
const COMMITS_PER_ROUND: i64 = 100;

/// Writes the metadata of every table that the transaction has changed.
pub fn commit_tables(relids: impl Iterator<Item = pg_sys::Oid>) -> Result<()> {
    let _snapshot = ActiveSnapshot::push();
    let mut objects: Vec<Object> = Vec::new();
    let mut states = Vec::new();
    for relid in relids {
        let Some(commit) = commit_table(relid)? else {
            continue;
        };
        record(relid, &commit)?;
        objects.extend(commit.objects);
        states.push((relid, commit.state));
    }
    upload::upload_all(&objects)?;
    for (relid, state) in states {
        let commits = state.sequence_number();
        if commits > 0 && commits % COMMITS_PER_ROUND == 0 {
            launcher::request_round();
        }
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
    let (added_data, added_deletes) = files::added(relid)?;
    let changes = Changes {
        added_data,
        added_deletes,
        removed: removed_files::uncommitted(relid)?,
        is_rewrite: transaction::is_rewrite(),
    };
    let Some(location) = row.metadata_location else {
        let schema = LakeTable::open(relid)?.schema();
        let stamp = stamp(&row.location)?;
        let commit = lake_iceberg::create_table(&row.location, &schema, changes, stamp)?;
        return Ok(Some(commit));
    };
    if changes.is_empty() {
        return Ok(None);
    }
    let base = metadata_cache::load(relid, &location)?;
    let policy = guc::metadata_policy(max_snapshot_age(relid)?, ExpireWhen::Excess);
    let prepared = lake_iceberg::prepare(&base, changes, &policy)?;
    let manifests = object::read_all(&prepared.manifests_to_load())?;
    Ok(Some(prepared.finish(manifests, stamp(&row.location)?)?))
}

/// Writes a new version of a table without its old snapshots, if it has any that are old enough.
pub fn expire_snapshots(relid: pg_sys::Oid) -> Result<()> {
    tables::lock_for_commit(relid);
    let Some(location) =
        tables::find(relid, Visibility::Latest)?.and_then(|row| row.metadata_location)
    else {
        return Ok(());
    };
    let base = metadata_cache::load(relid, &location)?;
    let policy = guc::metadata_policy(max_snapshot_age(relid)?, ExpireWhen::Always);
    // Usually there is nothing to do, and then nothing is to be named either.
    if lake_iceberg::expire(&base, &policy.retention, now_ms())?.is_none() {
        return Ok(());
    }
    let stamp = stamp(base.location())?;
    if let Some(commit) = lake_iceberg::expire(&base, &policy.retention, stamp)? {
        record(relid, &commit)?;
        upload::upload_all(&commit.objects)?;
        metadata_cache::store(relid, commit.state);
    }
    Ok(())
}

/// Enters a new version in the catalogs.
fn record(relid: pg_sys::Oid, commit: &Commit) -> Result<()> {
    let sequence_number = commit.state.sequence_number();
    tables::set_metadata_location(relid, commit.state.metadata_location())?;
    if let Some(snapshot_id) = commit.state.snapshot_id() {
        files::assign_to_snapshot(relid, snapshot_id, sequence_number)?;
        removed_files::assign_to_snapshot(relid, sequence_number, &commit.replaced_manifests)?;
    }
    if !commit.expired_objects.is_empty() {
        deletion_queue::insert(relid, &commit.expired_objects)?;
        removed_files::release(relid, commit.state.oldest_sequence_number())?;
    }
    Ok(())
}

/// The table's own `max_snapshot_age`, in seconds.
fn max_snapshot_age(relid: pg_sys::Oid) -> Result<Option<i64>> {
    Ok(options::of_table(relid)?.max_snapshot_age)
}

/// The time of a commit to a table at `location`, and the name of its objects.
fn stamp(location: &str) -> Result<Stamp> {
    Ok(Stamp {
        object_id: in_progress::new_object_id(location)?,
        now_ms: now_ms(),
    })
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as i64)
}
