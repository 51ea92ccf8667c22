//! SQL functions for users.

pub mod iceberg_metadata;
