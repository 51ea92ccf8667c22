//! Iceberg.
