//! The options of lake tables, and their validator.

use std::ffi::CStr;

use pgrx::{PgList, PgSqlErrorCode, pg_guard, pg_sys};

use crate::ddl::location;
use crate::error::{LakeError, OrRaise, Result};

/// A lake table's options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// Where the table lives; without it, below `pg_lake_iceberg.default_location_prefix`.
    pub location: Option<String>,
    /// Whether the background worker vacuums the table.
    pub autovacuum_enabled: Option<bool>,
    /// Seconds after which snapshots expire; without it, `pg_lake_iceberg.max_snapshot_age`.
    pub max_snapshot_age: Option<i64>,
}

/// The options of an existing lake table.
pub fn of_table(relid: pg_sys::Oid) -> Result<TableOptions> {
    // SAFETY: the foreign table exists; its options are a list of DefElem.
    unsafe { parse((*pg_sys::GetForeignTable(relid)).options) }
}

/// # Safety
/// `options` must be a list of DefElem.
unsafe fn parse(options: *mut pg_sys::List) -> Result<TableOptions> {
    let mut parsed = TableOptions::default();
    // SAFETY: the caller's; names and values are C strings.
    for option in unsafe { PgList::<pg_sys::DefElem>::from_pg(options) }.iter_ptr() {
        // SAFETY: as above.
        let (name, value) = unsafe {
            (
                CStr::from_ptr((*option).defname).to_string_lossy(),
                CStr::from_ptr(pg_sys::defGetString(option)).to_string_lossy(),
            )
        };
        match name.as_ref() {
            "location" => parsed.location = Some(location::normalize(&value)?),
            "autovacuum_enabled" => {
                // SAFETY: as above; raises for anything but a boolean.
                parsed.autovacuum_enabled = Some(unsafe { pg_sys::defGetBoolean(option) });
            }
            "max_snapshot_age" => parsed.max_snapshot_age = Some(seconds(&name, &value)?),
            "catalog" if value == "postgres" => {}
            "catalog" => {
                return Err(LakeError::unsupported(format!(
                    "catalog \"{value}\" is not supported"
                ))
                .hint("The only catalog is \"postgres\"."));
            }
            _ => {
                return Err(LakeError::new(
                    PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
                    format!("invalid option \"{name}\""),
                )
                .hint("Valid options in this context are: location, autovacuum_enabled, max_snapshot_age, catalog"));
            }
        }
    }
    Ok(parsed)
}

/// A number of seconds.
fn seconds(name: &str, value: &str) -> Result<i64> {
    let seconds = value
        .parse()
        .ok()
        .filter(|seconds| (0..=i64::from(i32::MAX)).contains(seconds));
    seconds.ok_or_else(|| {
        LakeError::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("invalid value for option \"{name}\": \"{value}\""),
        )
        .detail("Valid values are numbers of seconds from 0 to 2147483647.")
    })
}

/// Tells fmgr that [`pg_lake_iceberg_validator`] has the version-1 calling convention.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_pg_lake_iceberg_validator() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// `lake_iceberg.pg_lake_iceberg_validator(text[], oid)`: checks the options of tables; servers and wrappers have none.
///
/// # Safety
/// Called by fmgr with two arguments.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn pg_lake_iceberg_validator(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: the SQL declaration says (text[], oid), both given.
    unsafe {
        let arguments = (*fcinfo).args.as_slice(2);
        let options = pg_sys::untransformRelOptions(arguments[0].value);
        let class = pg_sys::Oid::from(arguments[1].value.value() as u32);
        if class == pg_sys::ForeignTableRelationId {
            parse(options).or_raise();
        } else if !PgList::<pg_sys::DefElem>::from_pg(options).is_empty() {
            LakeError::new(
                PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
                "this object has no options",
            )
            .raise();
        }
    }
    pg_sys::Datum::from(0usize)
}
