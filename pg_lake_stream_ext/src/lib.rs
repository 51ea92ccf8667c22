//! Iceberg tables in PostgreSQL, written and read through a remote, stateless DuckDB server.
//!
//! # Layout
//!
//! In the order in which a table meets them:
//!
//! | module | what |
//! |---|---|
//! | [`hooks`] | where PostgreSQL's utility commands and drops reach us |
//! | [`ddl`] | `CREATE TABLE … USING iceberg`, `CREATE TABLE AS`, what ALTER may do |
//! | [`types`] | which column types there are, and what they are in Iceberg |
//! | [`catalog`] | the heap tables that say what every lake table is made of |
//! | [`fdw`] | the executor's callbacks: scan, INSERT, EXPLAIN |
//! | [`write`] | a row's way into a data file: table writer → row encoder → row sink; and out of the table |
//! | [`live_rows`] | SQL for the rows of files that are not deleted |
//! | [`commit`] | PRE_COMMIT: new metadata, uploaded, and the catalog moved to it |
//! | [`maintenance`] | VACUUM: compaction, snapshot expiry, removal of what nothing refers to; background workers |
//! | [`pgduck`] | the client of pgduck_server |
//! | [`functions`] | SQL functions for users |
//! | [`pg`] | the border to PostgreSQL's internals |
//! | [`guc`], [`error`] | settings; errors and their SQLSTATEs |

mod catalog;
mod commit;
mod ddl;
mod error;
mod fdw;
mod functions;
mod guc;
mod hooks;
mod live_rows;
mod maintenance;
mod pg;
mod pgduck;
mod types;
mod write;

use pgrx::{PgSqlErrorCode, pg_guard, pg_module_magic, pg_sys};

use crate::error::LakeError;

pg_module_magic!();

/// Registers the settings and hooks when the library is loaded at server start.
///
/// A session without the hooks could drop a table and leave its catalog rows behind, so there is no loading later.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: a plain read of the postmaster's state.
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        LakeError::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "pg_lake_stream_ext must be loaded via shared_preload_libraries",
        )
        .hint("Add it to shared_preload_libraries in postgresql.conf, and restart PostgreSQL.")
        .raise();
    }
    guc::register();
    hooks::install();
    maintenance::launcher::register();
}
