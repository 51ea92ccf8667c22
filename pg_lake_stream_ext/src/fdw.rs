//! The foreign-data wrapper: how PostgreSQL's executor reads and writes lake tables.

pub mod decode;
pub mod deparse;
pub mod direct_modify;
pub mod explain;
pub mod handler;
pub mod literal;
pub mod modify;
pub mod open_changes;
pub mod operand;
pub mod options;
pub mod plan;
pub mod prune;
pub mod row_id;
pub mod row_memory;
pub mod scan;
pub mod scan_query;
pub mod truncate;
