//! INSERT and COPY FROM: rows of the executor go to a [`TableWriter`].
//!
//! The writer belongs to the query's memory context: whatever ends the query frees it, and with it its connection and files.

use std::ffi::c_int;
use std::ptr::NonNull;

use pgrx::{PgMemoryContexts, pg_guard, pg_sys};

use crate::catalog::lake_table::LakeTable;
use crate::error::{LakeError, OrRaise, Result};
use crate::fdw::open_writers::Registration;
use crate::pg::tuple::Row;
use crate::write::table_writer::TableWriter;

unsafe extern "C-unwind" {
    /// executor/execMain.c. Declared here without pgrx's guard, so that a violated constraint is reported with all its
    /// fields (schema, table, column, constraint name).
    fn ExecConstraints(
        relation: *mut pg_sys::ResultRelInfo,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
    );
    /// executor/execMain.c. As above.
    fn ExecPartitionCheck(
        relation: *mut pg_sys::ResultRelInfo,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
        emit_error: bool,
    ) -> bool;
}

/// What a table's part of a statement needs: `ri_FdwState`.
struct ModifyState {
    /// Declared first, so that it goes before the writer that it points to.
    _registration: Option<Registration>,
    writer: Box<TableWriter>,
}

/// Lake tables take INSERT.
#[pg_guard]
pub unsafe extern "C-unwind" fn is_foreign_rel_updatable(_rel: pg_sys::Relation) -> c_int {
    1 << pg_sys::CmdType::CMD_INSERT
}

/// Refuses what an INSERT into a lake table cannot do.
#[pg_guard]
pub unsafe extern "C-unwind" fn plan_foreign_modify(
    _root: *mut pg_sys::PlannerInfo,
    plan: *mut pg_sys::ModifyTable,
    _result_relation: pg_sys::Index,
    _subplan_index: c_int,
) -> *mut pg_sys::List {
    // SAFETY: the planner passes a valid node.
    if unsafe { (*plan).onConflictAction } != pg_sys::OnConflictAction::ONCONFLICT_NONE {
        LakeError::unsupported("INSERT .. ON CONFLICT is not supported on pg_lake tables").raise();
    }
    std::ptr::null_mut()
}

/// Starts an INSERT statement's writer.
#[pg_guard]
pub unsafe extern "C-unwind" fn begin_foreign_modify(
    state: *mut pg_sys::ModifyTableState,
    relation: *mut pg_sys::ResultRelInfo,
    _private: *mut pg_sys::List,
    _subplan_index: c_int,
    flags: c_int,
) {
    if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int == 0 {
        // SAFETY: the executor passes valid pointers, in the query's memory context.
        unsafe { begin_writing((*state).ps.state, relation) }.or_raise();
    }
}

/// Starts the writer of a COPY FROM, or of rows that are routed into a partition.
#[pg_guard]
pub unsafe extern "C-unwind" fn begin_foreign_insert(
    state: *mut pg_sys::ModifyTableState,
    relation: *mut pg_sys::ResultRelInfo,
) {
    // SAFETY: as above; `plan` is null in a COPY's made-up state.
    unsafe {
        let plan = (*state).ps.plan.cast::<pg_sys::ModifyTable>();
        if !plan.is_null() && (*plan).operation == pg_sys::CmdType::CMD_UPDATE {
            LakeError::unsupported("cannot route tuples into foreign table to be updated").raise();
        }
        begin_writing((*state).ps.state, relation).or_raise();
    }
}

unsafe fn begin_writing(
    estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
) -> Result<()> {
    // SAFETY: the relation is open and locked by the executor. The box keeps the writer in place while the state moves.
    unsafe {
        let relid = (*(*relation).ri_RelationDesc).rd_id;
        let mut writer = Box::new(TableWriter::new(LakeTable::open(relid)?)?);
        let registration = has_after_triggers(relation)
            .then(|| Registration::new(estate, NonNull::from(&mut *writer)));
        let state = ModifyState {
            _registration: registration,
            writer,
        };
        (*relation).ri_FdwState = PgMemoryContexts::CurrentMemoryContext
            .leak_and_drop_on_delete(state)
            .cast();
    }
    Ok(())
}

unsafe fn has_after_triggers(relation: *mut pg_sys::ResultRelInfo) -> bool {
    // SAFETY: the callers'.
    unsafe {
        let triggers = (*relation).ri_TrigDesc;
        !triggers.is_null()
            && ((*triggers).trig_insert_after_row || (*triggers).trig_insert_after_statement)
    }
}

/// Checks one row's constraints and writes it.
///
/// Not guarded as a whole: an error of the constraints passes through this frame, which owns nothing.
pub unsafe extern "C-unwind" fn exec_foreign_insert(
    estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    _plan_slot: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor passes valid pointers; core leaves these checks of foreign tables to the wrapper
    // (ExecInsert, executor/nodeModifyTable.c).
    unsafe {
        let descriptor = (*(*relation).ri_RelationDesc).rd_att;
        if !(*descriptor).constr.is_null() {
            ExecConstraints(relation, slot, estate);
        }
        if (*(*(*relation).ri_RelationDesc).rd_rel).relispartition {
            ExecPartitionCheck(relation, slot, estate, true);
        }
        write_slot(relation, slot);
    }
    slot
}

#[pg_guard]
unsafe extern "C-unwind" fn write_slot(
    relation: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
) {
    // SAFETY: the state was set when the statement began; the slot holds the row during this call.
    unsafe {
        let state = &mut *(*relation).ri_FdwState.cast::<ModifyState>();
        state.writer.write_row(&Row::of_slot(slot)).or_raise();
    }
}

/// Ends an INSERT statement: the last file is finished and all are entered in the catalog.
#[pg_guard]
pub unsafe extern "C-unwind" fn end_foreign_modify(
    _estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
) {
    // SAFETY: as above; after EXPLAIN there is no state.
    unsafe { finish_writing(relation) }.or_raise();
}

/// Ends a COPY FROM.
#[pg_guard]
pub unsafe extern "C-unwind" fn end_foreign_insert(
    _estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
) {
    // SAFETY: as above.
    unsafe { finish_writing(relation) }.or_raise();
}

unsafe fn finish_writing(relation: *mut pg_sys::ResultRelInfo) -> Result<()> {
    // SAFETY: the callers'.
    match unsafe { (*relation).ri_FdwState.cast::<ModifyState>().as_mut() } {
        Some(state) => state.writer.finish(),
        None => Ok(()),
    }
}

/// EXPLAIN of an INSERT: which engine writes, and how the rows get there.
#[pg_guard]
pub unsafe extern "C-unwind" fn explain_foreign_modify(
    _state: *mut pg_sys::ModifyTableState,
    _relation: *mut pg_sys::ResultRelInfo,
    _private: *mut pg_sys::List,
    _subplan_index: c_int,
    explain: *mut pg_sys::ExplainState,
) {
    // SAFETY: EXPLAIN passes a valid state; the texts are constants.
    unsafe {
        if (*explain).verbose {
            let way = if crate::guc::streaming_writes() {
                c"streaming"
            } else {
                c"shared files"
            };
            pg_sys::ExplainPropertyText(c"Engine".as_ptr(), c"DuckDB".as_ptr(), explain);
            pg_sys::ExplainPropertyText(c"Writes".as_ptr(), way.as_ptr(), explain);
        }
    }
}
