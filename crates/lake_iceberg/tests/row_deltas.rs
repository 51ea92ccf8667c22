//! Commits that add position deletes and remove files: what the manifests say afterwards.

// The helpers of the tests may fail loudly, too.
#![allow(clippy::unwrap_used)]

mod stored_table;

use std::collections::{BTreeMap, HashMap};
use std::fs;

use iceberg::spec::{Datum, ManifestContentType, ManifestFile, ManifestStatus};
use lake_iceberg::{
    Changes, ErrorKind, FileContent, Policy, RemovedFile, list_manifest_files, list_manifests,
    prepare,
};
use stored_table::{StoredTable, data_file, data_path, delete_file, delete_path, entries};

const FILE_PATH_FIELD_ID: i32 = 2_147_483_546;

fn is_deletes(manifest: &ManifestFile) -> bool {
    manifest.content == ManifestContentType::Deletes
}

fn counts(manifest: &ManifestFile) -> (u32, u32, u32) {
    (
        manifest.added_files_count.unwrap(),
        manifest.existing_files_count.unwrap(),
        manifest.deleted_files_count.unwrap(),
    )
}

#[test]
fn data_and_deletes_of_one_commit_have_its_sequence_number_and_manifests_of_their_own() {
    let mut table = StoredTable::create("delta");
    table.add_data([1]);
    table.commit(Changes {
        added_data: vec![data_file(2)],
        added_deletes: vec![delete_file(1), delete_file(2)],
        ..Default::default()
    });
    let live = table.live();
    let sequence_number = |path: String| live[&path].sequence_number;
    assert_eq!(sequence_number(data_path(1)), 1);
    assert_eq!(sequence_number(data_path(2)), 2);
    assert_eq!(sequence_number(delete_path(1)), 2);
    assert_eq!(sequence_number(delete_path(2)), 2);
    assert_eq!(live.len(), 4);
    let manifests = table.manifests();
    let contents: Vec<_> = manifests.iter().map(is_deletes).collect();
    assert_eq!(contents, [false, false, true]);
    assert_eq!(table.summary("operation").unwrap(), "overwrite");
    assert_eq!(table.summary("total-position-deletes").unwrap(), "4");
}

#[test]
fn a_delete_file_tells_its_data_file() {
    let mut table = StoredTable::create("referenced");
    table.add_data([1]);
    let commit = table.add_deletes([1]);
    assert_eq!(table.summary("operation").unwrap(), "delete");
    let manifest = table.manifests().into_iter().find(is_deletes).unwrap();
    let entry = &entries(&manifest)[0];
    let file = entry.data_file();
    let bounds = HashMap::from([(FILE_PATH_FIELD_ID, Datum::string(data_path(1)))]);
    assert_eq!(
        (file.lower_bounds(), file.upper_bounds()),
        (&bounds, &bounds)
    );
    assert_eq!(file.referenced_data_file(), Some(data_path(1)));
    assert_eq!(entry.record_count(), 2);

    let listed = list_manifests(&commit.objects[1].bytes).unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|manifest| manifest.holds_deletes)
            .collect::<Vec<_>>(),
        [false, true]
    );
    let files = list_manifest_files(&listed[1], &commit.objects[0].bytes).unwrap();
    assert_eq!(files[0].content, "POSITION_DELETES");
    assert_eq!(files[0].sequence_number, 2);
    assert_eq!(files[0].referenced_data_file, Some(data_path(1)));
}

#[test]
fn a_removed_file_is_deleted_and_the_others_of_its_manifest_exist() {
    let mut table = StoredTable::create("removed");
    let first_id = table.add_data([1, 2, 3]).state.snapshot_id().unwrap();
    table.add_data([4]);
    let before = table.manifests();
    let commit = table.commit(Changes {
        removed: vec![table.removed(&data_path(2))],
        ..Default::default()
    });
    assert_eq!(table.summary("operation").unwrap(), "delete");
    assert_eq!(table.summary("deleted-records").unwrap(), "10");
    assert_eq!(table.summary("total-data-files").unwrap(), "3");
    assert_eq!(commit.replaced_manifests, [before[0].manifest_path.clone()]);
    let manifests = table.manifests();
    assert_eq!(manifests.len(), 2);
    assert_eq!(manifests[0], before[1]);
    assert_eq!(counts(&manifests[1]), (0, 2, 1));
    assert_eq!(
        (
            manifests[1].sequence_number,
            manifests[1].min_sequence_number
        ),
        (3, 1)
    );
    for entry in entries(&manifests[1]).iter() {
        let is_removed = entry.file_path() == data_path(2);
        let (status, snapshot_id) = match is_removed {
            true => (ManifestStatus::Deleted, table.state.snapshot_id().unwrap()),
            false => (ManifestStatus::Existing, first_id),
        };
        assert_eq!(
            (entry.status(), entry.snapshot_id()),
            (status, Some(snapshot_id))
        );
        assert_eq!(
            (entry.sequence_number(), entry.file_sequence_number),
            (Some(1), Some(1))
        );
        // The statistics went along.
        let lower = entry.data_file().lower_bounds()[&1].clone();
        let number = if entry.file_path() == data_path(1) {
            1
        } else {
            3
        };
        assert!(is_removed || lower == Datum::long(number * 10));
    }
    // A second removal forgets of the first.
    table.commit(Changes {
        removed: vec![table.removed(&data_path(1))],
        ..Default::default()
    });
    assert_eq!(counts(table.manifests().last().unwrap()), (0, 1, 1));
    assert_eq!(
        table.live().into_keys().collect::<Vec<_>>(),
        [data_path(3), data_path(4)]
    );
}

#[test]
fn a_manifest_of_deleted_files_only_is_in_one_list() {
    let mut table = StoredTable::create("only-deleted");
    table.add_data([1]);
    table.add_data([2]);
    table.commit(Changes {
        removed: vec![table.removed(&data_path(1))],
        ..Default::default()
    });
    let rewritten = table.manifests().pop().unwrap();
    assert_eq!(counts(&rewritten), (0, 0, 1));
    table.reload();
    let commit = table.add_data([3]);
    assert_eq!(table.loaded, 0);
    assert_eq!(commit.replaced_manifests, [rewritten.manifest_path]);
    assert_eq!(table.manifests().len(), 2);
    assert_eq!(table.live().len(), 2);
}

#[test]
fn a_delete_file_that_is_replaced_over_and_over_has_one_manifest() {
    let mut table = StoredTable::create("replaced");
    table.add_data([1, 2]);
    table.add_deletes([1, 2]);
    for round in 3..10 {
        let mut larger = delete_file(1);
        larger.path = format!("/t/data/{round}-larger.parquet");
        let previous = match round {
            3 => delete_path(1),
            _ => format!("/t/data/{}-larger.parquet", round - 1),
        };
        let commit = table.commit(Changes {
            added_data: vec![data_file(round)],
            added_deletes: vec![larger],
            removed: vec![table.removed(&previous)],
            ..Default::default()
        });
        assert_eq!(table.loaded, 0);
        assert_eq!(commit.objects.len(), 4);
        assert_eq!(commit.replaced_manifests.len(), 1);
        let manifests = table.manifests();
        let deletes: Vec<_> = manifests
            .iter()
            .filter(|manifest| is_deletes(manifest))
            .collect();
        assert_eq!(deletes.len(), 1);
        assert_eq!(counts(deletes[0]), (1, 1, 1));
        assert_eq!(
            table.live()[&format!("/t/data/{round}-larger.parquet")].sequence_number,
            round
        );
        assert_eq!(table.summary("total-delete-files").unwrap(), "2");
        assert_eq!(table.summary("removed-delete-files").unwrap(), "1");
    }
}

#[test]
fn another_process_loads_only_manifests_that_may_list_the_removed_file() {
    let mut table = StoredTable::create("load");
    for number in 1..=5 {
        table.add_data([number]);
    }
    let removed = table.removed(&data_path(3));
    let path = table.manifests()[2].manifest_path.clone();
    table.reload();
    let changes = || Changes {
        added_data: vec![data_file(6)],
        removed: vec![removed.clone()],
        ..Default::default()
    };
    let prepared = prepare(&table.state, changes(), &Policy::KEEP_EVERYTHING).unwrap();
    assert_eq!(prepared.manifests_to_load(), std::slice::from_ref(&path));
    let error = prepared.finish(HashMap::new(), table.now_ms).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains(&path), "{error}");
    let commit = table.commit(changes());
    assert_eq!(table.loaded, 1);
    // The new file went into the manifest that was rewritten anyway.
    assert_eq!(commit.objects.len(), 3);
    assert_eq!(table.manifests().len(), 5);
    let live: Vec<_> = table.live().into_keys().collect();
    assert_eq!(live, [1, 2, 4, 5, 6].map(data_path));
    // What was loaded or written is known from now on.
    table.commit(Changes {
        removed: vec![table.removed(&data_path(6))],
        ..Default::default()
    });
    assert_eq!(table.loaded, 0);
}

#[test]
fn a_file_that_is_not_there_cannot_be_removed() {
    let mut table = StoredTable::create("not-there");
    table.add_data([1]);
    table.add_deletes([1]);
    let there = table.removed(&data_path(1));
    let wrong = [
        RemovedFile {
            path: data_path(7),
            ..there.clone()
        },
        RemovedFile {
            sequence_number: 2,
            ..there.clone()
        },
        RemovedFile {
            content: FileContent::PositionDeletes,
            ..there.clone()
        },
    ];
    for removed in wrong {
        let changes = Changes {
            removed: vec![removed.clone()],
            ..Default::default()
        };
        let error = table.try_commit(changes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(&removed.path), "{error}");
    }
    let changes = Changes {
        removed: vec![there.clone(), there.clone()],
        ..Default::default()
    };
    assert!(
        table
            .try_commit(changes)
            .unwrap_err()
            .message()
            .contains("twice")
    );
    table.commit(Changes {
        removed: vec![there.clone()],
        ..Default::default()
    });
    let again = Changes {
        removed: vec![there],
        ..Default::default()
    };
    assert_eq!(
        table.try_commit(again).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn all_files_can_be_removed_and_others_added() {
    let mut table = StoredTable::create("truncate");
    for number in 1..=20 {
        table.commit(Changes {
            added_data: vec![data_file(number)],
            added_deletes: vec![delete_file(number)],
            ..Default::default()
        });
    }
    let live = table.live();
    let removed = || live.iter().map(|(path, file)| file.removed(path)).collect();
    table.commit(Changes {
        removed: removed(),
        ..Default::default()
    });
    assert_eq!(table.live(), BTreeMap::new());
    for total in [
        "data-files",
        "records",
        "files-size",
        "delete-files",
        "position-deletes",
    ] {
        assert_eq!(
            table.summary(&format!("total-{total}")).unwrap(),
            "0",
            "{total}"
        );
    }
    table.add_data([99]);
    assert_eq!(table.manifests().len(), 1);
    assert_eq!(
        table.live().into_keys().collect::<Vec<_>>(),
        [data_path(99)]
    );
}

#[test]
fn a_compaction_replaces_files_by_others() {
    let mut table = StoredTable::create("compaction");
    table.add_data([1, 2, 3]);
    table.add_deletes([2]);
    let mut compacted = data_file(4);
    compacted.record_count = 18;
    table.commit(Changes {
        added_data: vec![compacted],
        removed: [data_path(1), data_path(2), delete_path(2)]
            .map(|path| table.removed(&path))
            .into(),
        is_rewrite: true,
        ..Default::default()
    });
    assert_eq!(table.summary("operation").unwrap(), "replace");
    assert_eq!(table.summary("total-records").unwrap(), "28");
    let live = table.live();
    assert_eq!(
        live.keys().cloned().collect::<Vec<_>>(),
        [data_path(3), data_path(4)]
    );
    assert_eq!(live[&data_path(4)].sequence_number, 3);
}

#[test]
fn a_damaged_manifest_is_told() {
    let mut table = StoredTable::create("damaged");
    table.add_data([1]);
    let manifest = table.manifests()[0].manifest_path.clone();
    let bytes = fs::read(&manifest).unwrap();
    let removed = table.removed(&data_path(1));
    table.reload();
    let prepared = || {
        let changes = Changes {
            removed: vec![removed.clone()],
            ..Default::default()
        };
        prepare(&table.state, changes, &Policy::KEEP_EVERYTHING).unwrap()
    };
    for length in [0, 100, bytes.len() - 1] {
        let loaded = HashMap::from([(manifest.clone(), bytes[..length].to_vec())]);
        let error = prepared().finish(loaded, table.now_ms).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidMetadata, "{length}");
        assert!(error.message().contains(&manifest), "{error}");
    }
    let loaded = HashMap::from([(manifest, bytes)]);
    prepared().finish(loaded, table.now_ms).unwrap();
}
