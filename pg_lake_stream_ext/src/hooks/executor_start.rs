//! The executor's start hook: UPDATEs and DELETEs of one lake table take turns, and each sees what the one before has
//! committed.
//!
//! PostgreSQL lets a READ COMMITTED statement that meets a row changed under its feet look at the newest version of that row
//! (EvalPlanQual, executor/README). Rows in files have no versions to follow; instead the statement waits for its turn
//! before it looks at anything, and then takes its snapshot anew. REPEATABLE READ keeps its snapshot, and finds out about
//! conflicts when it writes (see `write::row_removal`).

use std::ffi::c_int;
use std::sync::OnceLock;

use pgrx::{PgList, pg_guard, pg_sys};

use crate::catalog::tables;
use crate::ddl::lake_relation;

static PREVIOUS: OnceLock<pg_sys::ExecutorStart_hook_type> = OnceLock::new();

/// Puts this hook before the others.
pub fn install() {
    // SAFETY: hooks are installed while the library is loaded, by the backend's only thread.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::ExecutorStart_hook);
        pg_sys::ExecutorStart_hook = Some(executor_start);
    }
}

#[cfg(not(feature = "pg18"))]
type Started = ();
#[cfg(feature = "pg18")]
type Started = bool;

unsafe extern "C-unwind" {
    /// executor/execMain.c, declared without pgrx's guard.
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int) -> Started;
}

unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: c_int) -> Started {
    // SAFETY: PostgreSQL's arguments, passed on as they are.
    unsafe {
        if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int == 0
            && changes_foreign_rows((*query).plannedstmt)
            // What may not write is about to be told so.
            && !pg_sys::XactReadOnly
        {
            take_turns(query);
        }
        match PREVIOUS.get() {
            Some(Some(previous)) => previous(query, flags),
            _ => standard_ExecutorStart(query, flags),
        }
    }
}

/// Whether a statement may UPDATE or DELETE rows of a foreign table. Allocates nothing.
unsafe fn changes_foreign_rows(statement: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: the callers'; the lists are what plannodes.h says.
    unsafe {
        let statement = &*statement;
        let changes = match statement.commandType {
            pg_sys::CmdType::CMD_UPDATE | pg_sys::CmdType::CMD_DELETE => true,
            _ => statement.hasModifyingCTE,
        };
        changes
            && PgList::<pg_sys::RangeTblEntry>::from_pg(statement.rtable)
                .iter_ptr()
                .any(|entry| (*entry).relkind as u8 == pg_sys::RELKIND_FOREIGN_TABLE)
    }
}

/// Locks the lake tables whose rows the statement changes or removes, in the order of their OIDs, and takes the statement's
/// snapshot anew if it has waited (or might have).
#[pg_guard]
unsafe extern "C-unwind" fn take_turns(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the hook's argument.
    unsafe {
        let mut targets = targets(&*(*query).plannedstmt);
        targets.retain(|relid| lake_relation::is_lake_table(*relid));
        if targets.is_empty() {
            return;
        }
        targets.sort_unstable_by_key(|relid| relid.to_u32());
        targets.dedup();
        for relid in targets {
            tables::lock_for_changes(relid);
        }
        if pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as c_int {
            renew_snapshot(query);
        }
    }
}

/// The relations that UPDATE and DELETE nodes of a plan change.
unsafe fn targets(statement: &pg_sys::PlannedStmt) -> Vec<pg_sys::Oid> {
    // SAFETY: the callers'; casts follow the nodes' tags. Changes stand at the top of a plan, or of a CTE's.
    unsafe {
        let subplans = PgList::<pg_sys::Plan>::from_pg(statement.subplans);
        let plans = std::iter::once(statement.planTree).chain(subplans.iter_ptr());
        let mut targets = Vec::new();
        for plan in plans {
            if plan.is_null() || (*plan).type_ != pg_sys::NodeTag::T_ModifyTable {
                continue;
            }
            let modify = &*plan.cast::<pg_sys::ModifyTable>();
            if modify.operation == pg_sys::CmdType::CMD_INSERT {
                continue;
            }
            let numbers = modify.resultRelations;
            for position in 0..(*numbers).length {
                let number = pg_sys::list_nth_int(numbers, position);
                let entry: *mut pg_sys::RangeTblEntry =
                    pg_sys::list_nth(statement.rtable, number - 1).cast();
                if (*entry).relkind as u8 == pg_sys::RELKIND_FOREIGN_TABLE {
                    targets.push((*entry).relid);
                }
            }
        }
        targets
    }
}

/// Replaces the snapshot that the statement would run with, which is the active one as well (`PortalStart`,
/// `PortalRunMulti` in tcop/pquery.c; `_SPI_execute_plan` in executor/spi.c), by one of this moment.
unsafe fn renew_snapshot(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the callers'. The active snapshot is popped by whoever has pushed it, whichever it is.
    unsafe {
        if !pg_sys::ActiveSnapshotSet() {
            return;
        }
        pg_sys::PopActiveSnapshot();
        pg_sys::PushCopiedSnapshot(pg_sys::GetTransactionSnapshot());
        let renewed = pg_sys::RegisterSnapshot(pg_sys::GetActiveSnapshot());
        pg_sys::UnregisterSnapshot((*query).snapshot);
        (*query).snapshot = renewed;
    }
}
