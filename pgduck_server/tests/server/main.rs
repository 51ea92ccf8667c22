//! The server as clients see it: the real binary, on free ports, in directories of their own.
//!
//! # Layout
//!
//! | file | behaviour |
//! |---|---|
//! | `harness.rs` | starts a server, finds a free port, removes everything afterwards |
//! | `wire_client.rs` | a small client that can also break the rules |
//! | `startup.rs` | connecting, limits, shutdown |
//! | `simple_query.rs`, `extended_query.rs` | the two query protocols |
//! | `types.rs` | every type, text and binary |
//! | `row_dialect.rs` | what the CSV encoder writes is what DuckDB reads, exactly |
//! | `receive.rs`, `receive_failures.rs` | RECEIVE, and everything that can end it |
//! | `cancel.rs` | cancelling, and clients that go away |
//! | `copy_targets.rs` | COPY to local directories |

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod cancel;
mod copy_targets;
mod extended_query;
mod harness;
mod receive;
mod receive_failures;
mod row_dialect;
mod simple_query;
mod startup;
mod types;
mod wire_client;
