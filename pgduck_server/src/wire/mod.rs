//! PostgreSQL's wire protocol, version 3: bytes to messages and back.
//!
//! # Layout
//!
//! | file | what |
//! |---|---|
//! | `transport.rs`, `client_socket.rs` | a TCP or Unix socket; the same while a query runs |
//! | `reader.rs` | de-framing: whole messages out of a growing buffer, with bounds |
//! | `frontend.rs` | what clients send, decoded with every length checked |
//! | `backend.rs` | what the server sends |
//!
//! Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol". The codec is our own because clients are not
//! trusted: a length or count that does not fit is an error of the protocol, never a panic, and `CopyData` has to pass
//! at gigabytes per second even with one message per row.

pub mod backend;
pub mod client_socket;
pub mod frontend;
pub mod reader;
pub mod transport;
