//! Lake tables in the data definition language.
//!
//! A lake table is a foreign table on server `pg_lake_iceberg`; `USING iceberg` is another way to say so.

pub mod alter_table;
pub mod as_foreign_table;
pub mod create_table;
pub mod create_table_as;
pub mod lake_relation;
pub mod location;
pub mod vacuum;
