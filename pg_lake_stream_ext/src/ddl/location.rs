//! Where a table lives.

use std::ffi::CStr;

use pgduck_protocol::sql::quote_literal;
use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{LakeError, Result};
use crate::guc;
use crate::pgduck::pool;

/// URL schemes that the server can write to.
const SCHEMES: [&str; 7] = [
    "s3://", "gs://", "gcs://", "r2://", "az://", "azure://", "abfss://",
];

/// Checks a location that a user has named, and takes slashes off its end.
///
/// # Errors
/// 22023 if it is no absolute path and no URL that can be written to.
pub fn normalize(location: &str) -> Result<String> {
    let invalid = |problem: &str| {
        LakeError::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("invalid location \"{location}\": {problem}"),
        )
    };
    let known = location.starts_with('/')
        || location.starts_with("file:///")
        || SCHEMES.iter().any(|scheme| location.starts_with(scheme));
    if !known {
        return Err(
            invalid("not an absolute path and not a supported URL").hint(format!(
                "Use an absolute path, file:///…, or one of {}.",
                SCHEMES.join(", ")
            )),
        );
    }
    if location.contains(['?', '*', '[', ']', '\0']) {
        return Err(invalid("it must not contain any of ? * [ ]"));
    }
    let trimmed = location.trim_end_matches('/');
    let path = trimmed.split_once("://").map_or(trimmed, |(_, path)| path);
    if path.is_empty() || path.split('/').any(|part| part == "..") {
        return Err(invalid("it must name a directory"));
    }
    Ok(trimmed.to_owned())
}

/// The location of a table without one of its own: `<prefix>/<database>/<schema>/<table>/<oid>`.
///
/// # Errors
/// 22023 if no prefix is set.
pub fn default_location(relid: pg_sys::Oid) -> Result<String> {
    let prefix = guc::default_location_prefix().ok_or_else(|| {
        LakeError::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "the table has no location")
            .hint("Set pg_lake_iceberg.default_location_prefix, or give the table the option \"location\".")
    })?;
    // SAFETY: syscache look-ups on the current database and an existing relation; results are palloc'd C strings.
    let names = unsafe {
        [
            pg_sys::get_database_name(pg_sys::MyDatabaseId),
            pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid)),
            pg_sys::get_rel_name(relid),
        ]
        .map(|name| CStr::from_ptr(name).to_bytes())
    };
    let [database, schema, table] = names.map(url_encode);
    Ok(format!(
        "{}/{database}/{schema}/{table}/{}",
        normalize(&prefix)?,
        relid.to_u32()
    ))
}

/// Percent-encodes all but letters, digits, `_` and `-`.
fn url_encode(name: &[u8]) -> String {
    name.iter().fold(String::new(), |mut encoded, &byte| {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

/// Asks the server whether anything is stored at a location.
///
/// # Errors
/// 55000 if there is; the server's error if it cannot look.
pub fn check_empty(location: &str) -> Result<()> {
    let path = location.strip_prefix("file://").unwrap_or(location);
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM glob({}) LIMIT 1)",
        quote_literal(&format!("{path}/**"))
    );
    match pool::acquire()?.simple_query(&sql)?.text(0, 0)? {
        "0" => Ok(()),
        _ => Err(LakeError::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("location \"{location}\" is not empty"),
        )
        .hint("Choose another location, or remove what is there.")),
    }
}
