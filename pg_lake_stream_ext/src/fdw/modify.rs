//! INSERT, UPDATE, DELETE and COPY FROM, row by row: what the executor computes goes to [`TableChanges`].
//!
//! They belong to the query's memory context: whatever ends the query frees them, and with them connections and files.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use pgrx::{PgMemoryContexts, pg_guard, pg_sys};

use crate::catalog::lake_table::LakeTable;
use crate::error::{LakeError, OrRaise, Result};
use crate::fdw::open_changes::Registration;
use crate::fdw::row_id::RowIds;
use crate::pg::tuple::Row;
use crate::write::table_changes::TableChanges;

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
    /// Declared first, so that it goes before the changes that it points to.
    _registration: Option<Registration>,
    changes: Box<TableChanges>,
    row_ids: RowIds,
    /// Where the plan's rows carry the old row's identity and, if it is needed, the old row itself.
    row_id_column: pg_sys::AttrNumber,
    old_row_column: pg_sys::AttrNumber,
}

/// Name of the identity's column in plans.
const ROW_ID: &CStr = c"ctid";
/// Name of the old row's column in plans, which core uses as well (`add_row_identity_columns`, optimizer/util/appendinfo.c).
const OLD_ROW: &CStr = c"wholerow";

/// Lake tables take INSERT, UPDATE and DELETE.
#[pg_guard]
pub unsafe extern "C-unwind" fn is_foreign_rel_updatable(_rel: pg_sys::Relation) -> c_int {
    (1 << pg_sys::CmdType::CMD_INSERT)
        | (1 << pg_sys::CmdType::CMD_UPDATE)
        | (1 << pg_sys::CmdType::CMD_DELETE)
}

/// Asks for what identifies a row to change, and for the row itself where RETURNING wants a deleted one. UPDATEs, and
/// tables with triggers, get it from core.
#[pg_guard]
pub unsafe extern "C-unwind" fn add_foreign_update_targets(
    root: *mut pg_sys::PlannerInfo,
    rtindex: pg_sys::Index,
    _target: *mut pg_sys::RangeTblEntry,
    relation: pg_sys::Relation,
) {
    // SAFETY: the planner passes valid nodes; the variables are made in its memory context.
    unsafe {
        let row_id = pg_sys::makeVar(
            rtindex as _,
            pg_sys::SelfItemPointerAttributeNumber as pg_sys::AttrNumber,
            pg_sys::TIDOID,
            -1,
            pg_sys::InvalidOid,
            0,
        );
        pg_sys::add_row_identity_var(root, row_id, rtindex, ROW_ID.as_ptr());
        let parse = &*(*root).parse;
        if parse.commandType == pg_sys::CmdType::CMD_DELETE && !parse.returningList.is_null() {
            let old_row = pg_sys::makeVar(
                rtindex as _,
                pg_sys::InvalidAttrNumber as pg_sys::AttrNumber,
                (*(*relation).rd_rel).reltype,
                -1,
                pg_sys::InvalidOid,
                0,
            );
            pg_sys::add_row_identity_var(root, old_row, rtindex, OLD_ROW.as_ptr());
        }
    }
}

/// Refuses what a statement cannot do to a lake table.
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

/// Starts a statement's changes.
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
        unsafe { begin(state, (*state).operation, relation) }.or_raise();
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
        begin(state, pg_sys::CmdType::CMD_INSERT, relation).or_raise();
    }
}

unsafe fn begin(
    state: *mut pg_sys::ModifyTableState,
    operation: pg_sys::CmdType::Type,
    relation: *mut pg_sys::ResultRelInfo,
) -> Result<()> {
    // SAFETY: the relation is open and locked by the executor. The box keeps the changes in place while the state moves.
    unsafe {
        let estate = (*state).ps.state;
        let table = LakeTable::open((*(*relation).ri_RelationDesc).rd_id)?;
        let is_insert = operation == pg_sys::CmdType::CMD_INSERT;
        let is_update = operation == pg_sys::CmdType::CMD_UPDATE;
        let mut changes = Box::new(match is_insert {
            true => TableChanges::insert(table)?,
            false => TableChanges::remove(table, estate, is_update)?,
        });
        let column = |name: &CStr| match is_insert {
            true => 0,
            false => {
                let plan = (*(*state).ps.lefttree).plan;
                pg_sys::ExecFindJunkAttributeInTlist((*plan).targetlist, name.as_ptr())
            }
        };
        let registration = has_after_triggers(relation, operation)
            .then(|| Registration::new(estate, NonNull::from(&mut *changes)));
        let state = ModifyState {
            _registration: registration,
            row_ids: RowIds::new(changes.files()),
            row_id_column: column(ROW_ID),
            old_row_column: column(OLD_ROW),
            changes,
        };
        (*relation).ri_FdwState = PgMemoryContexts::CurrentMemoryContext
            .leak_and_drop_on_delete(state)
            .cast();
    }
    Ok(())
}

unsafe fn has_after_triggers(
    relation: *mut pg_sys::ResultRelInfo,
    operation: pg_sys::CmdType::Type,
) -> bool {
    // SAFETY: the callers'.
    unsafe {
        let Some(triggers) = (*relation).ri_TrigDesc.as_ref() else {
            return false;
        };
        match operation {
            pg_sys::CmdType::CMD_INSERT => {
                triggers.trig_insert_after_row || triggers.trig_insert_after_statement
            }
            pg_sys::CmdType::CMD_UPDATE => {
                triggers.trig_update_after_row || triggers.trig_update_after_statement
            }
            _ => triggers.trig_delete_after_row || triggers.trig_delete_after_statement,
        }
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
    // SAFETY: the executor passes valid pointers.
    unsafe {
        check_row(estate, relation, slot);
        write_slot(relation, slot);
    }
    slot
}

/// Replaces a row, unless the statement has changed it before.
///
/// Not guarded as a whole, as above.
pub unsafe extern "C-unwind" fn exec_foreign_update(
    estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    plan_slot: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor passes valid pointers.
    unsafe {
        check_row(estate, relation, slot);
        if !remove_row(relation, plan_slot) {
            return std::ptr::null_mut();
        }
        write_slot(relation, slot);
    }
    slot
}

/// Removes a row, unless the statement has changed it before; the slot gets the old row if the plan has it.
#[pg_guard]
pub unsafe extern "C-unwind" fn exec_foreign_delete(
    _estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    plan_slot: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor passes valid pointers; the state was set when the statement began.
    unsafe {
        if !remove_row(relation, plan_slot) {
            return std::ptr::null_mut();
        }
        let state = &*(*relation).ri_FdwState.cast::<ModifyState>();
        if state.old_row_column > 0 {
            store_old_row(plan_slot, state.old_row_column, slot).or_raise();
        }
    }
    slot
}

/// Checks a row's constraints: core leaves this to the wrapper (ExecInsert, executor/nodeModifyTable.c).
unsafe fn check_row(
    estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
) {
    // SAFETY: the callers'.
    unsafe {
        let descriptor = (*(*relation).ri_RelationDesc).rd_att;
        if !(*descriptor).constr.is_null() {
            ExecConstraints(relation, slot, estate);
        }
        if (*(*(*relation).ri_RelationDesc).rd_rel).relispartition {
            ExecPartitionCheck(relation, slot, estate, true);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn write_slot(
    relation: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
) {
    // SAFETY: the state was set when the statement began; the slot holds the row during this call.
    unsafe {
        let state = &mut *(*relation).ri_FdwState.cast::<ModifyState>();
        state.changes.write_row(&Row::of_slot(slot)).or_raise();
    }
}

/// Removes the row that a row of the plan identifies; false if it was removed before.
#[pg_guard]
unsafe extern "C-unwind" fn remove_row(
    relation: *mut pg_sys::ResultRelInfo,
    plan_slot: *mut pg_sys::TupleTableSlot,
) -> bool {
    // SAFETY: the state was set when the statement began; a `tid` datum points to an ItemPointerData.
    unsafe {
        let state = &mut *(*relation).ri_FdwState.cast::<ModifyState>();
        let mut is_null = true;
        let row_id = pg_sys::ExecGetJunkAttribute(plan_slot, state.row_id_column, &mut is_null);
        if is_null {
            LakeError::internal("ctid is NULL").raise();
        }
        let row_id = *row_id.cast_mut_ptr::<pg_sys::ItemPointerData>();
        let (file, position) = state.row_ids.unpack(row_id);
        state.changes.remove_row(file, position)
    }
}

/// Puts the old row, a composite value of the plan's row, into a slot.
unsafe fn store_old_row(
    plan_slot: *mut pg_sys::TupleTableSlot,
    column: pg_sys::AttrNumber,
    slot: *mut pg_sys::TupleTableSlot,
) -> Result<()> {
    // SAFETY: the callers'; the composite lives as long as the plan's row, and the tuple is copied into the slot.
    unsafe {
        let mut is_null = true;
        let row = pg_sys::ExecGetJunkAttribute(plan_slot, column, &mut is_null);
        if is_null {
            return Err(LakeError::internal("wholerow is NULL"));
        }
        let header =
            pg_sys::pg_detoast_datum(row.cast_mut_ptr()).cast::<pg_sys::HeapTupleHeaderData>();
        let mut tuple = pg_sys::HeapTupleData {
            t_len: pgrx::varlena::varsize_any(header.cast()) as u32,
            t_data: header,
            ..Default::default()
        };
        pg_sys::ExecForceStoreHeapTuple(&mut tuple, slot, false);
        pg_sys::ExecMaterializeSlot(slot);
    }
    Ok(())
}

/// Ends a statement: the last files are finished and all are entered in the catalog.
#[pg_guard]
pub unsafe extern "C-unwind" fn end_foreign_modify(
    _estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
) {
    // SAFETY: as above; after EXPLAIN there is no state.
    unsafe { finish(relation) }.or_raise();
}

/// Ends a COPY FROM.
#[pg_guard]
pub unsafe extern "C-unwind" fn end_foreign_insert(
    _estate: *mut pg_sys::EState,
    relation: *mut pg_sys::ResultRelInfo,
) {
    // SAFETY: as above.
    unsafe { finish(relation) }.or_raise();
}

unsafe fn finish(relation: *mut pg_sys::ResultRelInfo) -> Result<()> {
    // SAFETY: the callers'.
    match unsafe { (*relation).ri_FdwState.cast::<ModifyState>().as_mut() } {
        Some(state) => state.changes.finish(),
        None => Ok(()),
    }
}

/// EXPLAIN of a change: which engine writes, and how the rows get there.
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
