//! TRUNCATE: all files leave the table, and none is touched.

use pgrx::{PgList, pg_guard, pg_sys};

use crate::catalog::files;
use crate::commit::transaction;
use crate::error::OrRaise;
use crate::pg::spi::Visibility;

/// `ExecForeignTruncate`. PostgreSQL has locked the tables against all others (commands/tablecmds.c, `ExecuteTruncateGuts`).
///
/// # Safety
/// Called by TRUNCATE with a list of open foreign tables.
#[pg_guard]
pub unsafe extern "C-unwind" fn exec_foreign_truncate(
    relations: *mut pg_sys::List,
    _behavior: pg_sys::DropBehavior::Type,
    _restart_sequences: bool,
) {
    // SAFETY: as promised by the caller.
    let relids: Vec<pg_sys::Oid> = unsafe { PgList::<pg_sys::RelationData>::from_pg(relations) }
        .iter_ptr()
        // SAFETY: as above.
        .map(|relation| unsafe { (*relation).rd_id })
        .collect();
    for relid in relids {
        transaction::mark_changed(relid);
        let files = files::live(relid, Visibility::Latest).or_raise();
        let ids: Vec<i64> = files
            .iter()
            .flat_map(|file| std::iter::once(&file.data).chain(&file.deletes))
            .map(|file| file.id)
            .collect();
        files::remove(relid, &ids).or_raise();
    }
}
