//! Planning of a scan: how large it is, what it costs, which conditions and columns go to the server.

use std::ffi::CStr;

use pgrx::{PgList, pg_guard, pg_sys};

use crate::catalog::files;
use crate::error::{LakeError, OrRaise, Result};
use crate::fdw::deparse::Deparser;
use crate::fdw::scan_query::ScanQuery;
use crate::pg::spi::Visibility;

/// Cost of sending a query and waiting for its first row, as `postgres_fdw` takes it (`DEFAULT_FDW_STARTUP_COST`). It also
/// keeps a scan from the inner side of a nested loop without a Materialize above it.
const STARTUP_COST: f64 = 100.0;
/// Cost of taking one row over the connection, in units of `cpu_tuple_cost`.
const TRANSFER_COST: f64 = 2.0;
/// Cost of one row that DuckDB reads, in units of `cpu_tuple_cost`: it works on columns, with several threads.
const ENGINE_COST: f64 = 0.05;
/// Bytes of a page, for tables whose size the planner asks in pages.
const PAGE_BYTES: f64 = pg_sys::BLCKSZ as f64;

/// `GetForeignRelSize`: the estimate of rows and their width.
///
/// # Safety
/// Called by the planner.
#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_rel_size(
    root: *mut pg_sys::PlannerInfo,
    baserel: *mut pg_sys::RelOptInfo,
    foreigntableid: pg_sys::Oid,
) {
    // SAFETY: the planner passes valid nodes.
    unsafe {
        refuse_row_locks(root, &*baserel).or_raise();
        refuse_system_columns(root, &*baserel, foreigntableid).or_raise();
        let files = files::live(foreigntableid, Visibility::Query).or_raise();
        let rows = files.iter().map(|file| file.live_rows()).sum::<u64>() as f64;
        let baserel = &mut *baserel;
        baserel.tuples = rows;
        pg_sys::set_baserel_size_estimates(root, baserel);
        let width = (*baserel.reltarget).width.max(1);
        baserel.pages = ((rows * f64::from(width)) / PAGE_BYTES)
            .ceil()
            .min(f64::from(u32::MAX)) as pg_sys::BlockNumber;
    }
}

/// `GetForeignPaths`: the one way to scan.
///
/// # Safety
/// Called by the planner.
#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_paths(
    root: *mut pg_sys::PlannerInfo,
    baserel: *mut pg_sys::RelOptInfo,
    foreigntableid: pg_sys::Oid,
) {
    // SAFETY: the planner passes valid nodes.
    unsafe {
        let rel = &*baserel;
        let split = Split::new(foreigntableid, rel.relid, rel.baserestrictinfo);
        let remote_selectivity = pg_sys::clauselist_selectivity(
            root,
            split.remote.as_ptr(),
            rel.relid as i32,
            pg_sys::JoinType::JOIN_INNER,
            std::ptr::null_mut(),
        );
        let fetched = (rel.tuples.max(0.0) * remote_selectivity).ceil();
        let mut local = pg_sys::QualCost {
            startup: 0.0,
            per_tuple: 0.0,
        };
        pg_sys::cost_qual_eval(&mut local, split.local.as_ptr(), root);
        let target = &*rel.reltarget;
        let startup_cost = STARTUP_COST + local.startup + target.cost.startup;
        let per_fetched = TRANSFER_COST * pg_sys::cpu_tuple_cost + local.per_tuple;
        let total_cost = startup_cost
            + rel.tuples.max(0.0) * ENGINE_COST * pg_sys::cpu_tuple_cost
            + fetched * per_fetched
            + rel.rows * target.cost.per_tuple;
        let path = foreign_scan_path(root, baserel, startup_cost, total_cost);
        pg_sys::add_path(baserel, path.cast());
    }
}

/// `create_foreignscan_path` of the PostgreSQL that is built for.
unsafe fn foreign_scan_path(
    root: *mut pg_sys::PlannerInfo,
    baserel: *mut pg_sys::RelOptInfo,
    startup_cost: f64,
    total_cost: f64,
) -> *mut pg_sys::ForeignPath {
    // SAFETY: valid nodes; null stands for the default target, no path keys, no outer path and no private list. Only
    // lateral references make the scan depend on another table.
    unsafe {
        pg_sys::create_foreignscan_path(
            root,
            baserel,
            std::ptr::null_mut(),
            (*baserel).rows,
            #[cfg(feature = "pg18")]
            0,
            startup_cost,
            total_cost,
            std::ptr::null_mut(),
            (*baserel).lateral_relids,
            std::ptr::null_mut(),
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    }
}

/// `GetForeignPlan`: divides conditions and columns between the server and PostgreSQL.
///
/// # Safety
/// Called by the planner.
#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_plan(
    _root: *mut pg_sys::PlannerInfo,
    baserel: *mut pg_sys::RelOptInfo,
    foreigntableid: pg_sys::Oid,
    _best_path: *mut pg_sys::ForeignPath,
    tlist: *mut pg_sys::List,
    scan_clauses: *mut pg_sys::List,
    outer_plan: *mut pg_sys::Plan,
) -> *mut pg_sys::ForeignScan {
    // SAFETY: the planner passes valid nodes; `extract_actual_clauses` leaves out those that a Result node above checks
    // once (pseudoconstants).
    unsafe {
        let split = Split::new(foreigntableid, (*baserel).relid, scan_clauses);
        let local = pg_sys::extract_actual_clauses(split.local.as_ptr(), false);
        let remote = pg_sys::extract_actual_clauses(split.remote.as_ptr(), false);
        let query = ScanQuery {
            columns: needed_columns(&*baserel, foreigntableid, local),
            conditions: split.conditions,
            with_positions: wants_row_ids(&*baserel),
            change: None,
        };
        let mut params = PgList::<pg_sys::Node>::new();
        split
            .params
            .into_iter()
            .for_each(|param| params.push(param));
        pg_sys::make_foreignscan(
            tlist,
            local,
            (*baserel).relid,
            params.into_pg(),
            query.to_plan().or_raise(),
            std::ptr::null_mut(),
            remote,
            outer_plan,
        )
    }
}

/// Conditions (`RestrictInfo`), divided.
struct Split {
    remote: PgList<pg_sys::RestrictInfo>,
    local: PgList<pg_sys::RestrictInfo>,
    conditions: Vec<crate::fdw::scan_query::Sql>,
    params: Vec<*mut pg_sys::Node>,
}

impl Split {
    /// # Safety
    /// `clauses` is a list of `RestrictInfo` on the table `relid`, which is `varno` in the query.
    unsafe fn new(relid: pg_sys::Oid, varno: pg_sys::Index, clauses: *mut pg_sys::List) -> Self {
        let mut deparser = Deparser::new(relid, varno);
        let mut split = Self {
            remote: PgList::new(),
            local: PgList::new(),
            conditions: Vec::new(),
            params: Vec::new(),
        };
        // SAFETY: as promised by the caller.
        unsafe {
            for info in PgList::<pg_sys::RestrictInfo>::from_pg(clauses).iter_ptr() {
                if (*info).pseudoconstant {
                    continue;
                }
                match deparser.condition((*info).clause.cast()) {
                    Some(sql) => {
                        split.remote.push(info);
                        split.conditions.push(sql);
                    }
                    None => split.local.push(info),
                }
            }
        }
        split.params = deparser.params;
        split
    }
}

/// Columns that the plan reads: for its output and for the conditions that PostgreSQL checks.
///
/// # Safety
/// Valid nodes of the planner; `local` is a list of expressions.
unsafe fn needed_columns(
    baserel: &pg_sys::RelOptInfo,
    relid: pg_sys::Oid,
    local: *mut pg_sys::List,
) -> Vec<(i16, String)> {
    // SAFETY: pull_varattnos takes any expression or list of them; the relation is open and locked in the planner.
    unsafe {
        let mut used = std::ptr::null_mut();
        pg_sys::pull_varattnos((*baserel.reltarget).exprs.cast(), baserel.relid, &mut used);
        pg_sys::pull_varattnos(local.cast(), baserel.relid, &mut used);
        let whole_row = is_used(used, 0);
        let relation = pgrx::PgRelation::open(relid);
        relation
            .tuple_desc()
            .iter()
            .filter(|column| !column.attisdropped && (whole_row || is_used(used, column.attnum)))
            .map(|column| (column.attnum, column.name().to_owned()))
            .collect()
    }
}

/// Whether the plan needs the rows' identities: it changes the table.
///
/// # Safety
/// Valid nodes of the planner.
unsafe fn wants_row_ids(baserel: &pg_sys::RelOptInfo) -> bool {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut used = std::ptr::null_mut();
        pg_sys::pull_varattnos((*baserel.reltarget).exprs.cast(), baserel.relid, &mut used);
        is_used(used, pg_sys::SelfItemPointerAttributeNumber as i16)
    }
}

/// Whether a set made by `pull_varattnos` names this attribute; 0 is the whole row.
///
/// # Safety
/// `set` is null or a valid set.
unsafe fn is_used(set: *mut pg_sys::Bitmapset, attnum: i16) -> bool {
    // SAFETY: as promised by the caller.
    unsafe {
        pg_sys::bms_is_member(
            i32::from(attnum) - pg_sys::FirstLowInvalidHeapAttributeNumber,
            set,
        )
    }
}

/// FOR UPDATE and its like on the table itself: nothing could hold such a lock.
///
/// # Safety
/// Valid nodes of the planner.
unsafe fn refuse_row_locks(
    root: *mut pg_sys::PlannerInfo,
    baserel: &pg_sys::RelOptInfo,
) -> Result<()> {
    // SAFETY: a list of PlanRowMark.
    let locked = unsafe { PgList::<pg_sys::PlanRowMark>::from_pg((*root).rowMarks) }
        .iter_ptr()
        .any(|mark| {
            // SAFETY: as above.
            let mark = unsafe { &*mark };
            mark.rti == baserel.relid && mark.strength != pg_sys::LockClauseStrength::LCS_NONE
        });
    if locked {
        return Err(LakeError::unsupported(
            "SELECT .. FOR UPDATE is not yet supported on pg_lake tables",
        ));
    }
    Ok(())
}

/// System columns other than `tableoid`, which the executor knows: a row in a Parquet file has none. The `ctid` that a change
/// of the table asks for is ours.
///
/// # Safety
/// Valid nodes of the planner.
unsafe fn refuse_system_columns(
    root: *mut pg_sys::PlannerInfo,
    baserel: &pg_sys::RelOptInfo,
    relid: pg_sys::Oid,
) -> Result<()> {
    // SAFETY: pull_varattnos takes any expression or list of them. The functions return C strings or null, and system
    // attributes have valid definitions.
    unsafe {
        let mut used = std::ptr::null_mut();
        let mut collect = |node: *mut pg_sys::Node| {
            pg_sys::pull_varattnos(node, baserel.relid, &mut used);
        };
        let parse = &*(*root).parse;
        if pg_sys::bms_is_member(baserel.relid as i32, (*root).all_result_relids) {
            collect(parse.returningList.cast());
            for target in PgList::<pg_sys::TargetEntry>::from_pg(parse.targetList).iter_ptr() {
                if !(*target).resjunk {
                    collect((*target).expr.cast());
                }
            }
        } else {
            collect((*baserel.reltarget).exprs.cast());
        }
        for clauses in [baserel.baserestrictinfo, baserel.joininfo] {
            for info in PgList::<pg_sys::RestrictInfo>::from_pg(clauses).iter_ptr() {
                collect((*info).clause.cast());
            }
        }
        let system = (pg_sys::FirstLowInvalidHeapAttributeNumber + 1) as i16..0;
        for attnum in system.filter(|attnum| i32::from(*attnum) != pg_sys::TableOidAttributeNumber)
        {
            if is_used(used, attnum) {
                let column = &*pg_sys::SystemAttributeDefinition(attnum);
                let column = CStr::from_ptr(column.attname.data.as_ptr()).to_string_lossy();
                let table = pg_sys::get_rel_name(relid);
                let table = if table.is_null() {
                    "".into()
                } else {
                    CStr::from_ptr(table).to_string_lossy()
                };
                return Err(LakeError::unsupported(format!(
                    "System column \"{column}\" is not supported for pg_lake table \"{table}\""
                )));
            }
        }
    }
    Ok(())
}
