//! Whole objects read through the server.

use pgrx::PgSqlErrorCode;

use crate::error::{LakeError, Result};
use crate::pgduck::pool;
use pgduck_protocol::sql::quote_literal;

/// Reads one object.
///
/// # Errors
/// 58P01 if there is none at `url`; the server's error if it can't be read.
pub fn read(url: &str) -> Result<Vec<u8>> {
    let mut connection = pool::acquire()?;
    let sql = format!("SELECT content FROM read_blob({})", quote_literal(url));
    let result = connection.query(&sql, &[])?;
    if result.rows() != 1 {
        return Err(LakeError::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
            format!("expected one file at \"{url}\", found {}", result.rows()),
        ));
    }
    result
        .bytes(0, 0)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| LakeError::internal("a file's content is NULL"))
}
