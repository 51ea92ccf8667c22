//! One committed version of a table, as far as the next commit needs it.

use std::sync::Arc;

use crate::commit::Object;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::manifest_list::ManifestList;
use crate::metadata_document::MetadataDocument;
use crate::snapshot::Snapshot;
use crate::table_schema::TableSchema;

/// An immutable version of a table; clones share it.
///
/// Comes from a [`crate::Commit`], or, for a process that did not write the version, from the
/// bytes of its metadata.json and then those of the manifest list that it names:
///
/// ```text
/// let mut state = TableState::from_metadata(location, &metadata_json)?;
/// if let Some(list) = state.manifest_list_to_load() {
///     state = state.with_manifest_list(fetch(list))?;
/// }
/// ```
#[derive(Debug, Clone)]
pub struct TableState {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    metadata_location: String,
    document: MetadataDocument,
    current_snapshot: Option<Snapshot>,
    manifest_list: Option<ManifestList>,
}

impl TableState {
    /// The version stored at `metadata_location`, with the manifest list still to be loaded.
    pub fn from_metadata(metadata_location: &str, metadata_json: &[u8]) -> Result<Self> {
        let parse = || {
            let document = MetadataDocument::parse(metadata_json)?;
            let current_snapshot = document.current_snapshot()?;
            Ok(Self::new(
                metadata_location,
                document,
                current_snapshot,
                None,
            ))
        };
        parse().map_err(|error: Error| {
            Error::new(
                error.kind(),
                format!("could not read {metadata_location}: {error}"),
            )
        })
    }

    /// `document` as the version at `metadata_location`.
    pub(crate) fn new(
        metadata_location: &str,
        document: MetadataDocument,
        current_snapshot: Option<Snapshot>,
        manifest_list: Option<ManifestList>,
    ) -> Self {
        let metadata_location = metadata_location.to_owned();
        let inner = Inner {
            metadata_location,
            document,
            current_snapshot,
            manifest_list,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// This version with the bytes of its current snapshot's manifest list.
    pub fn with_manifest_list(&self, bytes: Vec<u8>) -> Result<Self> {
        let list = self.manifest_list_location().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "a table without a snapshot has no manifest list",
            )
        })?;
        let parsed = ManifestList::parse(&bytes)
            .map_err(|error| Error::new(error.kind(), format!("{list}: {error}")))?;
        let inner = Inner {
            manifest_list: Some(parsed),
            ..(*self.inner).clone()
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Where this version's metadata.json is stored.
    pub fn metadata_location(&self) -> &str {
        &self.inner.metadata_location
    }

    /// The table's location, without a trailing slash.
    pub fn location(&self) -> &str {
        &self.inner.document.definition.location
    }

    /// Where the current snapshot's manifest list is stored; none if there is no snapshot yet.
    pub fn manifest_list_location(&self) -> Option<&str> {
        self.inner
            .current_snapshot
            .as_ref()
            .map(|snapshot| snapshot.manifest_list.as_str())
    }

    /// The manifest list that must be given to [`TableState::with_manifest_list`] before a commit
    /// can build on this version; none if there is nothing to load.
    pub fn manifest_list_to_load(&self) -> Option<&str> {
        match self.inner.manifest_list {
            Some(_) => None,
            None => self.manifest_list_location(),
        }
    }

    /// Id of the current snapshot.
    pub fn snapshot_id(&self) -> Option<i64> {
        self.inner
            .current_snapshot
            .as_ref()
            .map(|snapshot| snapshot.snapshot_id)
    }

    /// Sequence number of the last commit that made a snapshot; 0 if none did.
    pub fn sequence_number(&self) -> i64 {
        self.inner.document.last_sequence_number
    }

    /// Sequence number of the oldest snapshot that the table still has; if it has none,
    /// [`TableState::sequence_number`].
    ///
    /// What a commit of this or a lower sequence number removed or replaced (see
    /// [`crate::Commit::replaced_manifests`]) is no longer part of any snapshot.
    pub fn oldest_sequence_number(&self) -> i64 {
        let oldest = self.inner.document.oldest_sequence_number();
        oldest.unwrap_or(self.inner.document.last_sequence_number)
    }

    /// Time of this version, in milliseconds since 1970.
    pub fn last_updated_ms(&self) -> i64 {
        self.inner.document.last_updated_ms
    }

    /// The columns.
    pub fn schema(&self) -> Result<TableSchema> {
        TableSchema::from_iceberg(&self.inner.document.definition.schema)
            .context(ErrorKind::Unsupported, "the table's schema cannot be used")
    }

    pub(crate) fn document(&self) -> &MetadataDocument {
        &self.inner.document
    }

    pub(crate) fn current_snapshot(&self) -> Option<&Snapshot> {
        self.inner.current_snapshot.as_ref()
    }

    /// The manifest list to build on; an empty one if there is no snapshot.
    pub(crate) fn manifest_list(&self) -> Result<ManifestList> {
        match self.manifest_list_to_load() {
            None => Ok(self.inner.manifest_list.clone().unwrap_or_default()),
            Some(list) => {
                let message = format!("manifest list {list} was not loaded");
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
        }
    }

    /// The manifest list if it was loaded.
    pub(crate) fn loaded_manifest_list(&self) -> Option<ManifestList> {
        self.inner.manifest_list.clone()
    }

    /// The object that stores this version.
    pub(crate) fn metadata_object(&self) -> Result<Object> {
        let path = self.inner.metadata_location.clone();
        Ok(Object {
            path,
            bytes: self.inner.document.to_bytes()?,
        })
    }
}
