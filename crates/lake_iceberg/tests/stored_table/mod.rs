//! A table in a directory of its own, committed to by way of this crate and read back with the
//! iceberg crate, which knows nothing of how the commits were made.

// The helpers of the tests may fail loudly, too, and no test file uses all of them.
#![allow(clippy::unwrap_used, dead_code)]

pub mod foreign_avro;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use futures::executor::block_on;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, ManifestContentType, ManifestEntry, ManifestFile, ManifestList,
    ManifestStatus, Snapshot, TableMetadata,
};
use lake_iceberg::{
    Changes, Column, ColumnStats, Commit, DataFile, DeleteFile, FileContent, LakeType, Policy,
    RemovedFile, Result, TableSchema, TableState, create_table, prepare,
};

pub const NOW: i64 = 1_760_000_000_000;

/// The directory is removed at the end.
pub struct TableDirectory {
    path: PathBuf,
}

impl TableDirectory {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lake_iceberg-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("metadata")).unwrap();
        Self { path }
    }

    pub fn location(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub fn store(&self, commit: &Commit) {
        for object in &commit.objects {
            assert!(
                !Path::new(&object.path).exists(),
                "{} was written twice",
                object.path
            );
            fs::write(&object.path, &object.bytes).unwrap();
        }
    }

    /// The version as another process sees it: from the files alone.
    pub fn load(&self, metadata_location: &str) -> TableState {
        let bytes = fs::read(metadata_location).unwrap();
        let state = TableState::from_metadata(metadata_location, &bytes).unwrap();
        match state.manifest_list_to_load() {
            Some(list) => state.with_manifest_list(fs::read(list).unwrap()).unwrap(),
            None => state,
        }
    }
}

impl Drop for TableDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A table with its current state in memory.
pub struct StoredTable {
    pub directory: TableDirectory,
    pub state: TableState,
    pub policy: Policy,
    pub now_ms: i64,
    /// How many manifests the last commit had to load.
    pub loaded: usize,
}

impl StoredTable {
    pub fn create(name: &str) -> Self {
        let directory = TableDirectory::new(name);
        let commit =
            create_table(directory.location(), &schema(), Changes::default(), NOW).unwrap();
        directory.store(&commit);
        Self {
            directory,
            state: commit.state,
            policy: Policy::KEEP_EVERYTHING,
            now_ms: NOW,
            loaded: 0,
        }
    }

    /// Commits a second after the last commit.
    pub fn commit(&mut self, changes: Changes) -> Commit {
        self.try_commit(changes).unwrap()
    }

    pub fn try_commit(&mut self, changes: Changes) -> Result<Commit> {
        self.now_ms += 1000;
        let commit = commit_with(&self.state, changes, &self.policy, self.now_ms, |path| {
            fs::read(path).unwrap()
        });
        let (commit, loaded) = commit?;
        self.loaded = loaded;
        self.directory.store(&commit);
        self.state = commit.state.clone();
        Ok(commit)
    }

    /// Adds data files, one commit.
    pub fn add_data(&mut self, numbers: impl IntoIterator<Item = i64>) -> Commit {
        self.commit(Changes {
            added_data: numbers.into_iter().map(data_file).collect(),
            ..Default::default()
        })
    }

    /// Adds delete files, one commit.
    pub fn add_deletes(&mut self, numbers: impl IntoIterator<Item = i64>) -> Commit {
        self.commit(Changes {
            added_deletes: numbers.into_iter().map(delete_file).collect(),
            ..Default::default()
        })
    }

    /// The current state as another process sees it.
    pub fn reload(&mut self) {
        self.state = self.directory.load(self.state.metadata_location());
    }

    pub fn metadata(&self) -> TableMetadata {
        read_metadata(self.state.metadata_location())
    }

    /// The live files of the current snapshot.
    pub fn live(&self) -> BTreeMap<String, LiveFile> {
        live_files(self.metadata().current_snapshot().unwrap())
    }

    /// The manifests of the current snapshot.
    pub fn manifests(&self) -> Vec<ManifestFile> {
        manifests(self.metadata().current_snapshot().unwrap())
    }

    pub fn manifests_of(&self, content: ManifestContentType) -> Vec<ManifestFile> {
        let mut manifests = self.manifests();
        manifests.retain(|manifest| manifest.content == content);
        manifests
    }

    /// A counter of the current snapshot's summary.
    pub fn summary(&self, name: &str) -> Option<String> {
        let metadata = self.metadata();
        let summary = metadata.current_snapshot().unwrap().summary();
        match name {
            "operation" => Some(summary.operation.as_str().to_owned()),
            name => summary.additional_properties.get(name).cloned(),
        }
    }

    /// What must be said to remove a live file.
    pub fn removed(&self, path: &str) -> RemovedFile {
        let live = self.live();
        live.get(path)
            .unwrap_or_else(|| panic!("{path} is not live"))
            .removed(path)
    }
}

/// The next version of `base`, and the number of manifests that had to be fetched.
pub fn commit_with(
    base: &TableState,
    changes: Changes,
    policy: &Policy,
    now_ms: i64,
    fetch: impl Fn(&str) -> Vec<u8>,
) -> Result<(Commit, usize)> {
    let prepared = prepare(base, changes, policy)?;
    let to_load = prepared.manifests_to_load();
    let loaded: HashMap<_, _> = to_load
        .into_iter()
        .map(|path| (path.clone(), fetch(&path)))
        .collect();
    let count = loaded.len();
    Ok((prepared.finish(loaded, now_ms)?, count))
}

/// The version after `base` with more data files.
pub fn append(base: &TableState, added: &[DataFile], now_ms: i64) -> Result<Commit> {
    let changes = Changes {
        added_data: added.to_vec(),
        ..Default::default()
    };
    let fetch = |path: &str| panic!("an append loads {path}");
    let (commit, _) = commit_with(base, changes, &Policy::KEEP_EVERYTHING, now_ms, fetch)?;
    Ok(commit)
}

/// A file of a snapshot, as the iceberg crate sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveFile {
    pub content: FileContent,
    pub sequence_number: i64,
    pub record_count: u64,
    pub file_size: u64,
}

impl LiveFile {
    pub fn removed(&self, path: &str) -> RemovedFile {
        RemovedFile {
            path: path.to_owned(),
            content: self.content,
            sequence_number: self.sequence_number,
            record_count: self.record_count,
            file_size: self.file_size,
        }
    }
}

pub fn read_metadata(metadata_location: &str) -> TableMetadata {
    serde_json::from_slice(&fs::read(metadata_location).unwrap()).unwrap()
}

pub fn manifests(snapshot: &Snapshot) -> Vec<ManifestFile> {
    let list = fs::read(snapshot.manifest_list()).unwrap();
    let list = ManifestList::parse_with_version(&list, iceberg::spec::FormatVersion::V2).unwrap();
    list.consume_entries().into_iter().collect()
}

/// The entries of a manifest with what they inherit. What the manifest list says of it is checked.
pub fn entries(manifest: &ManifestFile) -> Rc<Vec<ManifestEntry>> {
    thread_local! {
        /// Manifests do not change, and most stay from commit to commit.
        static KNOWN: RefCell<HashMap<ManifestFile, Rc<Vec<ManifestEntry>>>> = RefCell::default();
    }
    let length = fs::metadata(&manifest.manifest_path).unwrap().len();
    assert_eq!(manifest.manifest_length as u64, length);
    if let Some(entries) = KNOWN.with_borrow(|known| known.get(manifest).cloned()) {
        return entries;
    }
    let entries = Rc::new(read_entries(manifest));
    KNOWN.with_borrow_mut(|known| known.insert(manifest.clone(), entries.clone()));
    entries
}

fn read_entries(manifest: &ManifestFile) -> Vec<ManifestEntry> {
    let loaded = block_on(manifest.load_manifest(&FileIO::new_with_fs())).unwrap();
    assert_eq!(*loaded.metadata().content(), manifest.content);
    let entries: Vec<ManifestEntry> = loaded
        .entries()
        .iter()
        .map(|entry| ManifestEntry::clone(entry))
        .collect();
    let count = |status| {
        let rows = entries.iter().filter(|entry| entry.status() == status);
        (
            rows.clone().count() as u32,
            rows.map(ManifestEntry::record_count).sum::<u64>(),
        )
    };
    let added = (manifest.added_files_count, manifest.added_rows_count);
    let existing = (manifest.existing_files_count, manifest.existing_rows_count);
    let deleted = (manifest.deleted_files_count, manifest.deleted_rows_count);
    for ((files, rows), status) in [
        (added, ManifestStatus::Added),
        (existing, ManifestStatus::Existing),
        (deleted, ManifestStatus::Deleted),
    ] {
        assert_eq!((files.unwrap(), rows.unwrap()), count(status), "{status:?}");
    }
    let lowest = entries.iter().filter(|entry| entry.is_alive());
    let lowest = lowest.map(|entry| entry.sequence_number().unwrap()).min();
    assert_eq!(
        manifest.min_sequence_number,
        lowest.unwrap_or(manifest.sequence_number)
    );
    entries
}

/// The live files of a snapshot by path.
pub fn live_files(snapshot: &Snapshot) -> BTreeMap<String, LiveFile> {
    let mut files = BTreeMap::new();
    for manifest in manifests(snapshot) {
        for entry in entries(&manifest).iter().filter(|entry| entry.is_alive()) {
            let is_data = entry.content_type() == DataContentType::Data;
            assert_eq!(is_data, manifest.content == ManifestContentType::Data);
            let file = LiveFile {
                content: match is_data {
                    true => FileContent::Data,
                    false => FileContent::PositionDeletes,
                },
                sequence_number: entry.sequence_number().unwrap(),
                record_count: entry.record_count(),
                file_size: entry.file_size_in_bytes(),
            };
            assert!(entry.snapshot_id().is_some());
            let previous = files.insert(entry.file_path().to_owned(), file);
            assert_eq!(previous, None, "{} is listed twice", entry.file_path());
        }
    }
    files
}

pub fn schema() -> TableSchema {
    let column = |field_id, name: &str, ty, required| Column {
        field_id,
        name: name.into(),
        ty,
        required,
    };
    let price = LakeType::Decimal {
        precision: 12,
        scale: 2,
    };
    TableSchema {
        columns: vec![
            column(1, "id", LakeType::Long, true),
            column(2, "tags", LakeType::list(3, LakeType::String), false),
            column(4, "price", price, false),
        ],
    }
}

pub fn data_path(number: i64) -> String {
    format!("/t/data/{number}.parquet")
}

pub fn delete_path(number: i64) -> String {
    format!("/t/data/{number}-deletes.parquet")
}

/// Data file `number` of ten rows.
pub fn data_file(number: i64) -> DataFile {
    DataFile {
        path: data_path(number),
        record_count: 10,
        file_size: 1000,
        columns: vec![
            ColumnStats {
                field_id: 1,
                value_count: Some(10),
                null_count: Some(0),
                column_size: Some(80),
                lower: Some((number * 10).to_string()),
                upper: Some((number * 10 + 9).to_string()),
                has_nan: None,
            },
            ColumnStats {
                field_id: 3,
                value_count: Some(12),
                null_count: Some(2),
                ..Default::default()
            },
        ],
    }
}

/// Delete file `number`, of two rows of data file `number`.
pub fn delete_file(number: i64) -> DeleteFile {
    DeleteFile {
        path: delete_path(number),
        record_count: 2,
        file_size: 300,
        data_file: data_path(number),
    }
}

/// A commit that adds these data files.
pub fn appended(files: &[DataFile]) -> Changes {
    Changes {
        added_data: files.to_vec(),
        ..Changes::default()
    }
}
