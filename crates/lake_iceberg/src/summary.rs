//! A snapshot's summary: what was done, in numbers (Iceberg spec, "Optional Snapshot Summary Fields").

use std::collections::BTreeMap;

use crate::changes::{Changes, FileContent};

/// `operation` and counters, all as strings.
pub(crate) type Summary = BTreeMap<String, String>;

/// What a commit adds or removes.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    data_files: u64,
    records: u64,
    delete_files: u64,
    position_deletes: u64,
    /// Bytes of data and delete files.
    files_size: u64,
}

/// What a commit does, as far as the summary tells.
#[derive(Debug, Clone)]
pub(crate) struct ChangeCounters {
    operation: &'static str,
    added: Counters,
    removed: Counters,
}

impl Counters {
    fn count_data(&mut self, record_count: u64, file_size: u64) {
        self.data_files += 1;
        self.records += record_count;
        self.files_size += file_size;
    }

    fn count_deletes(&mut self, record_count: u64, file_size: u64) {
        self.delete_files += 1;
        self.position_deletes += record_count;
        self.files_size += file_size;
    }
}

impl ChangeCounters {
    pub(crate) fn of(changes: &Changes) -> Self {
        let mut added = Counters::default();
        for file in &changes.added_data {
            added.count_data(file.record_count, file.file_size);
        }
        for file in &changes.added_deletes {
            added.count_deletes(file.record_count, file.file_size);
        }
        let mut removed = Counters::default();
        for file in &changes.removed {
            match file.content {
                FileContent::Data => removed.count_data(file.record_count, file.file_size),
                FileContent::PositionDeletes => {
                    removed.count_deletes(file.record_count, file.file_size);
                }
            }
        }
        let removes_rows = added.delete_files + removed.data_files + removed.delete_files > 0;
        let operation = match (changes.is_rewrite, added.data_files > 0, removes_rows) {
            (true, _, _) => "replace",
            (false, true, false) => "append",
            (false, false, _) => "delete",
            (false, true, true) => "overwrite",
        };
        Self {
            operation,
            added,
            removed,
        }
    }

    /// The summary, with `parent` that of the parent snapshot if there is one. A total that the
    /// parent does not have is not known, and left out; so are the other counters if they are zero.
    pub(crate) fn summary(&self, parent: Option<&Summary>) -> Summary {
        let Self { added, removed, .. } = self;
        let mut summary = Summary::new();
        summary.insert("operation".into(), self.operation.into());
        summary.insert("changed-partition-count".into(), "1".into());
        for (name, count) in [
            ("added-data-files", added.data_files),
            ("deleted-data-files", removed.data_files),
            ("added-records", added.records),
            ("deleted-records", removed.records),
            ("added-files-size", added.files_size),
            ("removed-files-size", removed.files_size),
            ("added-delete-files", added.delete_files),
            ("removed-delete-files", removed.delete_files),
            ("added-position-delete-files", added.delete_files),
            ("removed-position-delete-files", removed.delete_files),
            ("added-position-deletes", added.position_deletes),
            ("removed-position-deletes", removed.position_deletes),
        ] {
            if count > 0 {
                summary.insert(name.into(), count.to_string());
            }
        }
        for (name, added, removed) in [
            ("total-data-files", added.data_files, removed.data_files),
            ("total-records", added.records, removed.records),
            ("total-files-size", added.files_size, removed.files_size),
            (
                "total-delete-files",
                added.delete_files,
                removed.delete_files,
            ),
            (
                "total-position-deletes",
                added.position_deletes,
                removed.position_deletes,
            ),
            ("total-equality-deletes", 0, 0),
        ] {
            let before = match parent {
                None => Some(0),
                Some(parent) => parent.get(name).and_then(|text| text.parse::<u64>().ok()),
            };
            let after = before
                .and_then(|total| total.checked_add(added))
                .and_then(|total| total.checked_sub(removed));
            if let Some(total) = after {
                summary.insert(name.into(), total.to_string());
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::RemovedFile;
    use crate::data_file::DataFile;
    use crate::delete_file::DeleteFile;

    fn data(record_count: u64, file_size: u64) -> DataFile {
        DataFile {
            path: "x".into(),
            record_count,
            file_size,
            columns: vec![],
        }
    }

    fn deletes(record_count: u64, file_size: u64) -> DeleteFile {
        DeleteFile {
            path: "d".into(),
            record_count,
            file_size,
            data_file: "x".into(),
        }
    }

    fn removed(content: FileContent, record_count: u64, file_size: u64) -> RemovedFile {
        RemovedFile {
            path: "x".into(),
            content,
            sequence_number: 1,
            record_count,
            file_size,
        }
    }

    fn summary(parent: Option<&Summary>, changes: Changes) -> Summary {
        ChangeCounters::of(&changes).summary(parent)
    }

    #[track_caller]
    fn assert_holds(summary: &Summary, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            let actual = summary.get(*name).map_or("(none)", String::as_str);
            assert_eq!(actual, *value, "{name}");
        }
    }

    #[test]
    fn totals_add_up_over_commits() {
        let first = Changes {
            added_data: vec![data(3, 100), data(4, 200)],
            ..Default::default()
        };
        let first = summary(None, first);
        assert_holds(
            &first,
            &[
                ("operation", "append"),
                ("added-data-files", "2"),
                ("added-records", "7"),
                ("total-records", "7"),
                ("total-files-size", "300"),
                ("total-delete-files", "0"),
                ("deleted-records", "(none)"),
                ("added-delete-files", "(none)"),
            ],
        );
        let second = Changes {
            added_data: vec![data(1, 50)],
            added_deletes: vec![deletes(2, 30)],
            ..Default::default()
        };
        let second = summary(Some(&first), second);
        assert_holds(
            &second,
            &[
                ("operation", "overwrite"),
                ("added-files-size", "80"),
                ("added-delete-files", "1"),
                ("added-position-delete-files", "1"),
                ("added-position-deletes", "2"),
                ("total-data-files", "3"),
                ("total-records", "8"),
                ("total-files-size", "380"),
                ("total-delete-files", "1"),
                ("total-position-deletes", "2"),
            ],
        );
        let third = Changes {
            removed: vec![
                removed(FileContent::Data, 3, 100),
                removed(FileContent::PositionDeletes, 2, 30),
            ],
            ..Default::default()
        };
        assert_holds(
            &summary(Some(&second), third),
            &[
                ("operation", "delete"),
                ("deleted-data-files", "1"),
                ("deleted-records", "3"),
                ("removed-files-size", "130"),
                ("removed-delete-files", "1"),
                ("removed-position-delete-files", "1"),
                ("removed-position-deletes", "2"),
                ("total-data-files", "2"),
                ("total-records", "5"),
                ("total-files-size", "250"),
                ("total-delete-files", "0"),
                ("total-position-deletes", "0"),
                ("total-equality-deletes", "0"),
            ],
        );
    }

    #[test]
    fn the_operation_says_what_was_done() {
        let operation = |changes| summary(None, changes)["operation"].clone();
        let added_data = || vec![data(1, 1)];
        let added_deletes = || vec![deletes(1, 1)];
        let removed = || vec![removed(FileContent::Data, 1, 1)];
        assert_eq!(
            operation(Changes {
                added_deletes: added_deletes(),
                ..Default::default()
            }),
            "delete"
        );
        assert_eq!(
            operation(Changes {
                added_data: added_data(),
                removed: removed(),
                ..Default::default()
            }),
            "overwrite"
        );
        let rewrite = Changes {
            added_data: added_data(),
            removed: removed(),
            is_rewrite: true,
            ..Default::default()
        };
        assert_eq!(operation(rewrite), "replace");
    }

    #[test]
    fn unknown_totals_stay_unknown() {
        let changes = Changes {
            added_data: vec![data(1, 50)],
            ..Default::default()
        };
        let summary = summary(Some(&Summary::new()), changes);
        assert_holds(
            &summary,
            &[("total-records", "(none)"), ("added-records", "1")],
        );
        let impossible = Changes {
            removed: vec![removed(FileContent::Data, 9, 50)],
            ..Default::default()
        };
        let parent = Summary::from([("total-records".into(), "1".into())]);
        let summary = ChangeCounters::of(&impossible).summary(Some(&parent));
        assert_holds(&summary, &[("total-records", "(none)")]);
    }
}
