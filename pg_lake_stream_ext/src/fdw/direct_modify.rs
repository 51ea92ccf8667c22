//! DELETE and UPDATE that the server does: no row passes through PostgreSQL.
//!
//! The planner offers this where there are no row triggers, generated columns and RETURNING (core asks only then), when all
//! conditions are evaluated by the server and the new values can be computed there. Files of which the bounds say that
//! every row is meant are not even looked at.

use std::ffi::{CStr, c_int};

use lake_iceberg::quote_identifier;
use pgrx::{PgList, pg_guard, pg_sys};

use crate::catalog::lake_table::LakeTable;
use crate::error::{OrRaise, Result};
use crate::fdw::deparse::Deparser;
use crate::fdw::scan::{self, ScanState};
use crate::fdw::scan_query::{Audience, Change, ScanQuery, Sql};
use crate::write::server_change::ServerChange;

/// `PlanDirectModify`: whether the server can do it; if so, the scan's plan becomes that of the change.
///
/// # Safety
/// Called by the planner.
#[pg_guard]
pub unsafe extern "C-unwind" fn plan_direct_modify(
    root: *mut pg_sys::PlannerInfo,
    plan: *mut pg_sys::ModifyTable,
    result_relation: pg_sys::Index,
    subplan_index: c_int,
) -> bool {
    // SAFETY: the planner passes valid nodes; casts follow the nodes' tags.
    unsafe {
        let modify = &*plan;
        let subplan = modify.plan.lefttree;
        // Parts of one statement that change the same table must know of each other's rows.
        let is_part = !(*root).parent_root.is_null() || (*(*root).parse).hasModifyingCTE;
        if is_part
            || !modify.returningLists.is_null()
            || !modify.withCheckOptionLists.is_null()
            || subplan_index != 0
            || (*modify.resultRelations).length != 1
            || (*subplan).type_ != pg_sys::NodeTag::T_ForeignScan
        {
            return false;
        }
        let scan = &mut *subplan.cast::<pg_sys::ForeignScan>();
        if scan.scan.scanrelid != result_relation || !scan.scan.plan.qual.is_null() {
            return false;
        }
        let mut query = ScanQuery::from_plan(scan.fdw_private).or_raise();
        let values = match modify.operation {
            pg_sys::CmdType::CMD_DELETE => None,
            pg_sys::CmdType::CMD_UPDATE => {
                let entry = &*rt_fetch(root, result_relation);
                match new_values(root, entry.relid, result_relation, &mut scan.fdw_exprs) {
                    Some(values) => Some(values),
                    None => return false,
                }
            }
            _ => return false,
        };
        query.change = Some(Change {
            sets_tag: modify.canSetTag,
            values,
        });
        scan.fdw_private = query.to_plan().or_raise();
        scan.operation = modify.operation;
        scan.resultRelation = result_relation;
        true
    }
}

unsafe fn rt_fetch(
    root: *mut pg_sys::PlannerInfo,
    number: pg_sys::Index,
) -> *mut pg_sys::RangeTblEntry {
    // SAFETY: the callers': a number of the query's range table.
    unsafe { *(*root).simple_rte_array.add(number as usize) }
}

/// The new values of an UPDATE as SQL, by column; `None` if PostgreSQL must compute one, or check constraints of the new
/// rows. Parameters are added to `params`.
unsafe fn new_values(
    root: *mut pg_sys::PlannerInfo,
    relid: pg_sys::Oid,
    varno: pg_sys::Index,
    params: &mut *mut pg_sys::List,
) -> Option<Vec<(String, Sql)>> {
    // SAFETY: the planner's lists: of a simple table's UPDATE, `update_colnos` has the column of each target that is not
    // junk (preptlist.c).
    unsafe {
        let relation = pgrx::PgRelation::open(relid);
        let descriptor = &*(*relation.as_ptr()).rd_att;
        let has_checks = !descriptor.constr.is_null() && (*descriptor.constr).num_check > 0;
        if has_checks || (*(*relation.as_ptr()).rd_rel).relispartition {
            return None;
        }
        let table = LakeTable::open(relid).or_raise();
        let mut deparser = Deparser::new(relid, varno);
        deparser.params = PgList::<pg_sys::Node>::from_pg(*params)
            .iter_ptr()
            .collect();
        let mut values = Vec::new();
        let targets = PgList::<pg_sys::TargetEntry>::from_pg((*root).processed_tlist);
        // Values that come from one sub-select together, `(a, b) = (SELECT …)`: junk that is no column.
        let is_sub_select = |target: *mut pg_sys::TargetEntry| {
            (*target).resjunk && (*(*target).expr).type_ != pg_sys::NodeTag::T_Var
        };
        if targets.iter_ptr().any(is_sub_select) {
            return None;
        }
        let targets = targets.iter_ptr().filter(|target| !(**target).resjunk);
        for (position, target) in targets.enumerate() {
            let attnum = pg_sys::list_nth_int((*root).update_colnos, position as i32) as i16;
            let column = table
                .columns
                .iter()
                .find(|column| column.attnum == attnum)?;
            let columns = relation.tuple_desc();
            let sql = deparser.new_value(
                (*target).expr.cast(),
                &columns,
                columns.get(attnum as usize - 1)?,
                &column.iceberg.ty.duckdb_name(),
            )?;
            values.push((column.iceberg.name.clone(), sql));
        }
        let mut all = PgList::<pg_sys::Node>::new();
        deparser
            .params
            .into_iter()
            .for_each(|param| all.push(param));
        *params = all.into_pg();
        Some(values)
    }
}

/// `BeginDirectModify`: as for a scan.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn begin_direct_modify(
    node: *mut pg_sys::ForeignScanState,
    eflags: c_int,
) {
    // SAFETY: the executor's node, whose plan is ours.
    unsafe { scan::begin(node, eflags) }.or_raise();
}

/// `IterateDirectModify`: does it all, and returns no row.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn iterate_direct_modify(
    node: *mut pg_sys::ForeignScanState,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the node has begun; the slot and the context are its own.
    unsafe {
        let slot = (*node).ss.ss_ScanTupleSlot;
        pg_sys::ExecClearTuple(slot);
        if let Some(state) = ScanState::of(node)
            && !state.was_started()
        {
            let count = change(state, (*node).ss.ps.ps_ExprContext).or_raise();
            if state
                .query
                .change
                .as_ref()
                .is_some_and(|change| change.sets_tag)
            {
                (*(*node).ss.ps.state).es_processed += count;
            }
            if let Some(instrument) = (*node).ss.ps.instrument.as_mut() {
                instrument.tuplecount += count as f64;
            }
        }
        slot
    }
}

/// Changes the rows; returns how many.
unsafe fn change(state: &mut ScanState, context: *mut pg_sys::ExprContext) -> Result<u64> {
    // SAFETY: the callers'.
    let values = unsafe { state.evaluate_params(context)? };
    // SAFETY: as above.
    let (undecided, covered) = unsafe { state.decide_files(context)? };
    let query = &state.query;
    let audience = Audience::Server(&values);
    let table = LakeTable::open(state.relid())?;
    let new_values = query
        .change
        .as_ref()
        .and_then(|change| change.values.as_deref());
    let select_list = new_values.map(|new| {
        let columns = table.columns.iter().map(|column| {
            let name = quote_identifier(&column.iceberg.name);
            match new.iter().find(|(of, _)| *of == column.iceberg.name) {
                Some((_, sql)) => {
                    let mut text = String::new();
                    sql.write(audience, &mut text);
                    format!("{text} AS {name}")
                }
                None => name,
            }
        });
        columns.collect::<Vec<_>>().join(", ")
    });
    let assigned: Vec<i32> = table
        .columns
        .iter()
        .filter(|column| {
            new_values.is_some_and(|new| new.iter().any(|(of, _)| *of == column.iceberg.name))
        })
        .map(|column| column.iceberg.field_id)
        .collect();
    ServerChange {
        files: state.files(),
        undecided: &undecided,
        covered: &covered,
        condition: &query.condition(audience),
        new_rows: select_list.as_deref(),
        assigned_fields: &assigned,
        table,
    }
    .run()
}

/// `EndDirectModify`.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn end_direct_modify(_node: *mut pg_sys::ForeignScanState) {}

/// `ExplainDirectModify`: as for a scan; core's label says that the change itself is done there.
///
/// # Safety
/// Called by EXPLAIN.
#[pg_guard]
pub unsafe extern "C-unwind" fn explain_direct_modify(
    node: *mut pg_sys::ForeignScanState,
    es: *mut pg_sys::ExplainState,
) {
    /// The engine that does it.
    const ENGINE: (&CStr, &CStr) = (c"Engine", c"DuckDB");
    // SAFETY: EXPLAIN passes a node that has begun and its own state.
    unsafe {
        if !(*es).verbose {
            return;
        }
        let Some(state) = ScanState::of(node) else {
            return;
        };
        pg_sys::ExplainPropertyText(ENGINE.0.as_ptr(), ENGINE.1.as_ptr(), es);
        crate::fdw::explain::explain_change(state, &mut *es).or_raise();
    }
}
