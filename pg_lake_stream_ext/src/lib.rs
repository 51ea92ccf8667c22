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
//! | [`write`] | a row's way into a data file: table writer → row encoder → row sink |
//! | [`commit`] | PRE_COMMIT: new metadata, uploaded, and the catalog moved to it |
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
mod pg;
mod pgduck;
mod types;
mod write;

use pgrx::{pg_guard, pg_module_magic};

pg_module_magic!();

/// Registers the settings and hooks when the library is loaded, at server start or by a first use.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    guc::register();
    hooks::install();
}
