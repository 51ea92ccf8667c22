//! The words that `pgduck_server` and its clients share.
//!
//! # Layout
//!
//! | module | what |
//! |---|---|
//! | [`command`] | the prefixes `RECEIVE` and `TRANSMIT` in front of a query |
//! | [`placeholder`] | the token in a `RECEIVE` query that stands for the streamed input |
//! | [`sql`] | a small SQL tokenizer: enough to find a placeholder or a `COPY` target, never fooled by quotes or comments |
//! | [`csv`] | the row dialect of the stream: encoder, and the SQL that reads it back |
//!
//! Nothing here does I/O, and nothing depends on PostgreSQL or DuckDB.

pub mod command;
pub mod csv;
pub mod placeholder;
pub mod sql;

/// Port that the server listens on, and that names its Unix socket, unless told otherwise.
pub const DEFAULT_PORT: u16 = 5332;

/// Directory of the server's Unix socket unless told otherwise.
pub const DEFAULT_SOCKET_DIRECTORY: &str = "/tmp";

/// Bytes of a `RECEIVE` stream that the server keeps in memory before it starts a pipeline.
///
/// A stream that ends within its first block is handed to DuckDB as a plain file in memory.
pub const FIRST_BLOCK_BYTES: usize = 1 << 20;
