//! What ALTER TABLE may do to a lake table: what leaves its Iceberg schema as it is.

use std::ffi::CStr;

use pgrx::{PgList, pg_sys};

use crate::ddl::lake_relation;
use crate::error::{LakeError, Result};

/// Refuses commands that would change a lake table's columns.
///
/// # Errors
/// 0A000.
///
/// # Safety
/// `alter` must be a valid statement.
pub unsafe fn check_alter(alter: *mut pg_sys::AlterTableStmt) -> Result<()> {
    // SAFETY: the caller's; the list holds AlterTableCmd nodes.
    unsafe {
        let relation = (*alter).relation;
        if relation.is_null() || lake_relation::find(relation).is_none() {
            return Ok(());
        }
        let commands = PgList::<pg_sys::AlterTableCmd>::from_pg((*alter).cmds);
        for command in commands.iter_ptr() {
            if (*command).subtype == pg_sys::AlterTableType::AT_GenericOptions {
                check_options((*command).def.cast())?;
            }
        }
        if commands
            .iter_ptr()
            .all(|command| keeps_columns((*command).subtype))
        {
            return Ok(());
        }
    }
    Err(
        LakeError::unsupported("ALTER TABLE command not supported for pg_lake_iceberg tables")
            .detail("The columns and the storage of an Iceberg table cannot be changed yet."),
    )
}

/// Refuses to change options that say where a table is.
unsafe fn check_options(options: *mut pg_sys::List) -> Result<()> {
    // SAFETY: the callers': a list of DefElem.
    for option in unsafe { PgList::<pg_sys::DefElem>::from_pg(options) }.iter_ptr() {
        // SAFETY: an option's name is a C string.
        let name = unsafe { CStr::from_ptr((*option).defname) };
        if name == c"location" || name == c"catalog" {
            return Err(LakeError::unsupported(format!(
                "option \"{}\" cannot be changed",
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}

#[allow(non_upper_case_globals, reason = "PostgreSQL's names")]
fn keeps_columns(command: pg_sys::AlterTableType::Type) -> bool {
    use pg_sys::AlterTableType::*;
    matches!(
        command,
        AT_ColumnDefault
            | AT_CookedColumnDefault
            | AT_SetStatistics
            | AT_SetOptions
            | AT_ResetOptions
            | AT_AddConstraint
            | AT_ValidateConstraint
            | AT_DropConstraint
            | AT_AlterConstraint
            | AT_ChangeOwner
            | AT_GenericOptions
            | AT_EnableTrig
            | AT_EnableAlwaysTrig
            | AT_EnableReplicaTrig
            | AT_DisableTrig
            | AT_EnableTrigAll
            | AT_DisableTrigAll
            | AT_EnableTrigUser
            | AT_DisableTrigUser
    )
}

/// Refuses to rename a lake table's column.
///
/// # Errors
/// 0A000.
///
/// # Safety
/// `rename` must be a valid statement.
pub unsafe fn check_rename(rename: *mut pg_sys::RenameStmt) -> Result<()> {
    // SAFETY: the caller's.
    unsafe {
        let renames_column = (*rename).renameType == pg_sys::ObjectType::OBJECT_COLUMN;
        if !renames_column
            || (*rename).relation.is_null()
            || lake_relation::find((*rename).relation).is_none()
        {
            return Ok(());
        }
    }
    Err(LakeError::unsupported(
        "ALTER TABLE RENAME COLUMN not supported for pg_lake_iceberg tables",
    ))
}
