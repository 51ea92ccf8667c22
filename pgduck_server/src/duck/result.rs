//! The result of a statement, as a stream of chunks.

use std::sync::Arc;

use libduckdb_sys as ffi;

use super::chunk::Chunk;
use super::database::RawConnection;
use super::{EngineError, Type, borrowed_text};

/// What a statement produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Produces {
    /// Rows for the client.
    Rows,
    /// One number: how many rows it changed.
    Count,
    /// Nothing.
    Nothing,
}

/// A result that is computed while it is read.
#[derive(Debug)]
pub struct QueryResult {
    raw: ffi::duckdb_result,
    _connection: Arc<RawConnection>,
}

// SAFETY: a result is used by one thread at a time (it is not `Sync`), and DuckDB does not tie it to a thread.
unsafe impl Send for QueryResult {}

impl QueryResult {
    /// Lets `call` fill a result, and takes its error if it failed.
    pub(super) fn from_call(
        connection: Arc<RawConnection>,
        call: impl FnOnce(*mut ffi::duckdb_result) -> ffi::duckdb_state,
    ) -> Result<QueryResult, EngineError> {
        // SAFETY: the struct consists of numbers and pointers, for which zero is a valid value; DuckDB overwrites it.
        let mut raw: ffi::duckdb_result = unsafe { std::mem::zeroed() };
        let state = call(&mut raw);
        let mut result = QueryResult {
            raw,
            _connection: connection,
        };
        if state != ffi::DuckDBSuccess {
            return Err(result.error());
        }
        Ok(result)
    }

    /// The error that the result holds.
    fn error(&mut self) -> EngineError {
        // SAFETY: the result is alive and owns its error.
        EngineError(unsafe { borrowed_text(ffi::duckdb_result_error(&mut self.raw)) })
    }

    /// What the statement produces.
    pub fn produces(&self) -> Produces {
        // SAFETY: the result is alive; it is passed by value as a struct of borrowed pointers.
        match unsafe { ffi::duckdb_result_return_type(self.raw) } {
            ffi::duckdb_result_type_DUCKDB_RESULT_TYPE_CHANGED_ROWS => Produces::Count,
            ffi::duckdb_result_type_DUCKDB_RESULT_TYPE_QUERY_RESULT => Produces::Rows,
            _ => Produces::Nothing,
        }
    }

    /// Names and types of the columns.
    pub fn columns(&mut self) -> Vec<(String, Type)> {
        // SAFETY: the result is alive.
        let count = unsafe { ffi::duckdb_column_count(&mut self.raw) };
        (0..count)
            .map(|index| {
                // SAFETY: the result is alive and the index in range; the name belongs to the result.
                unsafe {
                    let name = borrowed_text(ffi::duckdb_column_name(&mut self.raw, index));
                    let ty = ffi::duckdb_column_logical_type(&mut self.raw, index);
                    (name, Type::from_owned(ty))
                }
            })
            .collect()
    }

    /// The next chunk; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, EngineError> {
        // SAFETY: the result is alive; the chunk is ours to destroy.
        let raw = unsafe { ffi::duckdb_fetch_chunk(self.raw) };
        if !raw.is_null() {
            return Ok(Some(Chunk::from_owned(raw)));
        }
        let error = self.error();
        if error.0.is_empty() {
            Ok(None)
        } else {
            Err(error)
        }
    }
}

impl Drop for QueryResult {
    fn drop(&mut self) {
        // SAFETY: filled by `from_call` and destroyed only here.
        unsafe { ffi::duckdb_destroy_result(&mut self.raw) };
    }
}
