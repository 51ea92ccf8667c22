//! The next version of a table: which objects to store, and the state that the one after builds on.

use std::sync::Arc;

use uuid::Uuid;

use crate::data_file::DataFile;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::write_data_manifest;
use crate::manifest_list::{ListHeader, extend_manifest_list};
use crate::metadata_document::MetadataDocument;
use crate::snapshot::{Snapshot, append_summary, new_snapshot_id};
use crate::table_schema::TableSchema;
use crate::table_state::TableState;

/// A new version of a table. It exists for readers once all `objects` are stored and the catalog
/// says `state.metadata_location()`.
#[derive(Debug)]
pub struct Commit {
    /// What to store, in any order or at once; metadata.json is the last.
    pub objects: Vec<Object>,
    /// The new version.
    pub state: TableState,
}

/// An object to store under a path that nothing has been stored under before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Location.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// The first version of a table at `location`, with a snapshot of the files in `added` if there
/// are any. `now_ms` is the time of the commit in milliseconds since 1970.
pub fn create_table(
    location: &str,
    schema: &TableSchema,
    added: &[DataFile],
    now_ms: i64,
) -> Result<Commit> {
    let location = location.trim_end_matches('/');
    let metadata_location = new_metadata_location(location, 0);
    let document = MetadataDocument::new_table(location, schema, now_ms)?;
    let empty = TableState::new(&metadata_location, document, None, None);
    if added.is_empty() {
        return Ok(Commit {
            objects: vec![empty.metadata_object()?],
            state: empty,
        });
    }
    append_snapshot(&empty, added, now_ms, &metadata_location, None)
}

/// The version after `base`, with one more snapshot that adds the files in `added`.
///
/// Fails with [`ErrorKind::InvalidInput`] if `added` is empty, or the manifest list of `base` was
/// not loaded ([`TableState::manifest_list_to_load`]).
pub fn append(base: &TableState, added: &[DataFile], now_ms: i64) -> Result<Commit> {
    if added.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "there are no files to append",
        ));
    }
    let base_location = base.metadata_location();
    let version = metadata_version(base_location) + 1;
    let metadata_location = new_metadata_location(base.location(), version);
    append_snapshot(base, added, now_ms, &metadata_location, Some(base_location))
}

fn append_snapshot(
    base: &TableState,
    added: &[DataFile],
    now_ms: i64,
    metadata_location: &str,
    previous_location: Option<&str>,
) -> Result<Commit> {
    let document = base.document();
    let definition = &document.definition;
    let parent = base.current_snapshot();
    let snapshot_id = new_snapshot_id();
    let sequence_number = document.last_sequence_number + 1;
    let directory = format!("{}/metadata", definition.location);
    let commit_id = Uuid::new_v4();

    let manifest_path = format!("{directory}/{commit_id}-m0.avro");
    let (manifest_entry, manifest) = write_data_manifest(
        &manifest_path,
        snapshot_id,
        &definition.schema,
        &definition.partition_spec,
        added,
    )?;

    let list_path = format!("{directory}/snap-{snapshot_id}-1-{commit_id}.avro");
    let header = ListHeader {
        snapshot_id,
        parent_snapshot_id: parent.map(|parent| parent.snapshot_id),
        sequence_number,
    };
    let list = extend_manifest_list(
        &list_path,
        &header,
        base.manifest_list()?,
        vec![manifest_entry],
    )?;

    let snapshot = Snapshot {
        snapshot_id,
        parent_snapshot_id: header.parent_snapshot_id,
        sequence_number,
        // Clocks of two servers differ; time in the table's log does not run backwards.
        timestamp_ms: now_ms.max(document.last_updated_ms),
        manifest_list: list_path.clone(),
        summary: append_summary(parent, added),
        schema_id: Some(definition.schema.schema_id()),
    };
    let next = document.with_snapshot(&snapshot, previous_location)?;
    let list_bytes: Arc<[u8]> = list.as_slice().into();
    let state = TableState::new(metadata_location, next, Some(snapshot), Some(list_bytes));
    let objects = vec![
        Object {
            path: manifest_path,
            bytes: manifest,
        },
        Object {
            path: list_path,
            bytes: list,
        },
        state.metadata_object()?,
    ];
    Ok(Commit { objects, state })
}

fn new_metadata_location(location: &str, version: u64) -> String {
    format!(
        "{location}/metadata/{version:05}-{}.metadata.json",
        Uuid::new_v4()
    )
}

/// The version number in a metadata file's name, `00012-….metadata.json`; 0 if there is none.
fn metadata_version(metadata_location: &str) -> u64 {
    let name = metadata_location.rsplit('/').next().unwrap_or_default();
    name.split('-')
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbered_on() {
        assert_eq!(
            metadata_version("s3://b/t/metadata/00012-a-b.metadata.json"),
            12
        );
        assert_eq!(metadata_version("/t/metadata/v3.metadata.json"), 0);
        assert!(new_metadata_location("/t", 7).starts_with("/t/metadata/00007-"));
    }
}
