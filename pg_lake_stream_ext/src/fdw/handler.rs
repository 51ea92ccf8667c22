//! The handler functions of the SQL objects: the foreign-data wrapper, and the access methods that only have a name.

use pgrx::{pg_guard, pg_sys};

use crate::error::LakeError;
use crate::fdw::{direct_modify, explain, modify, plan, scan, truncate};

/// Tells fmgr that [`pg_lake_iceberg_handler`] has the version-1 calling convention.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_pg_lake_iceberg_handler() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// `lake_iceberg.pg_lake_iceberg_handler() RETURNS fdw_handler` (foreign/fdwapi.h).
///
/// # Safety
/// Called by fmgr.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn pg_lake_iceberg_handler(
    _fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: palloc0 returns zeroed memory of the size asked for; a node's tag is its first field.
    let routine = unsafe {
        let routine = pg_sys::palloc0(size_of::<pg_sys::FdwRoutine>()).cast::<pg_sys::FdwRoutine>();
        (*routine).type_ = pg_sys::NodeTag::T_FdwRoutine;
        &mut *routine
    };
    routine.GetForeignRelSize = Some(plan::get_foreign_rel_size);
    routine.GetForeignPaths = Some(plan::get_foreign_paths);
    routine.GetForeignPlan = Some(plan::get_foreign_plan);
    routine.BeginForeignScan = Some(scan::begin_foreign_scan);
    routine.IterateForeignScan = Some(scan::iterate_foreign_scan);
    routine.ReScanForeignScan = Some(scan::rescan_foreign_scan);
    routine.AddForeignUpdateTargets = Some(modify::add_foreign_update_targets);
    routine.EndForeignScan = Some(scan::end_foreign_scan);
    routine.ExplainForeignScan = Some(explain::explain_foreign_scan);
    routine.IsForeignRelUpdatable = Some(modify::is_foreign_rel_updatable);
    routine.PlanForeignModify = Some(modify::plan_foreign_modify);
    routine.BeginForeignModify = Some(modify::begin_foreign_modify);
    routine.ExecForeignInsert = Some(modify::exec_foreign_insert);
    routine.ExecForeignUpdate = Some(modify::exec_foreign_update);
    routine.ExecForeignDelete = Some(modify::exec_foreign_delete);
    routine.ExecForeignTruncate = Some(truncate::exec_foreign_truncate);
    routine.EndForeignModify = Some(modify::end_foreign_modify);
    routine.BeginForeignInsert = Some(modify::begin_foreign_insert);
    routine.EndForeignInsert = Some(modify::end_foreign_insert);
    routine.ExplainForeignModify = Some(modify::explain_foreign_modify);
    routine.PlanDirectModify = Some(direct_modify::plan_direct_modify);
    routine.BeginDirectModify = Some(direct_modify::begin_direct_modify);
    routine.IterateDirectModify = Some(direct_modify::iterate_direct_modify);
    routine.EndDirectModify = Some(direct_modify::end_direct_modify);
    routine.ExplainDirectModify = Some(direct_modify::explain_direct_modify);
    pg_sys::Datum::from(std::ptr::from_mut(routine))
}

/// Tells fmgr that [`pg_lake_iceberg_am_handler`] has the version-1 calling convention.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_pg_lake_iceberg_am_handler() -> &'static pg_sys::Pg_finfo_record {
    pg_finfo_pg_lake_iceberg_handler()
}

/// The handler of the access methods `iceberg` and `pg_lake_iceberg`.
///
/// The methods give `USING iceberg` a name; the tables are foreign tables, and nothing is ever stored through this handler.
/// It is reached by statements for which an Iceberg table cannot be made.
///
/// # Safety
/// Called by fmgr.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn pg_lake_iceberg_am_handler(
    _fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    LakeError::unsupported(
        "access method \"iceberg\" can only be used in CREATE TABLE and CREATE TABLE AS",
    )
    .raise()
}
