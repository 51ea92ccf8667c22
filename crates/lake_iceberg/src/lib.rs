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
//!
//! What is known of a file:
//! * [`data_file`]: path, counts and column statistics of one Parquet file
//! * [`delete_file`]: a Parquet file of deleted positions
//! * [`return_stats`]: a data file, from DuckDB's `COPY … (RETURN_STATS)`
//! * `column_bounds`: lower and upper bounds, from text to Iceberg's binary form
//!
//! How a version of the table becomes the next one:
//! * [`table_state`]: one committed version, as far as the next commit needs it
//! * [`changes`]: what a transaction did to the table's files
//! * [`policy`]: when manifests are merged, and which snapshots stay
//! * [`commit`]: [`create_table`], [`prepare`] and [`expire`]: the objects of the next version
//! * [`prepared_commit`]: a commit before and after the manifests that it needs are loaded
//!
//! What a commit consists of, from the outside in:
//! * `metadata_document`: metadata.json, edited in place rather than rebuilt
//! * `snapshot_history`, `snapshot`, `summary`: the snapshots in it, and which of them may go
//! * `manifest_list`: the manifest list, spliced rather than rebuilt
//! * `content_plan`: which manifests are rewritten, merged and dropped
//! * `added_manifest`, `manifest`, `manifest_builder`: entries of manifests, written, read and put
//!   together
//! * `avro_container`, `avro_layout`, `avro_bytes`, `json_spans`, `captured_output`: the formats
//!   underneath
//!
//! Reading, for SQL functions that show what is in the lake:
//! * [`inspection`]: snapshots of a metadata.json, files of a manifest

mod added_manifest;
mod avro_bytes;
mod avro_container;
mod avro_layout;
mod captured_output;
pub mod changes;
mod column_bounds;
pub mod commit;
mod content_plan;
pub mod data_file;
pub mod delete_file;
mod error;
pub mod inspection;
mod json_spans;
pub mod lake_type;
mod manifest;
mod manifest_builder;
mod manifest_list;
mod metadata_document;
pub mod policy;
pub mod prepared_commit;
pub mod return_stats;
mod snapshot;
mod snapshot_history;
mod summary;
pub mod table_schema;
pub mod table_state;

pub use changes::{Changes, FileContent, RemovedFile};
pub use commit::{Commit, Object, Stamp, create_table, expire, prepare};
pub use data_file::{ColumnStats, DataFile};
pub use delete_file::DeleteFile;
pub use error::{Error, ErrorKind, Result};
pub use inspection::{
    FileEntry, ManifestEntry, SnapshotEntry, list_manifest_files, list_manifests, list_snapshots,
};
pub use lake_type::{LakeType, ListType};
pub use policy::{ExpireWhen, Policy, Retention};
pub use prepared_commit::PreparedCommit;
pub use table_schema::{Column, TableSchema, quote_identifier};
pub use table_state::TableState;
