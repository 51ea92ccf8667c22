//! Old snapshots and log entries go, and it is told which objects nothing refers to any more.

// The helpers of the tests may fail loudly, too.
#![allow(clippy::unwrap_used)]

mod stored_table;

use std::collections::BTreeSet;

use lake_iceberg::{
    Changes, Commit, ExpireWhen, Policy, Retention, TableState, expire, list_snapshots,
};
use serde_json::{Value, json};
use stored_table::{StoredTable, data_path};

const FOR_EVER: i64 = i64::MAX;

fn retention(max_snapshots: usize, max_snapshot_age_ms: i64, when: ExpireWhen) -> Retention {
    Retention {
        max_snapshot_age_ms,
        max_snapshots,
        when,
    }
}

fn with_retention(retention: Retention) -> Policy {
    Policy {
        retention,
        ..Policy::KEEP_EVERYTHING
    }
}

/// Sequence numbers of the snapshots that a table has.
fn snapshots(table: &StoredTable) -> Vec<i64> {
    let bytes = std::fs::read(table.state.metadata_location()).unwrap();
    let snapshots = list_snapshots(&bytes).unwrap();
    snapshots
        .iter()
        .map(|snapshot| snapshot.sequence_number)
        .collect()
}

fn metadata_json(commit: &Commit) -> Value {
    serde_json::from_slice(&commit.objects.last().unwrap().bytes).unwrap()
}

/// A table's metadata, edited by `edit`, as a version of its own.
fn edited(table: &StoredTable, edit: impl FnOnce(&mut Value)) -> TableState {
    let location = table.state.metadata_location();
    let mut document = serde_json::from_slice(&std::fs::read(location).unwrap()).unwrap();
    edit(&mut document);
    let location = format!(
        "{}/metadata/09000-edited.metadata.json",
        table.directory.location()
    );
    std::fs::write(&location, document.to_string()).unwrap();
    table.directory.load(&location)
}

#[test]
fn too_many_snapshots_are_removed_a_quarter_at_a_time() {
    let mut table = StoredTable::create("expire-count");
    table.policy = with_retention(retention(8, FOR_EVER, ExpireWhen::Excess));
    let mut lists = Vec::new();
    let mut batches = Vec::new();
    for number in 1..=30 {
        let commit = table.add_data([number]);
        lists.push(commit.objects[1].path.clone());
        let kept = snapshots(&table);
        assert!(kept.len() <= 10 && kept.contains(&number));
        assert_eq!(table.state.oldest_sequence_number(), kept[0]);
        // Unbroken, up to the current one.
        assert_eq!(kept.len() as i64, number - kept[0] + 1);
        let expired: BTreeSet<_> = commit.expired_objects.into_iter().collect();
        let expected: BTreeSet<_> = lists[..kept[0] as usize - 1]
            .iter()
            .filter(|list| expired.contains(*list))
            .cloned()
            .collect();
        assert_eq!(expired, expected);
        if !expired.is_empty() {
            batches.push(expired.len());
        }
        // Read by the iceberg crate, which checks what belongs together.
        let metadata = table.metadata();
        assert_eq!(metadata.history().len(), kept.len());
    }
    assert_eq!(batches, [3; 7]);
    assert_eq!(table.live().len(), 30);
}

#[test]
fn every_expired_manifest_list_is_told_once() {
    let mut table = StoredTable::create("expire-once");
    table.policy = with_retention(retention(4, FOR_EVER, ExpireWhen::Excess));
    let mut lists = BTreeSet::new();
    for number in 1..=20 {
        let commit = table.add_data([number]);
        lists.insert(commit.objects[1].path.clone());
        for object in commit.expired_objects {
            assert!(lists.remove(&object), "{object}");
        }
        let kept: BTreeSet<_> = table
            .metadata()
            .snapshots()
            .map(|snapshot| snapshot.manifest_list().to_owned())
            .collect();
        assert_eq!(kept, lists);
    }
}

#[test]
fn an_age_of_zero_leaves_the_current_snapshot() {
    let mut table = StoredTable::create("expire-zero");
    table.add_data([1]);
    table.add_data([2]);
    table.policy = with_retention(retention(100, 0, ExpireWhen::Excess));
    let commit = table.add_data([3]);
    assert_eq!(commit.expired_objects.len(), 2);
    assert_eq!(snapshots(&table), [3]);
    // Also if the clock has been set back.
    table.now_ms -= 1_000_000;
    table.add_data([4]);
    assert_eq!(snapshots(&table), [4]);
    let metadata = table.metadata();
    assert!(
        metadata
            .current_snapshot()
            .unwrap()
            .parent_snapshot_id()
            .is_some()
    );
    assert_eq!(table.live().len(), 4);
}

#[test]
fn age_alone_does_not_make_a_commit_expire_snapshots_but_expire_does() {
    let mut table = StoredTable::create("expire-age");
    table.policy = with_retention(retention(100, 2500, ExpireWhen::Excess));
    for number in 1..=6 {
        table.add_data([number]);
    }
    assert_eq!(snapshots(&table), [1, 2, 3, 4, 5, 6]);
    let always = retention(100, 2500, ExpireWhen::Always);
    let commit = expire(&table.state, &always, table.now_ms)
        .unwrap()
        .unwrap();
    table.directory.store(&commit);
    let previous = table.state.metadata_location().to_owned();
    assert!(
        commit
            .state
            .metadata_location()
            .contains("/metadata/00007-")
    );
    assert_eq!(commit.state.snapshot_id(), table.state.snapshot_id());
    assert_eq!(
        (commit.objects.len(), commit.replaced_manifests.len()),
        (1, 0)
    );
    assert_eq!(commit.expired_objects.len(), 3);
    table.state = commit.state;
    assert_eq!(snapshots(&table), [4, 5, 6]);
    let log = table.metadata().metadata_log().to_vec();
    assert_eq!(log.last().unwrap().metadata_file, previous);
    assert!(
        expire(&table.state, &always, table.now_ms)
            .unwrap()
            .is_none()
    );
    // The next commit builds on it, without loading anything.
    let removed = table.removed(&data_path(1));
    table.commit(Changes {
        removed: vec![removed],
        ..Default::default()
    });
    assert_eq!((table.loaded, table.live().len()), (0, 5));
    assert_eq!(table.state.sequence_number(), 7);
}

#[test]
fn a_table_that_was_only_read_can_expire_snapshots() {
    let mut table = StoredTable::create("expire-read");
    for number in 1..=3 {
        table.add_data([number]);
    }
    let location = table.state.metadata_location();
    let state = TableState::from_metadata(location, &std::fs::read(location).unwrap()).unwrap();
    let always = retention(1, FOR_EVER, ExpireWhen::Always);
    let commit = expire(&state, &always, table.now_ms).unwrap().unwrap();
    assert_eq!(commit.state.oldest_sequence_number(), 3);
    assert!(commit.state.manifest_list_to_load().is_some());
    let empty = StoredTable::create("expire-empty").state;
    assert!(expire(&empty, &always, table.now_ms).unwrap().is_none());
    assert_eq!(empty.oldest_sequence_number(), 0);
}

#[test]
fn what_a_branch_or_tag_points_to_stays() {
    let mut table = StoredTable::create("expire-refs");
    for number in 1..=6 {
        table.add_data([number]);
    }
    let id_of = |sequence_number| {
        let metadata = table.metadata();
        let mut snapshots = metadata.snapshots();
        let found = snapshots.find(|snapshot| snapshot.sequence_number() == sequence_number);
        found.unwrap().snapshot_id()
    };
    let (tagged, branched) = (id_of(2), id_of(4));
    let state = edited(&table, |document| {
        document["refs"]["audit"] = json!({"snapshot-id": tagged, "type": "tag"});
        document["refs"]["work"] = json!({"snapshot-id": branched, "type": "branch"});
    });
    table.state = state;
    table.policy = with_retention(retention(1, FOR_EVER, ExpireWhen::Always));
    let commit = table.add_data([7]);
    assert_eq!(snapshots(&table), [2, 4, 7]);
    assert_eq!(commit.expired_objects.len(), 4);
    assert_eq!(table.state.oldest_sequence_number(), 2);
    let metadata = table.metadata();
    assert_eq!(
        metadata.snapshot_for_ref("audit").unwrap().snapshot_id(),
        tagged
    );
    // The entries before one that is gone are gone, too.
    assert_eq!(metadata.history().len(), 1);
}

#[test]
fn statistics_of_expired_snapshots_go() {
    let mut table = StoredTable::create("expire-statistics");
    for number in 1..=3 {
        table.add_data([number]);
    }
    let ids: Vec<i64> = {
        let metadata = table.metadata();
        let mut snapshots: Vec<_> = metadata.snapshots().collect();
        snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
        snapshots
            .iter()
            .map(|snapshot| snapshot.snapshot_id())
            .collect()
    };
    let statistics = |place: usize, path: &str| {
        json!({"snapshot-id": ids[place], "statistics-path": path, "file-size-in-bytes": 10,
            "file-footer-size-in-bytes": 5, "blob-metadata": []})
    };
    table.state = edited(&table, |document| {
        document["statistics"] =
            json!([statistics(0, "a"), statistics(1, "b"), statistics(2, "b")]);
        document["partition-statistics"] = json!([
            {"snapshot-id": ids[0], "statistics-path": "p", "file-size-in-bytes": 10}]);
    });
    table.policy = with_retention(retention(2, FOR_EVER, ExpireWhen::Always));
    let commit = table.add_data([4]);
    let document = metadata_json(&commit);
    assert_eq!(document["statistics"].as_array().unwrap().len(), 1);
    assert_eq!(document["statistics"][0]["snapshot-id"], ids[2]);
    assert_eq!(document.get("partition-statistics"), None);
    let expired: BTreeSet<_> = commit.expired_objects.iter().map(String::as_str).collect();
    assert!(expired.contains("a") && expired.contains("p") && !expired.contains("b"));
    assert_eq!(table.metadata().snapshots().len(), 2);
}

#[test]
fn metadata_files_drop_out_of_the_log_in_batches() {
    let mut table = StoredTable::create("expire-log");
    table.state = edited(&table, |document| {
        document["properties"]["write.metadata.previous-versions-max"] = "8".into();
    });
    let mut files = vec![table.state.metadata_location().to_owned()];
    let mut batches = Vec::new();
    for number in 1..=20 {
        let commit = table.add_data([number]);
        let log = table.metadata().metadata_log().to_vec();
        assert!((6..=8).contains(&log.len()) || number < 6, "{}", log.len());
        if !commit.expired_objects.is_empty() {
            batches.push(commit.expired_objects.len());
        }
        let in_log: Vec<_> = log.into_iter().map(|entry| entry.metadata_file).collect();
        files.retain(|file| !commit.expired_objects.contains(file));
        assert!(files.ends_with(&in_log));
        files.push(table.state.metadata_location().to_owned());
    }
    assert_eq!(batches, [3; 4]);
}

#[test]
fn metadata_does_not_grow_without_end() {
    let mut table = StoredTable::create("expire-size");
    table.policy = Policy {
        manifest_min_count_to_merge: 10,
        ..with_retention(retention(10, FOR_EVER, ExpireWhen::Excess))
    };
    let mut largest = 0;
    for number in 1..=300 {
        let commit = table.add_data([number]);
        let metadata = commit.objects.last().unwrap();
        if number > 125 {
            assert!(
                metadata.bytes.len() * 10 <= largest * 11,
                "{}",
                metadata.bytes.len()
            );
        } else {
            largest = largest.max(metadata.bytes.len());
        }
    }
}
