//! SQL functions for users.

pub mod iceberg_metadata;
pub mod queues;
