//! A libpq result, and how the server's errors become ours.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use pq_sys as pq;

use crate::error::{LakeError, Result};

/// One `PGresult`; freed when dropped.
pub struct PgResult {
    raw: NonNull<pq::PGresult>,
}

impl PgResult {
    pub(super) fn new(raw: NonNull<pq::PGresult>) -> Self {
        Self { raw }
    }

    /// The result's status.
    pub fn status(&self) -> pq::ExecStatusType {
        // SAFETY: the result is live; so for every libpq call of this file.
        unsafe { pq::PQresultStatus(self.raw.as_ptr()) }
    }

    /// Number of rows that are held here.
    pub fn rows(&self) -> usize {
        // SAFETY: as above.
        unsafe { pq::PQntuples(self.raw.as_ptr()) as usize }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        // SAFETY: as above.
        unsafe { pq::PQnfields(self.raw.as_ptr()) as usize }
    }

    /// Position of the column of this name.
    pub fn column(&self, name: &CStr) -> Result<usize> {
        // SAFETY: as above.
        let position = unsafe { pq::PQfnumber(self.raw.as_ptr(), name.as_ptr()) };
        usize::try_from(position).map_err(|_| {
            LakeError::internal(format!("pgduck_server's result has no column {name:?}"))
        })
    }

    /// The bytes of one value, or `None` for NULL.
    pub fn bytes(&self, row: usize, column: usize) -> Option<&[u8]> {
        debug_assert!(row < self.rows() && column < self.columns());
        let (row, column) = (row as c_int, column as c_int);
        // SAFETY: libpq checks both numbers; the value lives as long as the result, and `self` is borrowed for that long.
        unsafe {
            if pq::PQgetisnull(self.raw.as_ptr(), row, column) != 0 {
                return None;
            }
            let length = pq::PQgetlength(self.raw.as_ptr(), row, column) as usize;
            Some(std::slice::from_raw_parts(
                pq::PQgetvalue(self.raw.as_ptr(), row, column).cast(),
                length,
            ))
        }
    }

    /// One value as text; NULL and text that is not UTF-8 are errors.
    pub fn text(&self, row: usize, column: usize) -> Result<&str> {
        self.bytes(row, column)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .ok_or_else(|| {
                LakeError::internal(
                    "pgduck_server returned a NULL or broken text where a value was due",
                )
            })
    }

    /// One value parsed from its text.
    pub fn parse<T: std::str::FromStr>(&self, row: usize, column: usize) -> Result<T> {
        let text = self.text(row, column)?;
        text.parse().map_err(|_| {
            LakeError::internal(format!("pgduck_server returned \"{text}\" for a number"))
        })
    }

    /// The server's error, if this result is one.
    pub fn check(&self) -> Result<()> {
        match self.status() {
            pq::ExecStatusType::PGRES_FATAL_ERROR | pq::ExecStatusType::PGRES_BAD_RESPONSE => {
                let primary = self.field(pq::PG_DIAG_MESSAGE_PRIMARY);
                let Some(sqlstate) = self.field(pq::PG_DIAG_SQLSTATE) else {
                    // Errors without a SQLSTATE are libpq's own: the connection broke.
                    // SAFETY: as above.
                    let text =
                        unsafe { CStr::from_ptr(pq::PQresultErrorMessage(self.raw.as_ptr())) };
                    let text = text.to_string_lossy().trim().replace('\n', " ");
                    return Err(LakeError::connection_lost(format!(
                        "lost the connection to pgduck_server: {text}"
                    )));
                };
                let mut error = LakeError::from_sqlstate(&sqlstate, primary.unwrap_or_default());
                if let Some(detail) = self.field(pq::PG_DIAG_MESSAGE_DETAIL) {
                    error = error.detail(detail);
                }
                if let Some(hint) = self.field(pq::PG_DIAG_MESSAGE_HINT) {
                    error = error.hint(hint);
                }
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn field(&self, code: impl Into<i64>) -> Option<String> {
        // SAFETY: as above; the string lives as long as the result and is copied here.
        let pointer = unsafe { pq::PQresultErrorField(self.raw.as_ptr(), code.into() as c_int) };
        if pointer.is_null() {
            return None;
        }
        // SAFETY: not null, so a C string.
        let text = unsafe { CStr::from_ptr(pointer) };
        Some(text.to_string_lossy().into_owned())
    }
}

impl Drop for PgResult {
    fn drop(&mut self) {
        // SAFETY: owned, and not used again.
        unsafe { pq::PQclear(self.raw.as_ptr()) };
    }
}
