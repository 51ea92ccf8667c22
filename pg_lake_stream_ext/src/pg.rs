//! The border to PostgreSQL: small types that wrap its pointers, so that the modules above are ordinary Rust.

pub mod numeric;
pub mod row_context;
pub mod snapshot;
pub mod spi;
pub mod temp_file;
pub mod tuple;
pub mod varlena;
pub mod wait;
