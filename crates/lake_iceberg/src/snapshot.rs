//! A snapshot as metadata.json holds it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::summary::Summary;

/// One entry of metadata.json's `snapshots` (Iceberg spec, "Snapshots").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Snapshot {
    pub(crate) snapshot_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_snapshot_id: Option<i64>,
    /// Some writers leave out the 0 of a snapshot from before an upgrade to format version 2.
    #[serde(default)]
    pub(crate) sequence_number: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) manifest_list: String,
    #[serde(default)]
    pub(crate) summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema_id: Option<i32>,
}

/// A random positive snapshot id.
pub(crate) fn new_snapshot_id() -> i64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    // The XOR spreads the version and variant bits, which are the same in all UUIDs.
    ((high ^ low.rotate_left(32)) & (i64::MAX as u64)).max(1) as i64
}
