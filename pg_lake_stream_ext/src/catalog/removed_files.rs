//! `lake_table.removed_files`: what the newest snapshot does not contain any more, while older ones still do.
//!
//! An object stays here until the last snapshot that contains it has expired, and goes to [`super::deletion_queue`] then.

use lake_iceberg::{FileContent, RemovedFile};
use pgrx::pg_sys;

use crate::error::Result;
use crate::pg::spi::{self, Arg, Visibility, columns, number, value};

/// The files that the transaction has taken out of a table.
pub fn uncommitted(relid: pg_sys::Oid) -> Result<Vec<RemovedFile>> {
    let rows = spi::run(
        "SELECT path, content, sequence_number, row_count, file_size FROM lake_table.removed_files \
         WHERE table_name = $1::regclass AND removed_sequence_number IS NULL",
        &[Arg::Oid(relid)],
        Visibility::Latest,
    )?;
    rows.into_iter()
        .map(|row| {
            let [path, content, sequence_number, record_count, file_size] = columns(row)?;
            Ok(RemovedFile {
                path: value(path)?,
                content: match number::<i32>(content)? {
                    0 => FileContent::Data,
                    _ => FileContent::PositionDeletes,
                },
                sequence_number: number(sequence_number)?,
                record_count: number(record_count)?,
                file_size: number(file_size)?,
            })
        })
        .collect()
}

/// Says which snapshot is the first without the files of [`uncommitted`], and without these manifests.
pub fn assign_to_snapshot(
    relid: pg_sys::Oid,
    sequence_number: i64,
    manifests: &[String],
) -> Result<()> {
    spi::run(
        "UPDATE lake_table.removed_files SET removed_sequence_number = $2 \
         WHERE table_name = $1::regclass AND removed_sequence_number IS NULL",
        &[Arg::Oid(relid), Arg::Int8(sequence_number)],
        Visibility::Latest,
    )?;
    for manifest in manifests {
        spi::run(
            "INSERT INTO lake_table.removed_files (table_name, path, removed_sequence_number) VALUES ($1::regclass, $2, $3)",
            &[
                Arg::Oid(relid),
                Arg::Text(manifest),
                Arg::Int8(sequence_number),
            ],
            Visibility::Latest,
        )?;
    }
    Ok(())
}

/// Queues for removal what only snapshots before `oldest_sequence_number`, the oldest that is left, have contained.
pub fn release(relid: pg_sys::Oid, oldest_sequence_number: i64) -> Result<()> {
    spi::run(
        "WITH gone AS (DELETE FROM lake_table.removed_files \
                       WHERE table_name = $1::regclass AND removed_sequence_number <= $2 RETURNING path, table_name) \
         INSERT INTO lake_engine.deletion_queue (path, table_name, orphaned_at) SELECT path, table_name, now() FROM gone",
        &[Arg::Oid(relid), Arg::Int8(oldest_sequence_number)],
        Visibility::Latest,
    )
    .map(drop)
}
