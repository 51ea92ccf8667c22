//! The next version of a table: which objects to store, and the state that the one after builds on.

use std::collections::HashMap;

use uuid::Uuid;

use crate::changes::Changes;
use crate::error::Result;
use crate::metadata_document::MetadataDocument;
use crate::policy::{Policy, Retention};
use crate::prepared_commit::PreparedCommit;
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
    /// Locations of the manifests of the version before that are not part of the new snapshot. Older
    /// snapshots still need them: until [`TableState::oldest_sequence_number`] has reached the
    /// [`TableState::sequence_number`] of this version.
    pub replaced_manifests: Vec<String>,
    /// Locations of the manifest lists and statistics of expired snapshots, and of metadata files
    /// that dropped out of the metadata log: this version does not refer to them.
    pub expired_objects: Vec<String>,
}

/// An object to store under a path that nothing has been stored under before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Location.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// When a commit is made, and under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Part of the names of all objects that the commit stores. No two commits may have the same.
    pub object_id: Uuid,
    /// Time of the commit in milliseconds since 1970.
    pub now_ms: i64,
}

/// A commit at this time, in milliseconds since 1970, under a random name.
impl From<i64> for Stamp {
    fn from(now_ms: i64) -> Self {
        Self {
            object_id: Uuid::new_v4(),
            now_ms,
        }
    }
}

/// The first version of a table at `location`, with a snapshot of `changes` if there are any.
///
/// Fails with [`crate::ErrorKind::InvalidSchema`] if Iceberg has no such schema.
pub fn create_table(
    location: &str,
    schema: &TableSchema,
    changes: Changes,
    stamp: impl Into<Stamp>,
) -> Result<Commit> {
    let stamp = stamp.into();
    let location = location.trim_end_matches('/');
    let metadata_location = new_metadata_location(location, 0, stamp.object_id);
    let document = MetadataDocument::new_table(location, schema, stamp.now_ms)?;
    let empty = TableState::new(&metadata_location, document, None, None);
    if changes.is_empty() {
        return Ok(Commit {
            objects: vec![empty.metadata_object()?],
            state: empty,
            replaced_manifests: Vec::new(),
            expired_objects: Vec::new(),
        });
    }
    PreparedCommit::of_new_table(&empty, changes)?.finish(HashMap::new(), stamp)
}

/// The version after `base` with one more snapshot, as far as it can be computed without reading.
///
/// Fails with [`crate::ErrorKind::InvalidInput`] if there are no changes, a file is removed twice,
/// or the manifest list of `base` was not loaded ([`TableState::manifest_list_to_load`]); and with
/// [`crate::ErrorKind::Unsupported`] if files are added to a partitioned table.
pub fn prepare(base: &TableState, changes: Changes, policy: &Policy) -> Result<PreparedCommit> {
    PreparedCommit::new(base, changes, policy)
}

/// A version without a new snapshot that has only the snapshots that `retention` asks for; none if
/// `base` is that already.
pub fn expire(
    base: &TableState,
    retention: &Retention,
    stamp: impl Into<Stamp>,
) -> Result<Option<Commit>> {
    let stamp = stamp.into();
    let mut document = base.document().clone();
    let now_ms = stamp.now_ms.max(document.last_updated_ms);
    let Some(mut expired_objects) = document.expire(retention, now_ms)? else {
        return Ok(None);
    };
    let base_location = base.metadata_location();
    expired_objects.extend(document.push_metadata_log(base_location));
    document.last_updated_ms = now_ms;
    let state = TableState::new(
        &next_metadata_location(base, stamp.object_id),
        document,
        base.current_snapshot().cloned(),
        base.loaded_manifest_list(),
    );
    Ok(Some(Commit {
        objects: vec![state.metadata_object()?],
        state,
        replaced_manifests: Vec::new(),
        expired_objects,
    }))
}

/// Where to store the version after `base`.
pub(crate) fn next_metadata_location(base: &TableState, object_id: Uuid) -> String {
    let version = metadata_version(base.metadata_location()) + 1;
    new_metadata_location(base.location(), version, object_id)
}

fn new_metadata_location(location: &str, version: u64, object_id: Uuid) -> String {
    format!("{location}/metadata/{version:05}-{object_id}.metadata.json")
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
        assert!(new_metadata_location("/t", 7, Uuid::nil()).starts_with("/t/metadata/00007-0000"));
    }
}
