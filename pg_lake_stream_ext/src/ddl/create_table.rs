//! `CREATE TABLE … USING iceberg`: rewritten to a foreign table, then entered in the catalogs.

use std::ffi::{CStr, c_char};

use lake_iceberg::TableSchema;
use pgrx::{PgList, PgRelation, PgSqlErrorCode, pg_sys};

use crate::catalog::fields::{self, FieldIds};
use crate::catalog::lake_table::LakeTable;
use crate::catalog::tables;
use crate::commit::transaction;
use crate::ddl::{lake_relation, location};
use crate::error::{LakeError, Result};
use crate::fdw::options;
use crate::pg::spi::Visibility;
use crate::types;

/// The access methods that stand for Iceberg tables.
const ACCESS_METHODS: [&CStr; 2] = [c"iceberg", c"pg_lake_iceberg"];
/// The extension's name in `pg_extension`.
const EXTENSION: &CStr = c"pg_lake_stream_ext";
/// DuckDB's name for a row's number; a scan for UPDATE needs it for itself.
const RESERVED_COLUMN: &str = "file_row_number";

/// Whether a CREATE TABLE makes an Iceberg table: it says so, or `default_table_access_method` does.
///
/// # Safety
/// `create` must be a valid statement.
pub unsafe fn uses_iceberg(create: *mut pg_sys::CreateStmt) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let heap_only =
            !(*create).partspec.is_null() || (*(*create).relation).relpersistence != PERMANENT;
        names_iceberg((*create).accessMethod, heap_only)
    }
}

/// Whether an access method clause (null: none) means Iceberg. `heap_only` statements (partitioned, temporary and unlogged
/// tables) do not follow `default_table_access_method`.
///
/// # Safety
/// `access_method` must be null or a C string.
pub unsafe fn names_iceberg(access_method: *const c_char, heap_only: bool) -> bool {
    // SAFETY: the caller's; the GUC is never null, and the syscache is readable while statements run.
    unsafe {
        let name = if !access_method.is_null() {
            access_method
        } else if heap_only || pg_sys::creating_extension {
            return false;
        } else {
            pg_sys::default_table_access_method
        };
        ACCESS_METHODS.contains(&CStr::from_ptr(name))
            && pg_sys::get_extension_oid(EXTENSION.as_ptr(), true) != pg_sys::InvalidOid
    }
}

const PERMANENT: c_char = pg_sys::RELPERSISTENCE_PERMANENT as c_char;

/// The foreign table statement that a `CREATE TABLE … USING iceberg` stands for.
///
/// # Errors
/// 0A000 for the clauses that a foreign table does not have.
///
/// # Safety
/// `create` must be a valid statement.
pub unsafe fn to_foreign_table(
    create: *mut pg_sys::CreateStmt,
) -> Result<*mut pg_sys::CreateForeignTableStmt> {
    // SAFETY: the caller's; the copy is made in the current memory context, which outlives the statement.
    unsafe {
        let create = pg_sys::copyObjectImpl(create.cast()).cast::<pg_sys::CreateStmt>();
        let refused = [
            (
                (*(*create).relation).relpersistence == TEMPORARY,
                "temporary tables",
            ),
            (
                (*(*create).relation).relpersistence == UNLOGGED,
                "unlogged tables",
            ),
            (!(*create).partspec.is_null(), "PARTITION BY"),
            (!(*create).ofTypename.is_null(), "OF type"),
            (!(*create).tablespacename.is_null(), "TABLESPACE"),
            (
                (*create).oncommit != pg_sys::OnCommitAction::ONCOMMIT_NOOP,
                "ON COMMIT",
            ),
        ];
        if let Some((_, what)) = refused.iter().find(|(present, _)| *present) {
            return Err(LakeError::unsupported(format!(
                "{what} not supported for pg_lake_iceberg tables"
            )));
        }
        (*create).tableElts = expand_like(create)?;
        let foreign = pg_sys::palloc0(size_of::<pg_sys::CreateForeignTableStmt>())
            .cast::<pg_sys::CreateForeignTableStmt>();
        (*foreign).base = *create;
        (*foreign).base.type_ = pg_sys::NodeTag::T_CreateForeignTableStmt;
        (*foreign).base.accessMethod = std::ptr::null_mut();
        (*foreign).base.options = std::ptr::null_mut();
        (*foreign).options = (*create).options;
        (*foreign).servername = pg_sys::pstrdup(lake_relation::LAKE_SERVER.as_ptr());
        Ok(foreign)
    }
}

/// The table's elements with the columns of the tables that it is LIKE in place of the LIKE clauses: a foreign table cannot
/// have the clause itself. Names, types, collations and NOT NULL are copied, as plain LIKE does.
unsafe fn expand_like(create: *mut pg_sys::CreateStmt) -> Result<*mut pg_sys::List> {
    let mut expanded = PgList::<pg_sys::Node>::new();
    // SAFETY: the caller's; the source table is opened as PostgreSQL does (transformTableLikeClause, parser/parse_utilcmd.c):
    // AccessShareLock until the end of the transaction, SELECT privilege needed.
    unsafe {
        for element in PgList::<pg_sys::Node>::from_pg((*create).tableElts).iter_ptr() {
            if (*element).type_ != pg_sys::NodeTag::T_TableLikeClause {
                expanded.push(element);
                continue;
            }
            let like = element.cast::<pg_sys::TableLikeClause>();
            if (*like).options != 0 {
                return Err(LakeError::unsupported(
                    "LIKE INCLUDING not supported for pg_lake_iceberg tables",
                ));
            }
            let source = pg_sys::relation_openrv(
                (*like).relation,
                pg_sys::AccessShareLock as pg_sys::LOCKMODE,
            );
            let relid = (*source).rd_id;
            let allowed = pg_sys::pg_class_aclcheck(
                relid,
                pg_sys::GetUserId(),
                pg_sys::ACL_SELECT as pg_sys::AclMode,
            );
            if allowed != pg_sys::AclResult::ACLCHECK_OK {
                let kind = pg_sys::get_relkind_objtype((*(*source).rd_rel).relkind);
                pg_sys::aclcheck_error(allowed, kind, pg_sys::get_rel_name(relid));
            }
            let relation = PgRelation::from_pg(source);
            for attribute in relation
                .tuple_desc()
                .iter()
                .filter(|attribute| !attribute.attisdropped)
            {
                let column = pg_sys::makeColumnDef(
                    attribute.attname.data.as_ptr(),
                    attribute.atttypid,
                    attribute.atttypmod,
                    attribute.attcollation,
                );
                (*column).is_not_null = attribute.attnotnull;
                expanded.push(column.cast());
            }
            drop(relation);
            pg_sys::relation_close(source, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
    Ok(expanded.into_pg())
}

const TEMPORARY: c_char = pg_sys::RELPERSISTENCE_TEMP as c_char;
const UNLOGGED: c_char = pg_sys::RELPERSISTENCE_UNLOGGED as c_char;

/// A copy of a planned utility statement with another statement inside.
///
/// # Safety
/// Both must be valid nodes.
pub unsafe fn with_utility(
    statement: *mut pg_sys::PlannedStmt,
    utility: *mut pg_sys::Node,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the caller's.
    unsafe {
        let copy = pg_sys::palloc(size_of::<pg_sys::PlannedStmt>()).cast::<pg_sys::PlannedStmt>();
        copy.copy_from_nonoverlapping(statement, 1);
        (*copy).utilityStmt = utility;
        copy
    }
}

/// Whether a CREATE FOREIGN TABLE makes a lake table.
///
/// # Safety
/// `foreign` must be a valid statement.
pub unsafe fn is_on_lake_server(foreign: *mut pg_sys::CreateForeignTableStmt) -> bool {
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr((*foreign).servername) == lake_relation::LAKE_SERVER }
}

/// Enters the table that has just been created: its location, its columns' field ids; its metadata follows at COMMIT.
///
/// # Errors
/// 0A000 for a column of a type that Iceberg does not have; 55000 if the location is in use.
///
/// # Safety
/// `relation` must be a valid range variable.
pub unsafe fn register(relation: *mut pg_sys::RangeVar) -> Result<()> {
    // SAFETY: the caller's.
    let Some(relid) = (unsafe { lake_relation::find(relation) }) else {
        return Ok(());
    };
    if tables::find(relid, Visibility::Transaction)?.is_some() {
        return Ok(());
    }
    // SAFETY: a plain read.
    if unsafe { pg_sys::GetDatabaseEncoding() } != pg_sys::pg_enc::PG_UTF8 as i32 {
        return Err(LakeError::unsupported(
            "iceberg tables need a database with encoding UTF8",
        ));
    }
    register_columns(relid)?;
    let custom = options::of_table(relid)?.location;
    let location = match &custom {
        Some(location) => location::normalize(location)?,
        None => location::default_location(relid)?,
    };
    location::check_empty(&location)?;
    tables::insert(relid, &location, custom.is_some())?;
    check_schema(&LakeTable::open(relid)?.schema())?;
    transaction::mark_changed(relid);
    Ok(())
}

/// Gives every column its Iceberg field: columns first, then the elements of arrays.
fn register_columns(relid: pg_sys::Oid) -> Result<()> {
    // SAFETY: the table was created by this transaction, which holds its lock.
    let relation = unsafe { PgRelation::open(relid) };
    let descriptor = relation.tuple_desc();
    let columns: Vec<_> = descriptor
        .iter()
        .filter(|attribute| !attribute.attisdropped)
        .collect();
    let mut next_id = columns.len() as i32;
    for (position, column) in columns.iter().enumerate() {
        if column.attgenerated != 0
            && column.attgenerated as u8 != pg_sys::ATTRIBUTE_GENERATED_STORED
        {
            return Err(LakeError::unsupported(format!(
                "column \"{}\" is a virtual generated column, which Iceberg tables do not support",
                column.name()
            )));
        }
        let element = types::array_element(column.atttypid).map(|_| {
            next_id += 1;
            next_id
        });
        if types::lake_type(column.atttypid, column.atttypmod, element).is_none() {
            return Err(types::unsupported(
                column.name(),
                column.atttypid,
                column.atttypmod,
            ));
        }
        let ids = FieldIds {
            column: position as i32 + 1,
            element,
        };
        fields::insert(relid, column.attnum, ids, column.atttypid, column.atttypmod)?;
    }
    Ok(())
}

/// Refuses what PostgreSQL allows but Iceberg or DuckDB cannot hold.
fn check_schema(schema: &TableSchema) -> Result<()> {
    let invalid = |message: String| {
        Err(LakeError::new(
            PgSqlErrorCode::ERRCODE_INVALID_TABLE_DEFINITION,
            message,
        ))
    };
    if schema.columns.is_empty() {
        return invalid("an iceberg table must have at least one column".to_owned());
    }
    if let Some(column) = schema
        .columns
        .iter()
        .find(|column| column.name.eq_ignore_ascii_case(RESERVED_COLUMN))
    {
        return invalid(format!("column name \"{}\" is reserved", column.name));
    }
    schema
        .validate()
        .or_else(|error| invalid(error.message().to_owned()))
}
