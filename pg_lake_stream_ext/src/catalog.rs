//! The catalogs: heap tables of this database that hold what every lake table is made of.
//!
//! PostgreSQL's MVCC makes them right for every snapshot, savepoint and crash. Only rows that never change are cached.

pub mod deletion_queue;
pub mod fields;
pub mod files;
pub mod in_progress;
pub mod lake_table;
pub mod removed_files;
pub mod tables;
