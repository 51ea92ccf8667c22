//! `DROP TABLE` and `COMMENT ON TABLE` of lake tables.
//!
//! PostgreSQL wants `DROP FOREIGN TABLE` for a foreign table. Whoever wrote `CREATE TABLE` writes `DROP TABLE`.

use std::ffi::c_char;

use pgrx::{PgList, pg_sys};

use crate::ddl::{create_table, lake_relation};

/// The DROP TABLE statement with its lake tables named as what they are.
///
/// With other tables beside them, the lake tables are dropped here and a statement for the others is returned.
///
/// # Safety
/// The arguments must be those of the utility hook, with a DropStmt inside.
pub unsafe fn rewrite_drop(
    statement: *mut pg_sys::PlannedStmt,
    query_string: *const c_char,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the caller's; the object list of a DROP TABLE holds name lists.
    unsafe {
        let drop = (*statement).utilityStmt.cast::<pg_sys::DropStmt>();
        if (*drop).removeType != pg_sys::ObjectType::OBJECT_TABLE {
            return statement;
        }
        let names = PgList::<pg_sys::List>::from_pg((*drop).objects);
        let (lake, other): (Vec<_>, Vec<_>) =
            names.iter_ptr().partition(|name| is_lake_table(*name));
        if lake.is_empty() {
            return statement;
        }
        let lake = drop_statement(
            statement,
            drop,
            &lake,
            pg_sys::ObjectType::OBJECT_FOREIGN_TABLE,
        );
        if other.is_empty() {
            return lake;
        }
        pg_sys::ProcessUtility(
            lake,
            query_string,
            false,
            pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            pg_sys::None_Receiver,
            std::ptr::null_mut(),
        );
        pg_sys::CommandCounterIncrement();
        drop_statement(statement, drop, &other, pg_sys::ObjectType::OBJECT_TABLE)
    }
}

/// The COMMENT statement, with a lake table named as what it is.
///
/// # Safety
/// `statement` must hold a CommentStmt.
pub unsafe fn rewrite_comment(statement: *mut pg_sys::PlannedStmt) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the caller's; the object of a COMMENT ON TABLE is a name list.
    unsafe {
        let comment = (*statement).utilityStmt.cast::<pg_sys::CommentStmt>();
        if (*comment).objtype != pg_sys::ObjectType::OBJECT_TABLE
            || !is_lake_table((*comment).object.cast())
        {
            return statement;
        }
        let copy = pg_sys::copyObjectImpl(comment.cast()).cast::<pg_sys::CommentStmt>();
        (*copy).objtype = pg_sys::ObjectType::OBJECT_FOREIGN_TABLE;
        create_table::with_utility(statement, copy.cast())
    }
}

unsafe fn is_lake_table(name: *mut pg_sys::List) -> bool {
    // SAFETY: the callers'.
    unsafe { lake_relation::find(pg_sys::makeRangeVarFromNameList(name)).is_some() }
}

unsafe fn drop_statement(
    statement: *mut pg_sys::PlannedStmt,
    drop: *mut pg_sys::DropStmt,
    names: &[*mut pg_sys::List],
    kind: pg_sys::ObjectType::Type,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the callers'.
    unsafe {
        let copy = pg_sys::copyObjectImpl(drop.cast()).cast::<pg_sys::DropStmt>();
        let mut objects = PgList::<pg_sys::List>::new();
        names.iter().for_each(|name| objects.push(*name));
        (*copy).objects = objects.into_pg();
        (*copy).removeType = kind;
        create_table::with_utility(statement, copy.cast())
    }
}
