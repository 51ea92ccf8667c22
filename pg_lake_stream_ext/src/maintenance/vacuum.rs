//! `VACUUM` of lake tables.

use std::ffi::CStr;

use pgrx::{PgLogLevel, PgSqlErrorCode, ereport, pg_sys};

use crate::commit::pre_commit;
use crate::ddl::lake_relation;
use crate::error::Result;
use crate::guc;
use crate::maintenance::compaction::Thoroughness;
use crate::maintenance::{compaction, deletion_queue, in_progress, own_transaction};
use crate::pg::spi::{self, Visibility};

/// Vacuums one table: compaction, snapshot expiry, and its part of the deletion queue.
pub fn vacuum_table(relid: pg_sys::Oid, thoroughness: Thoroughness) -> Result<()> {
    for _ in 0..guc::max_compactions_per_vacuum() {
        let written = own_transaction::run(|| match Locked::table(relid)? {
            Some(_table) => compaction::compact_once(relid, thoroughness),
            None => Ok(0),
        })?;
        if written == 0 {
            break;
        }
    }
    own_transaction::run(|| match Locked::table(relid)? {
        Some(_table) => pre_commit::expire_snapshots(relid),
        None => Ok(()),
    })?;
    own_transaction::run(|| deletion_queue::flush(Some(relid)).map(drop))
}

/// Removes what no table has any more: objects of dropped tables, and of operations that came to nothing.
pub fn clean_up() -> Result<()> {
    own_transaction::run(|| deletion_queue::flush(None).map(drop))?;
    own_transaction::run(|| in_progress::flush().map(drop))
}

/// All lake tables of the database.
pub fn all_tables() -> Result<Vec<pg_sys::Oid>> {
    let rows = spi::run(
        "SELECT table_name::oid FROM lake_iceberg.tables_internal WHERE metadata_location IS NOT NULL ORDER BY 1",
        &[],
        Visibility::Query,
    )?;
    Ok(rows
        .into_iter()
        .filter_map(|row| row.first()?.as_deref()?.parse::<u32>().ok())
        .map(pg_sys::Oid::from)
        .collect())
}

/// Whether the current user may vacuum a table; if not, says so as core does (commands/vacuum.c).
pub fn may_vacuum(relid: pg_sys::Oid) -> bool {
    // SAFETY: look-ups of an existing relation and the current user.
    unsafe {
        let user = pg_sys::GetUserId();
        #[cfg(feature = "pg15")]
        let is_owner = pg_sys::pg_class_ownercheck(relid, user);
        #[cfg(not(feature = "pg15"))]
        let is_owner = pg_sys::object_ownercheck(pg_sys::RelationRelationId, relid, user);
        if is_owner {
            return true;
        }
        let name = CStr::from_ptr(pg_sys::get_rel_name(relid)).to_string_lossy();
        let message = match cfg!(feature = "pg15") {
            true => {
                format!("skipping \"{name}\" --- only table or database owner can vacuum it")
            }
            false => format!("permission denied to vacuum \"{name}\", skipping it"),
        };
        ereport!(
            PgLogLevel::WARNING,
            PgSqlErrorCode::ERRCODE_WARNING,
            message
        );
        false
    }
}

/// A table that is open and locked as VACUUM locks tables: against other VACUUMs and DDL, not against changes.
struct Locked {
    relation: pg_sys::Relation,
}

impl Locked {
    /// The table, or `None` if it was dropped.
    fn table(relid: pg_sys::Oid) -> Result<Option<Self>> {
        let mode = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: in a transaction; null if there is no such relation any more.
        let relation = unsafe { pg_sys::try_relation_open(relid, mode) };
        if relation.is_null() {
            return Ok(None);
        }
        let locked = Self { relation };
        Ok(lake_relation::is_lake_table(relid).then_some(locked))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `table`; the lock stays until the end of the transaction.
            unsafe { pg_sys::relation_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE) };
        }
    }
}
