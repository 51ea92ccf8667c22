//! Tables are created and appended to; their metadata stays readable, for others and for us.

// The helpers of the tests may fail loudly, too.
#![allow(clippy::unwrap_used)]

mod stored_table;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use futures::executor::block_on;
use iceberg::io::FileIO;
use iceberg::spec::{Datum, TableMetadata};
use lake_iceberg::{
    Changes, ErrorKind, FileContent, TableSchema, TableState, create_table, list_manifest_files,
    list_manifests, list_snapshots,
};
use stored_table::{
    LiveFile, NOW, TableDirectory, append, appended, data_file, live_files, read_metadata, schema,
};

#[test]
fn a_new_table_without_rows_has_no_snapshot_and_the_given_field_ids() {
    let directory = TableDirectory::new("empty");
    let location = format!("{}/", directory.location());
    let commit = create_table(&location, &schema(), Changes::default(), NOW).unwrap();
    directory.store(&commit);
    assert_eq!(commit.objects.len(), 1);
    let metadata = read_metadata(commit.state.metadata_location());
    assert!(metadata.current_snapshot().is_none());
    assert_eq!(metadata.location(), directory.location());
    assert_eq!(metadata.last_column_id(), 4);
    assert_eq!(metadata.last_updated_ms(), NOW);
    assert_eq!(
        TableSchema::from_iceberg(metadata.current_schema()).unwrap(),
        schema()
    );
    let state = directory.load(commit.state.metadata_location());
    assert_eq!(
        (state.manifest_list_location(), state.snapshot_id()),
        (None, None)
    );
    assert_eq!(state.schema().unwrap(), schema());
}

#[test]
fn a_table_created_with_rows_has_one_snapshot_in_its_first_metadata_file() {
    let directory = TableDirectory::new("ctas");
    let commit = create_table(
        directory.location(),
        &schema(),
        appended(&[data_file(0), data_file(1)]),
        NOW,
    )
    .unwrap();
    directory.store(&commit);
    let metadata = read_metadata(commit.state.metadata_location());
    assert!(
        commit
            .state
            .metadata_location()
            .contains("/metadata/00000-")
    );
    assert_eq!(metadata.metadata_log(), []);
    assert_eq!(live_files(metadata.current_snapshot().unwrap()).len(), 2);
    assert_eq!(metadata.current_snapshot().unwrap().sequence_number(), 1);
}

#[test]
fn appends_add_files_and_keep_history() {
    let directory = TableDirectory::new("appends");
    let mut commit =
        create_table(directory.location(), &schema(), Changes::default(), NOW).unwrap();
    directory.store(&commit);
    for number in 1..=5 {
        // Every other commit comes from a process that has only the files.
        let base = match number % 2 {
            0 => directory.load(commit.state.metadata_location()),
            _ => commit.state.clone(),
        };
        commit = append(&base, &[data_file(number)], NOW + number).unwrap();
        directory.store(&commit);
    }
    let metadata = read_metadata(commit.state.metadata_location());
    assert!(
        commit
            .state
            .metadata_location()
            .contains("/metadata/00005-")
    );
    let file = |sequence_number| LiveFile {
        content: FileContent::Data,
        sequence_number,
        record_count: 10,
        file_size: 1000,
    };
    let expected = (1..=5)
        .map(|number| (data_file(number).path, file(number)))
        .collect();
    assert_eq!(live_files(metadata.current_snapshot().unwrap()), expected);
    assert_eq!(metadata.snapshots().len(), 5);
    assert_eq!(metadata.history().len(), 5);
    assert_eq!(metadata.metadata_log().len(), 5);
    assert!(
        metadata
            .metadata_log()
            .iter()
            .all(|entry| Path::new(&entry.metadata_file).exists())
    );
    assert_eq!(metadata.last_sequence_number(), 5);
    assert_eq!(commit.state.sequence_number(), 5);
    let current = metadata.current_snapshot().unwrap();
    assert_eq!(current.timestamp_ms(), NOW + 5);
    assert_eq!(current.schema_id(), Some(0));
    assert_eq!(
        current.summary().additional_properties["total-records"],
        "50"
    );
    assert_eq!(
        current.summary().additional_properties["added-records"],
        "10"
    );
    let parent = metadata
        .snapshot_by_id(current.parent_snapshot_id().unwrap())
        .unwrap();
    assert_eq!(parent.sequence_number(), 4);
    let ids: BTreeSet<i64> = metadata
        .snapshots()
        .map(|snapshot| snapshot.snapshot_id())
        .collect();
    assert!(ids.len() == 5 && ids.iter().all(|id| *id > 0));
}

#[test]
fn the_same_next_version_comes_from_memory_and_from_the_files() {
    let directory = TableDirectory::new("same");
    let commit = create_table(
        directory.location(),
        &schema(),
        appended(&[data_file(0)]),
        NOW,
    )
    .unwrap();
    directory.store(&commit);
    let loaded = directory.load(commit.state.metadata_location());
    let next = append(&loaded, &[data_file(1)], NOW).unwrap();
    directory.store(&next);
    let reloaded = directory.load(next.state.metadata_location());
    let last = append(&reloaded, &[data_file(2)], NOW).unwrap();
    directory.store(&last);
    let metadata = read_metadata(last.state.metadata_location());
    let io = FileIO::new_with_fs();
    let through_crate = block_on(TableMetadata::read_from(
        &io,
        last.state.metadata_location(),
    ))
    .unwrap();
    assert_eq!(metadata, through_crate);
    assert_eq!(live_files(metadata.current_snapshot().unwrap()).len(), 3);
}

#[test]
fn statistics_reach_the_manifest() {
    let directory = TableDirectory::new("statistics");
    let commit = create_table(
        directory.location(),
        &schema(),
        appended(&[data_file(7)]),
        NOW,
    )
    .unwrap();
    directory.store(&commit);
    let manifest = &commit.objects[0];
    let parsed = iceberg::spec::Manifest::parse_avro(&manifest.bytes).unwrap();
    let data_file = parsed.entries()[0].data_file().clone();
    assert_eq!(
        data_file.lower_bounds(),
        &HashMap::from([(1, Datum::long(70))])
    );
    assert_eq!(
        data_file.upper_bounds(),
        &HashMap::from([(1, Datum::long(79))])
    );
    assert_eq!(data_file.value_counts(), &HashMap::from([(1, 10), (3, 12)]));
    assert_eq!(
        data_file.null_value_counts(),
        &HashMap::from([(1, 0), (3, 2)])
    );
    assert_eq!(data_file.column_sizes(), &HashMap::from([(1, 80)]));
}

#[test]
fn inspection_lists_snapshots_manifests_and_files() {
    let directory = TableDirectory::new("inspection");
    let first = create_table(
        directory.location(),
        &schema(),
        appended(&[data_file(0)]),
        NOW,
    )
    .unwrap();
    let second = append(&first.state, &[data_file(1)], NOW + 1).unwrap();
    let snapshots = list_snapshots(&second.objects[2].bytes).unwrap();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(
        (snapshots[0].sequence_number, snapshots[1].sequence_number),
        (1, 2)
    );
    assert_eq!(snapshots[1].manifest_list, second.objects[1].path);
    let manifests = list_manifests(&second.objects[1].bytes).unwrap();
    let paths: Vec<_> = manifests
        .iter()
        .map(|manifest| &manifest.manifest_path)
        .collect();
    assert_eq!(paths, [&first.objects[0].path, &second.objects[0].path]);
    assert_eq!(
        (manifests[0].sequence_number, manifests[1].sequence_number),
        (1, 2)
    );
    let files = list_manifest_files(&manifests[1], &second.objects[0].bytes).unwrap();
    assert_eq!(
        (files[0].content, files[0].file_format.as_str()),
        ("DATA", "PARQUET")
    );
    assert_eq!(
        (files[0].file_path.as_str(), files[0].record_count),
        ("/t/data/1.parquet", 10)
    );
    assert_eq!(
        (files[0].sequence_number, &files[0].referenced_data_file),
        (2, &None)
    );
}

#[test]
fn time_does_not_run_backwards() {
    let first = create_table("/t", &schema(), appended(&[data_file(0)]), NOW).unwrap();
    let second = append(&first.state, &[data_file(1)], NOW - 3_600_000).unwrap();
    assert_eq!(second.state.last_updated_ms(), NOW);
}

#[test]
fn the_metadata_log_is_bounded_and_the_property_is_respected() {
    let mut state = create_table("/t", &schema(), Changes::default(), NOW)
        .unwrap()
        .state;
    for number in 0..105 {
        state = append(&state, &[data_file(number)], NOW).unwrap().state;
    }
    let json = append(&state, &[data_file(200)], NOW)
        .unwrap()
        .objects
        .remove(2)
        .bytes;
    let mut document: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let length = document["metadata-log"].as_array().unwrap().len();
    assert!((75..=100).contains(&length), "{length}");
    document["properties"]["write.metadata.previous-versions-max"] = "3".into();
    document["something-new"] = serde_json::json!({"a": [1, "]"]});
    let state = reload(&state, &document);
    let json = append(&state, &[data_file(201)], NOW)
        .unwrap()
        .objects
        .remove(2)
        .bytes;
    let metadata: TableMetadata = serde_json::from_slice(&json).unwrap();
    assert_eq!(metadata.metadata_log().len(), 3);
    assert_eq!(
        metadata.metadata_log()[2].metadata_file,
        state.metadata_location()
    );
    let document: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(document["something-new"]["a"][1], "]");
}

/// `document` as a version of its own, with the manifest list of `like`'s successor.
fn reload(like: &TableState, document: &serde_json::Value) -> TableState {
    let bytes = serde_json::to_vec_pretty(document).unwrap();
    let state = TableState::from_metadata("/t/metadata/00200-x.metadata.json", &bytes).unwrap();
    let list = append(like, &[data_file(200)], NOW)
        .unwrap()
        .objects
        .remove(1)
        .bytes;
    state.with_manifest_list(list).unwrap()
}

#[test]
fn a_rolled_back_table_is_continued_from_its_current_snapshot() {
    let first = create_table("/t", &schema(), appended(&[data_file(0)]), NOW).unwrap();
    let second = append(&first.state, &[data_file(1)], NOW).unwrap();
    let mut document: serde_json::Value = serde_json::from_slice(&second.objects[2].bytes).unwrap();
    let first_id = first.state.snapshot_id().unwrap();
    document["current-snapshot-id"] = first_id.into();
    document["refs"]["main"]["snapshot-id"] = first_id.into();
    document["refs"]["main"]["min-snapshots-to-keep"] = 7.into();
    let bytes = document.to_string();
    let state = TableState::from_metadata("/t/metadata/00002-x.metadata.json", bytes.as_bytes());
    let state = state
        .unwrap()
        .with_manifest_list(first.objects[1].bytes.clone())
        .unwrap();
    let third = append(&state, &[data_file(2)], NOW).unwrap();
    let metadata: TableMetadata = serde_json::from_slice(&third.objects[2].bytes).unwrap();
    let current = metadata.current_snapshot().unwrap();
    assert_eq!(current.parent_snapshot_id(), Some(first_id));
    assert_eq!(current.sequence_number(), 3);
    assert_eq!(
        current.summary().additional_properties["total-data-files"],
        "2"
    );
    assert_eq!(list_manifests(&third.objects[1].bytes).unwrap().len(), 2);
    let document: serde_json::Value = serde_json::from_slice(&third.objects[2].bytes).unwrap();
    assert_eq!(document["refs"]["main"]["min-snapshots-to-keep"], 7);
}

#[test]
fn misuse_and_damage_are_told_apart() {
    let first = create_table("/t", &schema(), appended(&[data_file(0)]), NOW).unwrap();
    let metadata = &first.objects[2];
    assert_eq!(
        append(&first.state, &[], NOW).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let state = TableState::from_metadata(&metadata.path, &metadata.bytes).unwrap();
    assert_eq!(
        state.manifest_list_to_load(),
        Some(first.objects[1].path.as_str())
    );
    let error = append(&state, &[data_file(1)], NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let cut = first.objects[1].bytes[..100].to_vec();
    assert_eq!(
        state.with_manifest_list(cut).unwrap_err().kind(),
        ErrorKind::InvalidMetadata
    );
    let cut = &metadata.bytes[..metadata.bytes.len() - 1];
    let error = TableState::from_metadata(&metadata.path, cut).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidMetadata);
    assert!(error.message().contains(&metadata.path), "{error}");
    let mut document: serde_json::Value = serde_json::from_slice(&metadata.bytes).unwrap();
    document["format-version"] = 3.into();
    let error = TableState::from_metadata("x", document.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_state_can_be_shared_between_threads() {
    fn assert_shareable<T: Send + Sync + 'static>(_: Arc<T>) {}
    let state = create_table("/t", &schema(), Changes::default(), NOW)
        .unwrap()
        .state;
    assert_shareable(Arc::new(state));
}
