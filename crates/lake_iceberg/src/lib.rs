//! Iceberg without PostgreSQL and without I/O: from the previous table metadata and what a
//! transaction did to the bytes of the new manifest, manifest list and metadata.json.
//!
//! The caller fetches and stores objects; this crate only computes their content. Nothing here
//! starts a thread or a runtime, so it may run inside a PostgreSQL backend.
//!
//! # Layout
//!
//! What a table looks like:
//! * [`lake_type`]: the types a column may have, and their DuckDB and Iceberg names
//! * [`table_schema`]: columns with field ids; DuckDB's `FIELD_IDS` option
//! * [`csv_columns`]: how a column travels in the CSV stream, and the DuckDB expression that reads it
//!
//! What is known of a data file:
//! * [`data_file`]: path, counts and column statistics of one Parquet file
//! * [`return_stats`]: the same, from DuckDB's `COPY … (RETURN_STATS)`
//! * `column_bounds`: lower and upper bounds, from text to Iceberg's binary form
//!
//! How a version of the table becomes the next one:
//! * [`table_state`]: one committed version, as far as the next commit needs it
//! * [`commit`]: [`create_table`] and [`append`]: the objects of the next version
//! * `metadata_document`: metadata.json, edited in place rather than rebuilt
//! * `manifest_list`: the manifest list, extended rather than rebuilt
//! * `manifest`: the manifest of the files that a commit adds
//! * `snapshot`: one snapshot and its summary
//! * `avro_container`, `json_spans`, `captured_output`: the formats underneath
//!
//! Reading, for SQL functions that show what is in the lake:
//! * [`inspection`]: snapshots of a metadata.json, files of a manifest

mod avro_container;
mod captured_output;
mod column_bounds;
pub mod commit;
pub mod csv_columns;
pub mod data_file;
mod error;
pub mod inspection;
mod json_spans;
pub mod lake_type;
mod manifest;
mod manifest_list;
mod metadata_document;
pub mod return_stats;
mod snapshot;
pub mod table_schema;
pub mod table_state;

pub use commit::{Commit, Object, append, create_table};
pub use data_file::{ColumnStats, DataFile};
pub use error::{Error, ErrorKind, Result};
pub use inspection::{
    FileEntry, ManifestEntry, SnapshotEntry, list_manifest_files, list_manifests, list_snapshots,
};
pub use lake_type::{LakeType, ListType};
pub use table_schema::{Column, TableSchema, quote_identifier};
pub use table_state::TableState;
