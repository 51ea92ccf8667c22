//! DuckDB behind small safe types; all `unsafe` that touches its C interface is in this folder.
//!
//! # Layout
//!
//! | file | what |
//! |---|---|
//! | `database.rs` | [`Database`], [`Connection`], [`Interrupter`] |
//! | `statement.rs` | [`Script`] (a parsed query string), [`Prepared`], [`Pending`] |
//! | `fresh_plan.rs`, `fresh_plan.cpp` | running a statement with the plan that preparing it has made |
//! | `result.rs` | [`QueryResult`]: chunks of a streaming result |
//! | `chunk.rs` | [`Chunk`], [`Vector`]: typed access to columns |
//! | `remove_file.rs`, `file_system.cpp` | the SQL function `pg_lake_remove_file` |
//! | `types.rs` | [`Type`]: a column's logical type |
//! | `write_file.rs`, `file_system.cpp` | the SQL function `pg_lake_write_file` |
//! | `workers.rs`, `task_queue.cpp` | the threads that help queries which take longer than a moment |
//!
//! Source of the semantics: DuckDB's C API documentation (duckdb.h of 1.5).

mod chunk;
mod database;
mod fresh_plan;
mod remove_file;
mod result;
mod statement;
mod types;
mod workers;
mod write_file;

pub use chunk::{Chunk, IntervalValue, ListEntry, Vector, Wide};
pub use database::{Connection, Database, Interrupter, library_version};
pub use result::{Produces, QueryResult};
pub use statement::{Kind, Parameter, Prepared};
pub use types::{Physical, Type};

use std::ffi::{CStr, c_char};

/// An error as DuckDB words it: `Binder Error: …`, with more lines behind.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// Copies a C string that DuckDB owns; empty if there is none.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that lives during the call.
unsafe fn borrowed_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and valid by this function's contract.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// Copies a C string that DuckDB allocated for us, and frees it.
///
/// # Safety
/// `text` is null or was returned by a DuckDB function whose result has to be freed with `duckdb_free`.
unsafe fn owned_text(text: *mut c_char) -> String {
    // SAFETY: by this function's contract.
    let copy = unsafe { borrowed_text(text) };
    if !text.is_null() {
        // SAFETY: allocated by DuckDB for the caller, and not used after this.
        unsafe { libduckdb_sys::duckdb_free(text.cast()) };
    }
    copy
}

/// A C string for DuckDB; a NUL inside cannot be passed on and is an error.
fn c_string(text: &str) -> Result<std::ffi::CString, EngineError> {
    std::ffi::CString::new(text)
        .map_err(|_| EngineError("Parser Error: query contains a zero byte".to_owned()))
}
