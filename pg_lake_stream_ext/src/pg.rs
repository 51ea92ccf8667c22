//! The border to PostgreSQL: small types that wrap its pointers, so that the modules above are ordinary Rust.

pub mod spi;
pub mod tuple;
pub mod wait;
