//! `lake_table.files`: the data files of every lake table, and the position deletes on them.
//!
//! A statement enters its files with `snapshot_id` NULL when it ends. The commit gives them the id of the snapshot that
//! contains them, so "what this transaction added" is "what I can see with no snapshot yet": savepoints and aborts need
//! no bookkeeping of their own. What a statement takes out of the table it moves to [`super::removed_files`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use lake_iceberg::{ColumnStats, DataFile, DeleteFile};
use pgrx::pg_sys;

use crate::error::{LakeError, Result};
use crate::pg::spi::{self, Arg, Visibility, columns, number, value};

/// One file; never changes.
#[derive(Debug)]
pub struct FileRow {
    /// The catalog's number of it. Newer files have larger numbers.
    pub id: i64,
    /// URL or absolute path.
    pub path: String,
    /// Rows in the file; of position deletes, the number of positions.
    pub row_count: u64,
    /// Bytes.
    pub file_size: u64,
    /// Statistics of a data file's columns.
    pub column_stats: Vec<ColumnStats>,
    /// Of position deletes: the data file whose rows they delete.
    pub deleted_from: Option<i64>,
    /// Of position deletes: the positions, ascending, if the catalog has them.
    pub positions: Option<Vec<u64>>,
}

/// A data file and what is deleted from it.
#[derive(Debug, Clone)]
pub struct LiveFile {
    /// The data file.
    pub data: Rc<FileRow>,
    /// Its position deletes; no position is in two of them.
    pub deletes: Vec<Rc<FileRow>>,
}

impl LiveFile {
    /// Rows that are deleted.
    pub fn deleted_rows(&self) -> u64 {
        self.deletes.iter().map(|deletes| deletes.row_count).sum()
    }

    /// Rows that are not deleted.
    pub fn live_rows(&self) -> u64 {
        self.data.row_count.saturating_sub(self.deleted_rows())
    }
}

/// A file of position deletes that a statement has written.
#[derive(Debug)]
pub struct WrittenDeletes {
    /// The data file whose rows it deletes.
    pub data_file: i64,
    /// Where it is.
    pub path: String,
    /// Bytes.
    pub file_size: u64,
    /// Number of positions.
    pub row_count: u64,
    /// The positions, if the catalog is to have them.
    pub positions: Option<Vec<u64>>,
}

thread_local! {
    /// What this backend has read, by table: rows never change, so only numbers have to be read again.
    static KNOWN: RefCell<HashMap<u32, HashMap<i64, Rc<FileRow>>>> = RefCell::new(HashMap::new());
}

/// Enters data files that a statement has written.
pub fn insert_data(relid: pg_sys::Oid, files: &[DataFile]) -> Result<()> {
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

/// Enters position deletes that a statement has written.
pub fn insert_deletes(relid: pg_sys::Oid, files: &[WrittenDeletes]) -> Result<()> {
    for file in files {
        let positions = file.positions.as_deref().map(array);
        spi::run(
            "INSERT INTO lake_table.files (table_name, path, row_count, file_size, content, deleted_from, positions) \
             VALUES ($1::regclass, $2, $3, $4, 1, $5, $6::bigint[])",
            &[
                Arg::Oid(relid),
                Arg::Text(&file.path),
                Arg::Int8(file.row_count as i64),
                Arg::Int8(file.file_size as i64),
                Arg::Int8(file.data_file),
                Arg::OptText(positions.as_deref()),
            ],
            Visibility::Transaction,
        )?;
    }
    Ok(())
}

/// Takes files out of the table; for data files, their position deletes must be named as well. A file that no snapshot has
/// contained is garbage at once.
pub fn remove(relid: pg_sys::Oid, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    spi::run(
        "WITH gone AS (DELETE FROM lake_table.files WHERE table_name = $1::regclass AND id = ANY ($2::bigint[]) RETURNING *), \
              garbage AS (INSERT INTO lake_engine.deletion_queue (path, table_name, orphaned_at) \
                          SELECT path, table_name, now() FROM gone WHERE snapshot_id IS NULL) \
         INSERT INTO lake_table.removed_files (table_name, path, content, row_count, file_size, sequence_number) \
         SELECT table_name, path, content, row_count, file_size, sequence_number FROM gone WHERE snapshot_id IS NOT NULL",
        &[Arg::Oid(relid), Arg::Text(&array(ids))],
        Visibility::Latest,
    )
    .map(drop)
}

/// The files of a table, oldest first.
pub fn live(relid: pg_sys::Oid, visibility: Visibility) -> Result<Vec<LiveFile>> {
    let ids: Vec<i64> = spi::run(
        "SELECT id FROM lake_table.files WHERE table_name = $1::regclass",
        &[Arg::Oid(relid)],
        visibility,
    )?
    .into_iter()
    .map(|row| {
        let [id] = columns(row)?;
        number(id)
    })
    .collect::<Result<_>>()?;
    let rows = rows(relid, ids, visibility)?;
    let mut files: Vec<LiveFile> = Vec::with_capacity(rows.len());
    let mut places = HashMap::new();
    for row in &rows {
        if row.deleted_from.is_none() {
            places.insert(row.id, files.len());
            files.push(LiveFile {
                data: Rc::clone(row),
                deletes: Vec::new(),
            });
        }
    }
    for row in rows {
        let Some(data_file) = row.deleted_from else {
            continue;
        };
        let place = places.get(&data_file).ok_or_else(|| {
            LakeError::internal(format!("{} deletes from a file that is gone", row.path))
        })?;
        files[*place].deletes.push(row);
    }
    Ok(files)
}

/// The rows with these numbers, in the order of the numbers.
fn rows(relid: pg_sys::Oid, mut ids: Vec<i64>, visibility: Visibility) -> Result<Vec<Rc<FileRow>>> {
    ids.sort_unstable();
    let mut known =
        KNOWN.with_borrow_mut(|known| known.remove(&relid.to_u32()).unwrap_or_default());
    let missing: Vec<i64> = ids
        .iter()
        .copied()
        .filter(|id| !known.contains_key(id))
        .collect();
    if !missing.is_empty() {
        for row in read(&missing, visibility)? {
            known.insert(row.id, Rc::new(row));
        }
    }
    let rows: Option<Vec<Rc<FileRow>>> = ids.iter().map(|id| known.get(id).cloned()).collect();
    if known.len() > 2 * ids.len() + 64 {
        known.retain(|id, _| ids.binary_search(id).is_ok());
    }
    KNOWN.with_borrow_mut(|all| all.insert(relid.to_u32(), known));
    rows.ok_or_else(|| LakeError::internal("a row of lake_table.files has vanished"))
}

fn read(ids: &[i64], visibility: Visibility) -> Result<Vec<FileRow>> {
    let rows = spi::run(
        "SELECT id, path, row_count, file_size, deleted_from, positions, column_stats FROM lake_table.files \
         WHERE id = ANY ($1::bigint[])",
        &[Arg::Text(&array(ids))],
        visibility,
    )?;
    rows.into_iter()
        .map(|row| {
            let [
                id,
                path,
                row_count,
                file_size,
                deleted_from,
                positions,
                column_stats,
            ] = columns(row)?;
            Ok(FileRow {
                id: number(id)?,
                path: value(path)?,
                row_count: number(row_count)?,
                file_size: number(file_size)?,
                deleted_from: deleted_from.map(Some).map(number).transpose()?,
                positions: positions.as_deref().map(parse_array).transpose()?,
                column_stats: stats(column_stats)?,
            })
        })
        .collect()
}

/// What the transaction has added to a table, in the order of making.
pub fn added(relid: pg_sys::Oid) -> Result<(Vec<DataFile>, Vec<DeleteFile>)> {
    let rows = spi::run(
        "SELECT f.path, f.row_count, f.file_size, f.column_stats, d.path \
         FROM lake_table.files f LEFT JOIN lake_table.files d ON d.id = f.deleted_from \
         WHERE f.table_name = $1::regclass AND f.snapshot_id IS NULL ORDER BY f.id",
        &[Arg::Oid(relid)],
        Visibility::Latest,
    )?;
    let mut data = Vec::new();
    let mut deletes = Vec::new();
    for row in rows {
        let [path, row_count, file_size, column_stats, data_file] = columns(row)?;
        let (path, record_count, file_size) =
            (value(path)?, number(row_count)?, number(file_size)?);
        match data_file {
            None => data.push(DataFile {
                path,
                record_count,
                file_size,
                columns: stats(column_stats)?,
            }),
            Some(data_file) => deletes.push(DeleteFile {
                path,
                record_count,
                file_size,
                data_file,
            }),
        }
    }
    Ok((data, deletes))
}

/// Gives the files that the transaction has added to the snapshot that contains them.
pub fn assign_to_snapshot(
    relid: pg_sys::Oid,
    snapshot_id: i64,
    sequence_number: i64,
) -> Result<()> {
    spi::run(
        "UPDATE lake_table.files SET snapshot_id = $2, sequence_number = $3 \
         WHERE table_name = $1::regclass AND snapshot_id IS NULL",
        &[
            Arg::Oid(relid),
            Arg::Int8(snapshot_id),
            Arg::Int8(sequence_number),
        ],
        Visibility::Latest,
    )
    .map(drop)
}

/// The text of a `bigint[]`.
pub(super) fn array<T: std::fmt::Display>(numbers: &[T]) -> String {
    let mut text = "{".to_owned();
    for (position, number) in numbers.iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        text.push_str(&number.to_string());
    }
    text.push('}');
    text
}

fn parse_array(text: &str) -> Result<Vec<u64>> {
    let inner = text.trim_start_matches('{').trim_end_matches('}');
    inner
        .split(',')
        .map(|number| {
            number
                .parse()
                .map_err(|_| LakeError::internal("unexpected array in lake_table.files"))
        })
        .collect()
}

fn stats(text: Option<String>) -> Result<Vec<ColumnStats>> {
    serde_json::from_str(&value(text)?)
        .map_err(|e| LakeError::internal(format!("lake_table.files.column_stats: {e}")))
}
