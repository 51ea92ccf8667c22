//! `VACUUM` of lake tables, which core would skip: `VACUUM t`, and `VACUUM (ICEBERG)` for all of the database.

use std::ffi::CStr;

use pgrx::{PgList, pg_sys};

use crate::ddl::lake_relation;
use crate::error::{LakeError, Result};
use crate::maintenance::compaction::Thoroughness;
use crate::maintenance::vacuum;

/// The option that leaves heap tables out.
const ICEBERG: &CStr = c"iceberg";

/// What a VACUUM asks of lake tables.
pub struct LakeVacuum {
    /// The tables; none stands for all.
    relids: Vec<pg_sys::Oid>,
    thoroughness: Thoroughness,
    /// Whether tables of other kinds are left to do.
    pub has_others: bool,
}

/// Takes lake tables out of a VACUUM; `None` if it is not about any. The statement given back in `statement` is without them.
///
/// # Safety
/// `statement` holds a `VacuumStmt`.
pub unsafe fn split(statement: &mut *mut pg_sys::PlannedStmt) -> Result<Option<LakeVacuum>> {
    // SAFETY: as promised by the caller; lists hold the nodes that parsenodes.h says.
    unsafe {
        let vacuum: *mut pg_sys::VacuumStmt = (**statement).utilityStmt.cast();
        if !(*vacuum).is_vacuumcmd {
            return Ok(None);
        }
        let mut is_iceberg = false;
        let mut is_full = false;
        let mut options = PgList::<pg_sys::DefElem>::new();
        for option in PgList::<pg_sys::DefElem>::from_pg((*vacuum).options).iter_ptr() {
            let name = CStr::from_ptr((*option).defname);
            if name == ICEBERG {
                is_iceberg = pg_sys::defGetBoolean(option);
                continue;
            }
            if name == c"full" {
                is_full = pg_sys::defGetBoolean(option);
            }
            options.push(option);
        }
        let mut relids = Vec::new();
        let mut others = PgList::<pg_sys::VacuumRelation>::new();
        for relation in PgList::<pg_sys::VacuumRelation>::from_pg((*vacuum).rels).iter_ptr() {
            let found = match (*relation).relation.is_null() {
                true => lake_relation::is_lake_table((*relation).oid).then_some((*relation).oid),
                false => lake_relation::find((*relation).relation),
            };
            match found {
                Some(relid) => relids.push(relid),
                None if is_iceberg => {
                    return Err(not_a_lake_table(&*relation));
                }
                None => others.push(relation),
            }
        }
        if !is_iceberg && relids.is_empty() {
            return Ok(None);
        }
        let has_others = !others.is_empty();
        let rest: *mut pg_sys::VacuumStmt = pg_sys::copyObjectImpl(vacuum.cast()).cast();
        (*rest).options = options.into_pg();
        (*rest).rels = others.into_pg();
        *statement = super::create_table::with_utility(*statement, rest.cast());
        Ok(Some(LakeVacuum {
            relids,
            thoroughness: match is_full {
                true => Thoroughness::Full,
                false => Thoroughness::Usual,
            },
            has_others,
        }))
    }
}

/// Runs the part of a VACUUM that [`split`] has taken out; transactions end and begin in here.
///
/// # Safety
/// Called in a statement that may end the transaction it began in.
pub unsafe fn run(work: &LakeVacuum) -> Result<()> {
    let relids = match work.relids.is_empty() {
        // SAFETY: in a transaction.
        true => crate::pg::snapshot::with_active(vacuum::all_tables)?,
        false => work.relids.clone(),
    };
    let relids: Vec<pg_sys::Oid> = relids
        .into_iter()
        .filter(|relid| vacuum::may_vacuum(*relid))
        .collect();
    // SAFETY: the statement runs in no transaction block: this ends the transaction that the session has begun for it, and
    // the last line begins the one that the session will end (as `vacuum` in commands/vacuum.c).
    // The memory context is the portal's, which outlives transactions; beginning one leaves it.
    unsafe {
        let portal_context = pg_sys::CurrentMemoryContext;
        if pg_sys::ActiveSnapshotSet() {
            pg_sys::PopActiveSnapshot();
        }
        pg_sys::CommitTransactionCommand();
        for relid in relids {
            vacuum::vacuum_table(relid, work.thoroughness)?;
        }
        vacuum::clean_up()?;
        pg_sys::StartTransactionCommand();
        pg_sys::CurrentMemoryContext = portal_context;
    }
    Ok(())
}

fn not_a_lake_table(relation: &pg_sys::VacuumRelation) -> LakeError {
    // SAFETY: a range variable's name is a C string.
    let name = unsafe {
        match relation.relation.as_ref() {
            Some(variable) => CStr::from_ptr(variable.relname).to_string_lossy(),
            None => "".into(),
        }
    };
    LakeError::new(
        pgrx::PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        format!("\"{name}\" is not an Iceberg table"),
    )
}
