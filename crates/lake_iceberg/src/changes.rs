//! What a transaction did to a table's files.

use iceberg::spec::ManifestContentType;

use crate::data_file::DataFile;
use crate::delete_file::DeleteFile;

/// What a transaction did to a table's files, in one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Data files that are new.
    pub added_data: Vec<DataFile>,
    /// Files of position deletes that are new. They apply to the data files of earlier commits and
    /// of this one (Iceberg spec, "Scan Planning").
    pub added_deletes: Vec<DeleteFile>,
    /// Files that are no longer part of the table, both data and deletes.
    pub removed: Vec<RemovedFile>,
    /// The commit rewrites rows without changing them, as a compaction does: the snapshot's
    /// operation is `replace`.
    pub is_rewrite: bool,
}

impl Changes {
    /// True if there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.added_data.is_empty() && self.added_deletes.is_empty() && self.removed.is_empty()
    }
}

/// What the rows of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileContent {
    /// Rows of the table.
    Data,
    /// Positions of deleted rows in data files.
    PositionDeletes,
}

impl FileContent {
    /// The content of manifests that list such files.
    pub(crate) fn manifest_content(self) -> ManifestContentType {
        match self {
            Self::Data => ManifestContentType::Data,
            Self::PositionDeletes => ManifestContentType::Deletes,
        }
    }

    /// The number that stands for it in a manifest (Iceberg spec, "Data File Fields", `content`).
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Data => 0,
            Self::PositionDeletes => 1,
        }
    }
}

/// A file of the current snapshot that is no longer part of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedFile {
    /// Location, as in the manifest.
    pub path: String,
    /// What it holds.
    pub content: FileContent,
    /// Data sequence number: that of the commit that added it.
    pub sequence_number: i64,
    /// Number of rows.
    pub record_count: u64,
    /// Size in bytes.
    pub file_size: u64,
}
