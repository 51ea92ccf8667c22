//! A manifest put together from entries of other manifests.

use iceberg::spec::{FieldSummary, ManifestContentType, ManifestFile, ManifestStatus};

use crate::avro_bytes::{write_long, write_nullable_long};
use crate::avro_container::Container;
use crate::manifest::{Entry, Manifest};

/// The entries of a manifest of a new snapshot.
pub(crate) struct ManifestBuilder {
    snapshot_id: i64,
    sequence_number: i64,
    records: Vec<u8>,
    added: Count,
    existing: Count,
    deleted: Count,
    /// That of the files that are not deleted.
    min_sequence_number: i64,
}

/// Files and their rows.
#[derive(Default, Clone, Copy)]
struct Count {
    files: u32,
    rows: u64,
}

impl Count {
    fn add(&mut self, entry: &Entry<'_>) {
        self.files += 1;
        self.rows += entry.record_count;
    }
}

impl ManifestBuilder {
    pub(crate) fn new(snapshot_id: i64, sequence_number: i64) -> Self {
        Self {
            snapshot_id,
            sequence_number,
            records: Vec::new(),
            added: Count::default(),
            existing: Count::default(),
            deleted: Count::default(),
            min_sequence_number: sequence_number,
        }
    }

    /// A file that stays.
    pub(crate) fn keep(&mut self, entry: &Entry<'_>) {
        self.existing.add(entry);
        self.min_sequence_number = self.min_sequence_number.min(entry.sequence_number);
        self.push(ManifestStatus::Existing, entry.snapshot_id, entry);
    }

    /// A file that is gone with the new snapshot.
    pub(crate) fn delete(&mut self, entry: &Entry<'_>) {
        self.deleted.add(entry);
        self.push(ManifestStatus::Deleted, self.snapshot_id, entry);
    }

    fn push(&mut self, status: ManifestStatus, snapshot_id: i64, entry: &Entry<'_>) {
        write_long(&mut self.records, status as i64);
        write_nullable_long(&mut self.records, Some(snapshot_id));
        write_nullable_long(&mut self.records, Some(entry.sequence_number));
        write_nullable_long(&mut self.records, Some(entry.file_sequence_number));
        self.records.extend_from_slice(entry.data_file);
    }

    /// The files of a manifest that [`crate::added_manifest::write_added`] wrote for the new snapshot.
    pub(crate) fn add_all(&mut self, fresh: &Manifest<'_>) {
        fresh.entries.iter().for_each(|entry| self.added.add(entry));
        for (_, records) in fresh.container.blocks() {
            self.records.extend_from_slice(records);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The size of the entries in bytes.
    pub(crate) fn size(&self) -> usize {
        self.records.len()
    }

    /// The manifest `path`: its entry for the manifest list, and its bytes. `like` is a manifest of
    /// the same content, schema and partition spec.
    pub(crate) fn build(
        self,
        path: String,
        like: &Container<'_>,
        content: ManifestContentType,
        partition_spec_id: i32,
        partitions: Option<Vec<FieldSummary>>,
    ) -> (ManifestFile, Vec<u8>) {
        let count = self.added.files + self.existing.files + self.deleted.files;
        let bytes = like.with_records(u64::from(count), &[&self.records]);
        let file = ManifestFile {
            manifest_path: path,
            manifest_length: bytes.len() as i64,
            partition_spec_id,
            content,
            sequence_number: self.sequence_number,
            min_sequence_number: self.min_sequence_number,
            added_snapshot_id: self.snapshot_id,
            added_files_count: Some(self.added.files),
            existing_files_count: Some(self.existing.files),
            deleted_files_count: Some(self.deleted.files),
            added_rows_count: Some(self.added.rows),
            existing_rows_count: Some(self.existing.rows),
            deleted_rows_count: Some(self.deleted.rows),
            partitions,
            key_metadata: None,
            first_row_id: None,
        };
        (file, bytes)
    }
}
