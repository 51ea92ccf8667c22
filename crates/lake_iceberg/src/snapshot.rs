//! A snapshot as metadata.json holds it, and its summary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::data_file::DataFile;

/// One entry of metadata.json's `snapshots` (Iceberg spec, "Snapshots").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Snapshot {
    pub(crate) snapshot_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_snapshot_id: Option<i64>,
    pub(crate) sequence_number: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) manifest_list: String,
    #[serde(default)]
    pub(crate) summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema_id: Option<i32>,
}

/// A snapshot's summary: `operation` and counters, all as strings.
pub(crate) type Summary = BTreeMap<String, String>;

/// Totals that an append leaves as they are.
const UNCHANGED_TOTALS: [&str; 3] = [
    "total-delete-files",
    "total-position-deletes",
    "total-equality-deletes",
];

/// The summary of an append (Iceberg spec, "Optional Snapshot Summary Fields"). A total that the
/// parent does not have is not known, and left out.
pub(crate) fn append_summary(parent: Option<&Snapshot>, added: &[DataFile]) -> Summary {
    let parent_total = |name: &str| match parent {
        None => Some(0),
        Some(parent) => parent.summary.get(name)?.parse::<u64>().ok(),
    };
    let mut summary = Summary::new();
    summary.insert("operation".into(), "append".into());
    summary.insert("changed-partition-count".into(), "1".into());
    let counters = [
        ("added-data-files", "total-data-files", added.len() as u64),
        (
            "added-records",
            "total-records",
            added.iter().map(|file| file.record_count).sum(),
        ),
        (
            "added-files-size",
            "total-files-size",
            added.iter().map(|file| file.file_size).sum(),
        ),
    ];
    for (added_name, total_name, count) in counters {
        summary.insert(added_name.into(), count.to_string());
        if let Some(total) = parent_total(total_name).and_then(|total| total.checked_add(count)) {
            summary.insert(total_name.into(), total.to_string());
        }
    }
    for name in UNCHANGED_TOTALS {
        if let Some(total) = parent_total(name) {
            summary.insert(name.into(), total.to_string());
        }
    }
    summary
}

/// A random positive snapshot id.
pub(crate) fn new_snapshot_id() -> i64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    // The XOR spreads the version and variant bits, which are the same in all UUIDs.
    ((high ^ low.rotate_left(32)) & (i64::MAX as u64)).max(1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(record_count: u64, file_size: u64) -> DataFile {
        DataFile {
            path: "x".into(),
            record_count,
            file_size,
            columns: vec![],
        }
    }

    fn snapshot(summary: Summary) -> Snapshot {
        Snapshot {
            snapshot_id: new_snapshot_id(),
            parent_snapshot_id: None,
            sequence_number: 1,
            timestamp_ms: 0,
            manifest_list: String::new(),
            summary,
            schema_id: None,
        }
    }

    #[test]
    fn totals_add_up_over_commits() {
        let first = append_summary(None, &[file(3, 100), file(4, 200)]);
        assert_eq!(
            (&*first["added-records"], &*first["total-records"]),
            ("7", "7")
        );
        let second = append_summary(Some(&snapshot(first)), &[file(1, 50)]);
        assert_eq!(
            (&*second["added-records"], &*second["total-records"]),
            ("1", "8")
        );
        assert_eq!(
            (&*second["total-data-files"], &*second["total-files-size"]),
            ("3", "350")
        );
        assert_eq!(&*second["total-position-deletes"], "0");
    }

    #[test]
    fn unknown_totals_stay_unknown() {
        let summary = append_summary(Some(&snapshot(Summary::new())), &[file(1, 50)]);
        assert_eq!(summary.get("total-records"), None);
        assert_eq!(&*summary["added-records"], "1");
    }
}
