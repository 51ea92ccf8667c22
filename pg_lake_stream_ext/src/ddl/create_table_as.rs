//! `CREATE TABLE … USING iceberg AS SELECT`: the table is created, then filled by an INSERT of the same query.

use std::ffi::{CStr, CString, c_char};

use pgrx::{PgList, pg_sys};

use crate::ddl::create_table;
use crate::error::{LakeError, Result};

/// Whether the statement makes an Iceberg table.
///
/// # Safety
/// `create` must be a valid statement.
pub unsafe fn uses_iceberg(create: *mut pg_sys::CreateTableAsStmt) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let into = (*create).into;
        let heap_only = (*create).objtype != pg_sys::ObjectType::OBJECT_TABLE
            || (*(*into).rel).relpersistence != pg_sys::RELPERSISTENCE_PERMANENT as c_char;
        create_table::names_iceberg((*into).accessMethod, heap_only)
    }
}

/// Creates and fills the table; `false` if there is nothing to do but what PostgreSQL does (IF NOT EXISTS, and it exists).
///
/// # Errors
/// 0A000 for materialized views and for EXECUTE; the errors of CREATE TABLE and INSERT.
///
/// # Safety
/// The arguments must be those of the utility hook.
pub unsafe fn run(
    statement: *mut pg_sys::PlannedStmt,
    create: *mut pg_sys::CreateTableAsStmt,
    query_string: *const c_char,
    params: pg_sys::ParamListInfo,
    completion: *mut pg_sys::QueryCompletion,
) -> Result<bool> {
    // SAFETY: the caller's; the query is copied, since deparsing takes locks and may change it.
    unsafe {
        let into = (*create).into;
        if (*create).objtype != pg_sys::ObjectType::OBJECT_TABLE {
            return Err(LakeError::unsupported(
                "materialized views not supported for pg_lake_iceberg tables",
            ));
        }
        if (*create).if_not_exists && exists((*into).rel) {
            return Ok(false);
        }
        let query = pg_sys::copyObjectImpl((*create).query.cast()).cast::<pg_sys::Query>();
        if (*query).commandType != pg_sys::CmdType::CMD_SELECT {
            return Err(LakeError::unsupported(
                "CREATE TABLE AS EXECUTE not supported for pg_lake_iceberg tables",
            ));
        }

        let foreign = create_table::to_foreign_table(&mut create_statement(into, query)?)?;
        pg_sys::ProcessUtility(
            create_table::with_utility(statement, foreign.cast()),
            query_string,
            false,
            pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND,
            params,
            std::ptr::null_mut(),
            pg_sys::None_Receiver,
            std::ptr::null_mut(),
        );
        pg_sys::CommandCounterIncrement();

        let rows = if (*into).skipData {
            0
        } else {
            insert((*into).rel, query, params)?
        };
        if !completion.is_null() && !(*into).skipData {
            pg_sys::SetQueryCompletion(completion, pg_sys::CommandTag::CMDTAG_SELECT, rows);
        }
        Ok(true)
    }
}

unsafe fn exists(relation: *mut pg_sys::RangeVar) -> bool {
    // SAFETY: the caller's.
    let relid = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            relation,
            pg_sys::NoLock as pg_sys::LOCKMODE,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
    };
    relid != pg_sys::InvalidOid
}

/// The CREATE TABLE with the query's columns, named by the statement's column list as far as it goes.
unsafe fn create_statement(
    into: *mut pg_sys::IntoClause,
    query: *mut pg_sys::Query,
) -> Result<pg_sys::CreateStmt> {
    // SAFETY: the caller's; list cells hold the nodes that these lists have by definition.
    unsafe {
        let names: Vec<*const c_char> = PgList::<pg_sys::Node>::from_pg((*into).colNames)
            .iter_ptr()
            .map(|node| string_value(node))
            .collect();
        let mut elements = PgList::<pg_sys::Node>::new();
        let targets = PgList::<pg_sys::TargetEntry>::from_pg((*query).targetList);
        let visible: Vec<_> = targets
            .iter_ptr()
            .filter(|target| !(**target).resjunk)
            .collect();
        if names.len() > visible.len() {
            return Err(LakeError::new(
                pgrx::PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
                "too many column names were specified",
            ));
        }
        for (position, target) in visible.into_iter().enumerate() {
            let name = names.get(position).copied().unwrap_or((*target).resname);
            let expression = (*target).expr.cast::<pg_sys::Node>();
            let column = pg_sys::makeColumnDef(
                name,
                pg_sys::exprType(expression),
                pg_sys::exprTypmod(expression),
                pg_sys::exprCollation(expression),
            );
            elements.push(column.cast());
        }
        Ok(pg_sys::CreateStmt {
            type_: pg_sys::NodeTag::T_CreateStmt,
            relation: (*into).rel,
            tableElts: elements.into_pg(),
            options: (*into).options,
            oncommit: (*into).onCommit,
            tablespacename: (*into).tableSpaceName,
            ..Default::default()
        })
    }
}

/// The text of a String node (nodes/value.h; a `Value` before PostgreSQL 15).
unsafe fn string_value(node: *mut pg_sys::Node) -> *const c_char {
    // SAFETY: column names are String nodes.
    unsafe { (*node.cast::<pg_sys::String>()).sval }
}

/// `INSERT INTO table query`, through SPI as the current user; returns the number of rows.
unsafe fn insert(
    relation: *mut pg_sys::RangeVar,
    query: *mut pg_sys::Query,
    params: pg_sys::ParamListInfo,
) -> Result<u64> {
    // SAFETY: the caller's; SPI is connected between the two calls, an ERROR leaves it to the transaction's abort.
    unsafe {
        let text = CStr::from_ptr(pg_sys::pg_get_querydef(query, false)).to_string_lossy();
        let name = CStr::from_ptr(pg_sys::quote_qualified_identifier(
            (*relation).schemaname,
            (*relation).relname,
        ));
        let sql = CString::new(format!("INSERT INTO {} {text}", name.to_string_lossy()))
            .map_err(|_| LakeError::internal("zero byte in a query"))?;
        pg_sys::SPI_connect();
        let options = pg_sys::SPIExecuteOptions {
            params,
            ..Default::default()
        };
        let code = pg_sys::SPI_execute_extended(sql.as_ptr(), &options);
        let rows = pg_sys::SPI_processed;
        pg_sys::SPI_finish();
        match code {
            code if code == pg_sys::SPI_OK_INSERT as i32 => Ok(rows),
            code => Err(LakeError::internal(format!(
                "INSERT of CREATE TABLE AS failed with SPI code {code}"
            ))),
        }
    }
}
