//! Small manifests become few, and no manifest is written over and over.

// The helpers of the tests may fail loudly, too.
#![allow(clippy::unwrap_used)]

mod stored_table;

use std::collections::HashMap;

use iceberg::spec::{ManifestContentType, ManifestStatus};
use lake_iceberg::{Changes, FileContent, Policy, RemovedFile};
use stored_table::{StoredTable, data_file, data_path, delete_file, delete_path, entries};

fn merging(min_count: usize, target: u64) -> Policy {
    Policy {
        manifest_min_count_to_merge: min_count,
        target_manifest_bytes: target,
        ..Policy::KEEP_EVERYTHING
    }
}

const LARGE: u64 = 8 * 1024 * 1024;

#[test]
fn small_manifests_are_merged_with_the_commit_that_makes_them_too_many() {
    let mut table = StoredTable::create("merge");
    table.policy = merging(5, LARGE);
    for number in 1..=4 {
        table.add_data([number]);
    }
    let before = table.manifests();
    assert_eq!(before.len(), 4);
    let snapshot_ids: HashMap<String, i64> = before
        .iter()
        .flat_map(|manifest| entries(manifest).to_vec())
        .map(|entry| (entry.file_path().to_owned(), entry.snapshot_id().unwrap()))
        .collect();
    let commit = table.add_data([5]);
    assert_eq!(table.loaded, 0);
    // The manifest, the list, the metadata.
    assert_eq!(commit.objects.len(), 3);
    let mut replaced = commit.replaced_manifests.clone();
    replaced.sort();
    let mut expected: Vec<_> = before
        .into_iter()
        .map(|manifest| manifest.manifest_path)
        .collect();
    expected.sort();
    assert_eq!(replaced, expected);
    let manifests = table.manifests();
    assert_eq!(manifests.len(), 1);
    let merged = &manifests[0];
    assert_eq!(
        (merged.added_files_count, merged.existing_files_count),
        (Some(1), Some(4))
    );
    for entry in entries(merged).iter() {
        match snapshot_ids.get(entry.file_path()) {
            Some(snapshot_id) => {
                assert_eq!(entry.status(), ManifestStatus::Existing);
                assert_eq!(entry.snapshot_id(), Some(*snapshot_id));
            }
            None => assert_eq!(entry.status(), ManifestStatus::Added),
        }
    }
    let live = table.live();
    for number in 1..=5 {
        assert_eq!(live[&data_path(number)].sequence_number, number);
    }
    assert_eq!(table.summary("operation").unwrap(), "append");
}

#[test]
fn another_process_loads_what_it_merges() {
    let mut table = StoredTable::create("merge-load");
    table.policy = merging(3, LARGE);
    table.add_data([1]);
    table.add_data([2]);
    table.reload();
    table.add_data([3]);
    assert_eq!((table.loaded, table.manifests().len()), (2, 1));
    assert_eq!(table.live().len(), 3);
}

#[test]
fn data_and_deletes_are_merged_apart_and_counted_apart() {
    let mut table = StoredTable::create("merge-apart");
    table.policy = merging(4, LARGE);
    table.add_data([1, 2, 3, 4]);
    for number in 1..=3 {
        table.add_deletes([number]);
    }
    assert_eq!(table.manifests().len(), 4);
    table.add_deletes([4]);
    let contents: Vec<_> = table
        .manifests()
        .iter()
        .map(|manifest| manifest.content)
        .collect();
    assert_eq!(
        contents,
        [ManifestContentType::Data, ManifestContentType::Deletes]
    );
    assert_eq!(table.live().len(), 8);
}

#[test]
fn a_merge_leaves_out_what_was_removed_before_and_tells_what_is_removed_now() {
    let mut table = StoredTable::create("merge-removed");
    table.policy = merging(3, LARGE);
    table.add_data([1, 2]);
    let removed = table.removed(&data_path(1));
    table.commit(Changes {
        removed: vec![removed],
        ..Default::default()
    });
    table.add_data([3, 4]);
    let commit = table.commit(Changes {
        added_data: vec![data_file(5)],
        added_deletes: vec![delete_file(3)],
        removed: vec![table.removed(&data_path(2))],
        ..Default::default()
    });
    // Two manifests are not too many yet: one was rewritten, with the new file in it.
    assert_eq!(commit.replaced_manifests.len(), 1);
    table.add_data([6]);
    let manifests = table.manifests_of(ManifestContentType::Data);
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].deleted_files_count, Some(0));
    let live: Vec<_> = table.live().into_keys().collect();
    let expected = [
        data_path(3),
        delete_path(3),
        data_path(4),
        data_path(5),
        data_path(6),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(live, expected);
}

#[test]
fn rewritten_small_manifests_become_one() {
    let mut table = StoredTable::create("merge-rewritten");
    table.policy = merging(100, LARGE);
    for number in 0..10 {
        table.add_data([2 * number, 2 * number + 1]);
    }
    let removed = [0, 6, 12].map(|number| table.removed(&data_path(number)));
    let commit = table.commit(Changes {
        removed: removed.to_vec(),
        ..Default::default()
    });
    assert_eq!(commit.replaced_manifests.len(), 3);
    let manifests = table.manifests();
    assert_eq!(manifests.len(), 8);
    let last = manifests.last().unwrap();
    assert_eq!(
        (last.existing_files_count, last.deleted_files_count),
        (Some(3), Some(3))
    );
    assert_eq!(table.live().len(), 17);
}

#[test]
fn merged_manifests_are_of_about_the_target_size_and_then_stay() {
    let mut table = StoredTable::create("merge-target");
    // About 60 entries on top of the header.
    let target = 15_000;
    table.policy = merging(4, target);
    let mut sizes = HashMap::new();
    let mut written = 0;
    for commit_number in 0..60 {
        let commit = table.add_data(commit_number * 5..commit_number * 5 + 5);
        written += commit.objects.len() - 2;
        for manifest in table.manifests() {
            let size = manifest.manifest_length as u64;
            if size >= target {
                sizes.insert(manifest.manifest_path, size);
            }
        }
    }
    assert_eq!(table.live().len(), 300);
    let manifests = table.manifests();
    let full = manifests
        .iter()
        .filter(|manifest| manifest.manifest_length as u64 >= target);
    // Once of the target size, a manifest stays.
    assert_eq!(full.count(), sizes.len());
    assert!(sizes.len() >= 2, "{sizes:?}");
    assert!(
        sizes.values().all(|size| *size < target + 1000),
        "{sizes:?}"
    );
    assert!(manifests.len() <= sizes.len() + 4);
    assert!(written <= 70, "{written}");
}

#[test]
fn a_manifest_much_larger_than_all_others_together_waits() {
    let mut table = StoredTable::create("merge-waits");
    table.policy = merging(3, LARGE);
    table.add_data(1..=300);
    let large = table.manifests()[0].clone();
    for number in 301..=310 {
        table.add_data([number]);
        assert_eq!(table.manifests()[0], large);
        assert!(table.manifests().len() <= 4, "{}", table.manifests().len());
    }
    assert_eq!(table.live().len(), 310);
}

#[test]
fn merging_costs_a_small_multiple_of_what_is_written_without_it() {
    let bytes_written = |name, policy, commits| {
        let mut table = StoredTable::create(name);
        table.policy = policy;
        table.policy.retention.max_snapshots = 10;
        let mut bytes = 0;
        for number in 0..commits {
            let commit = table.add_data([number]);
            let manifests = &commit.objects[..commit.objects.len() - 2];
            bytes += manifests
                .iter()
                .map(|manifest| manifest.bytes.len())
                .sum::<usize>();
        }
        assert_eq!(table.live().len(), commits as usize);
        (bytes, table.manifests().len())
    };
    let (plain, count) = bytes_written("merge-plain", Policy::KEEP_EVERYTHING, 250);
    assert_eq!(count, 250);
    let (merged, count) = bytes_written("merge-cost", merging(10, LARGE), 250);
    assert!(count <= 15, "{count}");
    assert!(merged < 3 * plain, "{merged} after {plain}");
}

#[test]
fn manifests_of_delete_files_stay_so_small_that_they_are_kept() {
    let mut table = StoredTable::create("merge-deletes");
    table.policy = merging(10, LARGE);
    table.policy.retention.max_snapshots = 5;
    let targets = 1000;
    table.add_data(0..targets);
    let version = |number: i64, round: i64| {
        let mut file = delete_file(number);
        file.path = format!("/t/data/{number}-deletes-{round}.parquet");
        file
    };
    for batch in 0..targets / 50 {
        table.commit(Changes {
            added_deletes: (50 * batch..50 * batch + 50)
                .map(|n| version(n, 0))
                .collect(),
            ..Default::default()
        });
    }
    let mut sequence_numbers: HashMap<i64, (i64, i64)> =
        (0..targets).map(|n| (n, (0, 2 + n / 50))).collect();
    let mut bytes = 0;
    for round in 1..=300 {
        // Two files, far from each other, each commit.
        let changed = [round * 7 % 500, 500 + round * 13 % 500];
        let mut changes = Changes::default();
        for number in changed {
            let (previous, sequence_number) = sequence_numbers[&number];
            changes.added_deletes.push(version(number, round));
            changes.removed.push(RemovedFile {
                path: version(number, previous).path,
                content: FileContent::PositionDeletes,
                sequence_number,
                record_count: 2,
                file_size: 300,
            });
        }
        let commit = table.commit(changes);
        for number in changed {
            sequence_numbers.insert(number, (round, table.state.sequence_number()));
        }
        let manifests = &commit.objects[..commit.objects.len() - 2];
        bytes += manifests
            .iter()
            .map(|manifest| manifest.bytes.len())
            .sum::<usize>();
        assert_eq!(table.loaded, 0);
    }
    let deletes = table.manifests_of(ManifestContentType::Deletes);
    assert!(deletes.len() < 15, "{}", deletes.len());
    assert!(
        deletes
            .iter()
            .all(|manifest| manifest.manifest_length <= 64 * 1024)
    );
    assert!(bytes / 300 < 100 * 1024, "{bytes}");
    assert_eq!(table.live().len() as i64, 2 * targets);
}

#[test]
fn nothing_is_merged_when_the_policy_says_never() {
    for min_count in [0, 1] {
        let mut table = StoredTable::create(&format!("merge-never-{min_count}"));
        table.policy = merging(min_count, LARGE);
        for number in 1..=6 {
            table.add_data([number]);
        }
        assert_eq!(table.manifests().len(), 6);
    }
}
