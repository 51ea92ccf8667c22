//! The snapshots of a metadata.json: kept as text, with an index of what tells which may go.

use std::collections::HashSet;
use std::ops::Range;

use serde::Deserialize;

use crate::error::{Context, ErrorKind, Result};
use crate::json_spans::elements;
use crate::policy::{ExpireWhen, Retention};
use crate::snapshot::Snapshot;

/// Snapshots in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotHistory {
    /// The elements of metadata.json's `snapshots`, without the brackets.
    text: String,
    index: Vec<IndexEntry>,
}

#[derive(Debug, Clone)]
struct IndexEntry {
    snapshot_id: i64,
    sequence_number: i64,
    timestamp_ms: i64,
    /// The element's place in the text.
    span: Range<usize>,
}

impl SnapshotHistory {
    /// Parses the array `snapshots`.
    pub(crate) fn parse(array: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Indexed {
            snapshot_id: i64,
            #[serde(default)]
            sequence_number: i64,
            timestamp_ms: i64,
        }
        let mut history = Self::default();
        for element in elements(array)? {
            let indexed: Indexed = serde_json::from_str(element)
                .context(ErrorKind::InvalidMetadata, "bad snapshot")?;
            history.push_text(
                element,
                indexed.snapshot_id,
                indexed.sequence_number,
                indexed.timestamp_ms,
            );
        }
        Ok(history)
    }

    /// Adds a snapshot.
    pub(crate) fn push(&mut self, snapshot: &Snapshot) -> Result<()> {
        let text = serde_json::to_string(snapshot)
            .context(ErrorKind::Internal, "could not serialise the snapshot")?;
        self.push_text(
            &text,
            snapshot.snapshot_id,
            snapshot.sequence_number,
            snapshot.timestamp_ms,
        );
        Ok(())
    }

    fn push_text(&mut self, text: &str, snapshot_id: i64, sequence_number: i64, timestamp_ms: i64) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        let start = self.text.len();
        self.text.push_str(text);
        self.index.push(IndexEntry {
            snapshot_id,
            sequence_number,
            timestamp_ms,
            span: start..self.text.len(),
        });
    }

    /// The elements of `snapshots`, without the brackets.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A snapshot by its id.
    pub(crate) fn find(&self, snapshot_id: i64) -> Result<Option<Snapshot>> {
        let mut entries = self.index.iter().rev();
        let entry = entries.find(|entry| entry.snapshot_id == snapshot_id);
        entry.map(|entry| self.parse_element(entry)).transpose()
    }

    fn parse_element<'a, T: Deserialize<'a>>(&'a self, entry: &IndexEntry) -> Result<T> {
        serde_json::from_str(&self.text[entry.span.clone()])
            .context(ErrorKind::InvalidMetadata, "bad snapshot")
    }

    /// The lowest sequence number of a snapshot.
    pub(crate) fn oldest_sequence_number(&self) -> Option<i64> {
        self.index.iter().map(|entry| entry.sequence_number).min()
    }

    /// Ids of the snapshots that `retention` lets go at the time `now_ms`, the `referenced` ones
    /// excepted.
    pub(crate) fn expired(
        &self,
        retention: &Retention,
        referenced: &HashSet<i64>,
        now_ms: i64,
    ) -> HashSet<i64> {
        let max_snapshots = retention.max_snapshots;
        let is_due = match retention.when {
            ExpireWhen::Always => true,
            ExpireWhen::Excess => {
                retention.max_snapshot_age_ms == 0
                    || self.index.len() > max_snapshots.saturating_add(max_snapshots / 4)
            }
        };
        if !is_due {
            return HashSet::new();
        }
        let mut by_age: Vec<&IndexEntry> = self.index.iter().collect();
        by_age.sort_by_key(|entry| (entry.sequence_number, entry.timestamp_ms));
        let too_many = by_age.len().saturating_sub(max_snapshots);
        let expired = by_age.into_iter().enumerate().filter(|(place, entry)| {
            let age_ms = now_ms.saturating_sub(entry.timestamp_ms);
            *place < too_many || age_ms >= retention.max_snapshot_age_ms
        });
        expired
            .map(|(_, entry)| entry.snapshot_id)
            .filter(|id| !referenced.contains(id))
            .collect()
    }

    /// This history without the snapshots of the given ids, and the manifest lists that only those
    /// refer to.
    pub(crate) fn without(&self, expired: &HashSet<i64>) -> Result<(Self, Vec<String>)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Listed {
            /// Not in some snapshots of format version 1.
            manifest_list: Option<String>,
        }
        let mut rest = Self::default();
        let mut lists = Vec::new();
        let mut kept_lists = HashSet::new();
        for entry in &self.index {
            let list = self.parse_element::<Listed>(entry)?.manifest_list;
            if expired.contains(&entry.snapshot_id) {
                lists.extend(list);
            } else {
                kept_lists.extend(list);
                rest.push_text(
                    &self.text[entry.span.clone()],
                    entry.snapshot_id,
                    entry.sequence_number,
                    entry.timestamp_ms,
                );
            }
        }
        lists.retain(|list| !kept_lists.contains(list));
        Ok((rest, lists))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Snapshots 1, 2, …, each as many milliseconds old as its distance from the last one.
    fn history(count: i64) -> SnapshotHistory {
        let snapshots: Vec<String> = (1..=count)
            .map(|n| {
                format!(
                    r#"{{"snapshot-id":{n},"sequence-number":{n},"timestamp-ms":{n},"manifest-list":"l{n}","new": [1]}}"#
                )
            })
            .collect();
        SnapshotHistory::parse(&format!("[{}]", snapshots.join(" , "))).unwrap()
    }

    fn expired(count: i64, retention: Retention, referenced: &[i64]) -> Vec<i64> {
        let referenced = referenced.iter().copied().collect();
        let mut expired: Vec<_> = history(count)
            .expired(&retention, &referenced, count)
            .into_iter()
            .collect();
        expired.sort_unstable();
        expired
    }

    #[test]
    fn what_is_too_old_or_too_many_goes() {
        let retention = |max_snapshots, max_snapshot_age_ms| Retention {
            max_snapshots,
            max_snapshot_age_ms,
            when: ExpireWhen::Always,
        };
        assert_eq!(expired(5, retention(3, 100), &[5]), [1, 2]);
        assert_eq!(expired(5, retention(100, 3), &[5]), [1, 2]);
        assert_eq!(expired(5, retention(100, 0), &[5, 2]), [1, 3, 4]);
        assert_eq!(expired(5, retention(0, 100), &[5]), [1, 2, 3, 4]);
        assert!(expired(5, retention(100, 100), &[5]).is_empty());
    }

    #[test]
    fn an_excess_of_a_quarter_is_removed_at_once() {
        let retention = |max_snapshot_age_ms| Retention {
            max_snapshots: 8,
            max_snapshot_age_ms,
            when: ExpireWhen::Excess,
        };
        assert!(expired(10, retention(1), &[10]).is_empty());
        assert_eq!(expired(11, retention(100), &[11]), [1, 2, 3]);
        assert_eq!(expired(3, retention(0), &[3]), [1, 2]);
    }

    #[test]
    fn the_rest_keeps_its_text() {
        let (rest, lists) = history(3).without(&HashSet::from([1, 3])).unwrap();
        assert_eq!(lists, ["l1", "l3"]);
        assert!(rest.text().starts_with(r#"{"snapshot-id":2"#) && rest.text().ends_with("[1]}"));
        assert_eq!(rest.oldest_sequence_number(), Some(2));
        assert_eq!(rest.find(2).unwrap().unwrap().manifest_list, "l2");
        assert_eq!(rest.find(1).unwrap(), None);
    }
}
