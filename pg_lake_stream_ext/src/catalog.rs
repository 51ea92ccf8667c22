//! The catalogs: heap tables of this database that hold what every lake table is made of.
//!
//! PostgreSQL's MVCC makes them right for every snapshot, savepoint and crash; nothing here is cached.

pub mod fields;
pub mod files;
pub mod lake_table;
pub mod tables;
