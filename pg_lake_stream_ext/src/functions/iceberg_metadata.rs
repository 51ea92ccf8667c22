//! SQL functions that show the metadata of any Iceberg table, read through pgduck_server: `lake_iceberg.metadata`,
//! `lake_iceberg.files`, `lake_iceberg.snapshots`.

use lake_iceberg::FileEntry;
use pgrx::datum::{JsonB, Timestamp};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern};

use crate::error::{LakeError, OrRaise, Result};
use crate::pgduck::object;

/// Microseconds from 1970 to 2000, where PostgreSQL's timestamps count from.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// The table metadata file at `metadata_uri`, as it is.
#[pg_extern]
fn metadata(metadata_uri: &str) -> JsonB {
    read_metadata(metadata_uri).or_raise()
}

fn read_metadata(metadata_uri: &str) -> Result<JsonB> {
    serde_json::from_slice(&object::read(metadata_uri)?)
        .map(JsonB)
        .map_err(not_metadata)
}

/// The data and delete files of the current snapshot.
#[pg_extern]
fn files(
    metadata_uri: &str,
) -> TableIterator<
    'static,
    (
        name!(manifest_path, String),
        name!(content, String),
        name!(file_path, String),
        name!(file_format, String),
        name!(spec_id, i64),
        name!(record_count, i64),
        name!(file_size_in_bytes, i64),
    ),
> {
    let files = list_files(metadata_uri).or_raise();
    TableIterator::new(files.into_iter().map(|file| {
        (
            file.manifest_path,
            file.content.to_owned(),
            file.file_path,
            file.file_format,
            i64::from(file.spec_id),
            file.record_count as i64,
            file.file_size_in_bytes as i64,
        )
    }))
}

fn list_files(metadata_uri: &str) -> Result<Vec<FileEntry>> {
    let metadata = object::read(metadata_uri)?;
    let Some(manifest_list) = current_manifest_list(&metadata)? else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for manifest in lake_iceberg::list_manifests(&object::read(&manifest_list)?)? {
        let content = object::read(&manifest.manifest_path)?;
        files.extend(lake_iceberg::list_manifest_files(&manifest, &content)?);
    }
    Ok(files)
}

/// The snapshots that the table still has, oldest first.
#[pg_extern]
fn snapshots(
    metadata_uri: &str,
) -> TableIterator<
    'static,
    (
        name!(sequence_number, i64),
        name!(snapshot_id, i64),
        name!(timestamp_ms, Timestamp),
        name!(manifest_list, String),
    ),
> {
    TableIterator::new(list_snapshots(metadata_uri).or_raise())
}

/// A row of `lake_iceberg.snapshots`.
type SnapshotRow = (i64, i64, Timestamp, String);

fn list_snapshots(metadata_uri: &str) -> Result<Vec<SnapshotRow>> {
    lake_iceberg::list_snapshots(&object::read(metadata_uri)?)?
        .into_iter()
        .map(|snapshot| {
            let timestamp = timestamp(snapshot.timestamp_ms)?;
            Ok((
                snapshot.sequence_number,
                snapshot.snapshot_id,
                timestamp,
                snapshot.manifest_list,
            ))
        })
        .collect()
}

/// A timestamp in UTC from milliseconds since 1970.
fn timestamp(unix_ms: i64) -> Result<Timestamp> {
    let out_of_range = || {
        LakeError::new(
            pgrx::PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
            "timestamp out of range",
        )
    };
    let us = unix_ms
        .checked_mul(1_000)
        .and_then(|us| us.checked_sub(POSTGRES_EPOCH_US))
        .ok_or_else(out_of_range)?;
    Timestamp::try_from(us).map_err(|_| out_of_range())
}

/// Where the current snapshot's manifest list is; `None` if the table has no snapshot yet.
fn current_manifest_list(metadata_json: &[u8]) -> Result<Option<String>> {
    let document: serde_json::Value =
        serde_json::from_slice(metadata_json).map_err(not_metadata)?;
    // Some writers say -1 for "none" (Iceberg spec, table metadata fields).
    let current = document["current-snapshot-id"]
        .as_i64()
        .filter(|id| *id != -1);
    let Some(current) = current else {
        return Ok(None);
    };
    let snapshots = lake_iceberg::list_snapshots(metadata_json)?;
    let snapshot = snapshots
        .into_iter()
        .find(|snapshot| snapshot.snapshot_id == current);
    snapshot
        .map(|snapshot| Some(snapshot.manifest_list))
        .ok_or_else(|| {
            LakeError::new(
                pgrx::PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                format!("table metadata has no snapshot {current}, which it calls the current one"),
            )
        })
}

fn not_metadata(error: serde_json::Error) -> LakeError {
    LakeError::new(
        pgrx::PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        "the file is not Iceberg table metadata",
    )
    .detail(format!("It is not JSON: {error}."))
}
