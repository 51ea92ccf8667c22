//! `lake_table.files`: the data files of every lake table.
//!
//! A statement enters its files with `snapshot_id` NULL when it ends. The commit gives them the id of the snapshot that
//! contains them, so "what this transaction added" is "what I can see with no snapshot yet": savepoints and aborts need
//! no bookkeeping of their own.

use lake_iceberg::DataFile;
use pgrx::pg_sys;

use crate::error::{LakeError, Result};
use crate::pg::spi::{self, Arg, Visibility};

/// What a scan needs to know of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanFile {
    /// URL or absolute path.
    pub path: String,
    /// Rows in the file.
    pub row_count: u64,
}

/// Enters files that a statement has written.
pub fn insert(relid: pg_sys::Oid, files: &[DataFile]) -> Result<()> {
    for file in files {
        let columns =
            serde_json::to_string(&file.columns).map_err(|e| LakeError::internal(e.to_string()))?;
        spi::run(
            "INSERT INTO lake_table.files (table_name, path, row_count, file_size, column_stats) \
             VALUES ($1::regclass, $2, $3, $4, $5::jsonb)",
            &[
                Arg::Oid(relid),
                Arg::Text(&file.path),
                Arg::Int8(file.record_count as i64),
                Arg::Int8(file.file_size as i64),
                Arg::Text(&columns),
            ],
            Visibility::Transaction,
        )?;
    }
    Ok(())
}

/// The files that the running query sees, oldest first.
pub fn visible(relid: pg_sys::Oid) -> Result<Vec<ScanFile>> {
    let rows = spi::run(
        "SELECT path, row_count FROM lake_table.files WHERE table_name = $1::regclass ORDER BY id",
        &[Arg::Oid(relid)],
        Visibility::Query,
    )?;
    rows.into_iter()
        .map(|row| {
            let [path, row_count] = columns(row)?;
            Ok(ScanFile {
                path: value(path)?,
                row_count: number(row_count)?,
            })
        })
        .collect()
}

/// Number of rows and of files of a table, for the planner's estimate.
pub fn totals(relid: pg_sys::Oid) -> Result<(u64, u64)> {
    let rows = spi::run(
        "SELECT coalesce(sum(row_count), 0), count(*) FROM lake_table.files WHERE table_name = $1::regclass",
        &[Arg::Oid(relid)],
        Visibility::Query,
    )?;
    let row = rows
        .into_iter()
        .next()
        .ok_or_else(|| LakeError::internal("an aggregate returned no row"))?;
    let [rows, files] = columns(row)?;
    Ok((number(rows)?, number(files)?))
}

/// The files of one table that the transaction has added, in the order of their making.
pub fn added(relid: pg_sys::Oid) -> Result<Vec<DataFile>> {
    let rows = spi::run(
        "SELECT path, row_count, file_size, column_stats FROM lake_table.files \
         WHERE table_name = $1::regclass AND snapshot_id IS NULL ORDER BY id",
        &[Arg::Oid(relid)],
        Visibility::Latest,
    )?;
    rows.into_iter()
        .map(|row| {
            let [path, row_count, file_size, column_stats] = columns(row)?;
            Ok(DataFile {
                path: value(path)?,
                record_count: number(row_count)?,
                file_size: number(file_size)?,
                columns: serde_json::from_str(&value(column_stats)?).map_err(|e| {
                    LakeError::internal(format!("lake_table.files.column_stats: {e}"))
                })?,
            })
        })
        .collect()
}

/// Gives the files that the transaction has added to the snapshot that contains them.
pub fn assign_to_snapshot(relid: pg_sys::Oid, snapshot_id: i64) -> Result<()> {
    spi::run(
        "UPDATE lake_table.files SET snapshot_id = $2 WHERE table_name = $1::regclass AND snapshot_id IS NULL",
        &[Arg::Oid(relid), Arg::Int8(snapshot_id)],
        Visibility::Latest,
    )
    .map(drop)
}

fn columns<const N: usize>(row: spi::Row) -> Result<[Option<String>; N]> {
    row.try_into()
        .map_err(|_| LakeError::internal("catalog row with another number of columns"))
}

fn value(value: Option<String>) -> Result<String> {
    value.ok_or_else(|| LakeError::internal("unexpected NULL in lake_table.files"))
}

fn number(text: Option<String>) -> Result<u64> {
    value(text)?
        .parse()
        .map_err(|_| LakeError::internal("unexpected number in lake_table.files"))
}
