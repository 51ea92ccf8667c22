//! What is in a table's metadata, for SQL functions that show it.

use iceberg::spec::{DataContentType, DataFile, Manifest, ManifestContentType, PrimitiveLiteral};
use serde::Deserialize;

use crate::delete_file::FILE_PATH_FIELD_ID;
use crate::error::{Context, ErrorKind, Result};
use crate::manifest_list::ManifestList;

/// A snapshot of a metadata.json.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotEntry {
    /// Order of the snapshot in the table's history; 0 in tables of format version 1.
    #[serde(default)]
    pub sequence_number: i64,
    /// Id.
    pub snapshot_id: i64,
    /// Time of the commit, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Location of the manifest list.
    #[serde(default)]
    pub manifest_list: String,
}

/// A manifest of a manifest list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Location of the manifest.
    pub manifest_path: String,
    /// Its size in bytes.
    pub manifest_length: i64,
    /// True if it lists delete files, false if data files.
    pub holds_deletes: bool,
    /// Sequence number of the commit that added it.
    pub sequence_number: i64,
    /// Snapshot that added it.
    pub added_snapshot_id: i64,
}

/// A live file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Location of the manifest that lists it.
    pub manifest_path: String,
    /// `DATA`, `POSITION_DELETES` or `EQUALITY_DELETES`.
    pub content: &'static str,
    /// Location of the file.
    pub file_path: String,
    /// `PARQUET`, `ORC` or `AVRO`.
    pub file_format: String,
    /// Partition spec it was written with.
    pub spec_id: i32,
    /// Number of rows.
    pub record_count: u64,
    /// Size in bytes.
    pub file_size_in_bytes: u64,
    /// Data sequence number: that of the commit that added it.
    pub sequence_number: i64,
    /// For position deletes that are all for one data file, its location.
    pub referenced_data_file: Option<String>,
}

/// The snapshots of a metadata.json, in the order of their sequence numbers.
pub fn list_snapshots(metadata_json: &[u8]) -> Result<Vec<SnapshotEntry>> {
    #[derive(Deserialize)]
    struct Document {
        snapshots: Option<Vec<SnapshotEntry>>,
    }
    let document: Document = serde_json::from_slice(metadata_json)
        .context(ErrorKind::InvalidMetadata, "could not read the metadata")?;
    let mut snapshots = document.snapshots.unwrap_or_default();
    snapshots.sort_by_key(|snapshot| (snapshot.sequence_number, snapshot.timestamp_ms));
    Ok(snapshots)
}

/// The manifests of a manifest list.
pub fn list_manifests(manifest_list: &[u8]) -> Result<Vec<ManifestEntry>> {
    let manifests = ManifestList::parse(manifest_list)?.manifests;
    let entries = manifests.iter().map(|manifest| {
        let file = &manifest.file;
        ManifestEntry {
            manifest_path: file.manifest_path.clone(),
            manifest_length: file.manifest_length,
            holds_deletes: file.content == ManifestContentType::Deletes,
            sequence_number: file.sequence_number,
            added_snapshot_id: file.added_snapshot_id,
        }
    });
    Ok(entries.collect())
}

/// The live files of a manifest, of which `bytes` is the content.
pub fn list_manifest_files(manifest: &ManifestEntry, bytes: &[u8]) -> Result<Vec<FileEntry>> {
    let manifest_path = &manifest.manifest_path;
    let parsed = Manifest::parse_avro(bytes).context(
        ErrorKind::InvalidMetadata,
        format!("could not read manifest {manifest_path}"),
    )?;
    let spec_id = parsed.metadata().partition_spec().spec_id();
    let live = parsed.entries().iter().filter(|entry| entry.is_alive());
    let files = live.map(|entry| FileEntry {
        manifest_path: manifest_path.clone(),
        content: match entry.content_type() {
            DataContentType::Data => "DATA",
            DataContentType::PositionDeletes => "POSITION_DELETES",
            DataContentType::EqualityDeletes => "EQUALITY_DELETES",
        },
        file_path: entry.file_path().to_owned(),
        file_format: entry.file_format().to_string().to_uppercase(),
        spec_id,
        record_count: entry.record_count(),
        file_size_in_bytes: entry.file_size_in_bytes(),
        sequence_number: entry.sequence_number().unwrap_or(manifest.sequence_number),
        referenced_data_file: referenced_data_file(entry.data_file()),
    });
    Ok(files.collect())
}

/// The one data file that a file of position deletes is for, if it says so: as such, or by equal
/// bounds of `file_path` (Iceberg spec, "Scan Planning").
fn referenced_data_file(file: &DataFile) -> Option<String> {
    if file.content_type() != DataContentType::PositionDeletes {
        return None;
    }
    file.referenced_data_file().or_else(|| {
        let lower = file.lower_bounds().get(&FILE_PATH_FIELD_ID)?;
        let upper = file.upper_bounds().get(&FILE_PATH_FIELD_ID)?;
        match (lower == upper, lower.literal()) {
            (true, PrimitiveLiteral::String(path)) => Some(path.clone()),
            _ => None,
        }
    })
}
