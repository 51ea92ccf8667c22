//! Whole objects read through the server.

use std::collections::HashMap;

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

/// Objects that one statement names at most.
const BATCH: usize = 500;

/// Reads several objects at once; the map has them all.
///
/// # Errors
/// 58P01 if one is not there; the server's error if they can't be read.
pub fn read_all(urls: &[String]) -> Result<HashMap<String, Vec<u8>>> {
    let mut objects = HashMap::with_capacity(urls.len());
    for batch in urls.chunks(BATCH) {
        let mut connection = pool::acquire()?;
        // The server may return names in another form than it was given: `file_index` says which is which.
        let sql = format!(
            "SELECT file_index::INTEGER, content FROM read_blob({})",
            list_literal(batch)
        );
        let result = connection.query(&sql, &[])?;
        for row in 0..result.rows() {
            let index = result.bytes(row, 0).and_then(|bytes| bytes.try_into().ok());
            let url = index.and_then(|index| batch.get(u32::from_be_bytes(index) as usize));
            if let (Some(url), Some(content)) = (url, result.bytes(row, 1)) {
                objects.insert(url.clone(), content.to_vec());
            }
        }
    }
    match urls.iter().find(|url| !objects.contains_key(*url)) {
        None => Ok(objects),
        Some(missing) => Err(LakeError::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
            format!("could not read \"{missing}\""),
        )),
    }
}

/// All objects below a location.
pub fn list(location: &str) -> Result<Vec<String>> {
    let pattern = quote_literal(&format!("{location}/**"));
    let mut connection = pool::acquire()?;
    let result = connection.simple_query(&format!("SELECT file FROM glob({pattern})"))?;
    (0..result.rows())
        .map(|row| result.text(row, 0).map(str::to_owned))
        .collect()
}

/// Removes objects; returns those that were there.
pub fn remove(urls: &[String]) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for batch in urls.chunks(BATCH) {
        let mut connection = pool::acquire()?;
        let result = connection.simple_query(&format!(
            "SELECT url FROM (SELECT unnest({}) AS url) WHERE pg_lake_remove_file(url)",
            list_literal(batch)
        ))?;
        for row in 0..result.rows() {
            removed.push(result.text(row, 0)?.to_owned());
        }
    }
    Ok(removed)
}

/// `['a', 'b']`
fn list_literal(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quote_literal(text)).collect();
    format!("[{}]", quoted.join(", "))
}
