//! The foreign-data wrapper: how PostgreSQL's executor reads and writes lake tables.

pub mod handler;
pub mod modify;
pub mod open_writers;
pub mod options;
