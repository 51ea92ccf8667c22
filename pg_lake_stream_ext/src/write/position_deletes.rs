//! Files of position deletes, one a data file, written in one stream.

use std::collections::HashMap;

use pgduck_protocol::csv;
use pgduck_protocol::sql::quote_literal;

use crate::catalog::files::{LiveFile, WrittenDeletes};
use crate::catalog::lake_table::LakeTable;
use crate::error::{LakeError, Result};
use crate::live_rows::{FILE_COLUMN, LiveRows, POSITION_COLUMN, Selection};
use crate::pgduck::pool::{self, PooledConnection};
use crate::pgduck::result::PgResult;
use crate::write::csv_copy::CsvCopy;
use crate::write::data_file_copy::new_file_key;
use crate::write::positions::Positions;
use crate::write::row_sink::{self, RowSink};

/// The columns of such files (Iceberg spec, "Reserved Field IDs").
const FIELD_IDS: &str = "FIELD_IDS {file_path: 2147483546, pos: 2147483545}";
/// Positions are handed to the sink in blocks of about this size.
const BLOCK_BYTES: usize = 256 * 1024;

/// Position deletes that the server is writing.
pub struct PositionDeletes {
    source: Source,
    target: Target,
    files: Vec<Deleted>,
}

/// Where the positions come from.
enum Source {
    /// From us, in a stream that has ended.
    Stream(Box<dyn RowSink>),
    /// From a query of the server.
    Query(PooledConnection),
}

/// Where the files go.
enum Target {
    /// One file.
    File(String),
    /// A directory of their own. Their names begin with the directory's, so that they are known to be this operation's, too;
    /// the server chooses the rest.
    Directory(String),
}

/// What is deleted from one data file.
struct Deleted {
    data_file: i64,
    count: u64,
    /// If they are known here.
    positions: Option<Positions>,
}

impl Target {
    fn new(table: &LakeTable, files: usize) -> Result<Self> {
        let key = new_file_key(&table.location)?;
        Ok(match files {
            1 => Self::File(format!("{key}.parquet")),
            _ => Self::Directory(key),
        })
    }

    /// The end of the COPY's statement.
    fn to_clause(&self) -> String {
        match self {
            Self::File(path) => format!(
                "TO {} (FORMAT parquet, COMPRESSION snappy, {FIELD_IDS}, RETURN_STATS)",
                quote_literal(path)
            ),
            Self::Directory(directory) => format!(
                "TO {} (FORMAT parquet, COMPRESSION snappy, PARTITION_BY (p), WRITE_PARTITION_COLUMNS false, \
                 HIVE_FILE_PATTERN false, FILENAME_PATTERN '{}_{{uuid}}', {FIELD_IDS}, RETURN_STATS)",
                quote_literal(directory),
                last_part(directory),
            ),
        }
    }
}

impl PositionDeletes {
    /// Deletes the rows at positions that are known here: one stream.
    pub fn at_positions(table: &LakeTable, files: &[(&LiveFile, Positions)]) -> Result<Self> {
        let target = Target::new(table, files.len())?;
        let paths = paths(files.iter().map(|(file, _)| *file));
        let head = format!(
            "COPY (SELECT {} FROM read_csv(",
            columns(&target, &paths, "c0", "c1")
        );
        let order = match target {
            Target::File(_) => "",
            Target::Directory(_) => " ORDER BY c0, c1",
        };
        let tail = format!(", {}){order}) {}", positions_csv(), target.to_clause());
        let mut sink = row_sink::open(&CsvCopy { head, tail })?;
        let rows = files.iter().enumerate();
        let rows = rows.flat_map(|(number, (_, positions))| {
            positions.iter().map(move |position| (number, position))
        });
        send_positions(&mut *sink, rows)?;
        sink.end()?;
        Ok(Self {
            source: Source::Stream(sink),
            target,
            files: files
                .iter()
                .map(|(file, positions)| Deleted {
                    data_file: file.data.id,
                    count: positions.len(),
                    positions: Some(positions.clone()),
                })
                .collect(),
        })
    }

    /// Deletes the rows, so many in each file, that meet a condition: the server finds them.
    pub fn matching(
        table: &LakeTable,
        files: &[(&LiveFile, u64)],
        condition: &str,
    ) -> Result<Self> {
        let target = Target::new(table, files.len())?;
        let rows = LiveRows::of(files.iter().map(|(file, _)| *file));
        let counts: HashMap<i64, u64> = files
            .iter()
            .map(|(file, count)| (file.data.id, *count))
            .collect();
        let select = rows.select(Selection {
            list: "",
            with_positions: true,
            condition,
        });
        let paths = paths(rows.files().iter().copied());
        let columns = columns(&target, &paths, FILE_COLUMN, POSITION_COLUMN);
        let order = match target {
            Target::File(_) => String::new(),
            Target::Directory(_) => format!(" ORDER BY {FILE_COLUMN}, {POSITION_COLUMN}"),
        };
        let mut connection = pool::acquire()?;
        connection.send_simple(&format!(
            "COPY (SELECT {columns} FROM ({select}){order}) {}",
            target.to_clause()
        ))?;
        Ok(Self {
            source: Source::Query(connection),
            target,
            files: rows
                .files()
                .iter()
                .map(|file| Deleted {
                    data_file: file.data.id,
                    count: counts[&file.data.id],
                    positions: None,
                })
                .collect(),
        })
    }

    /// Waits until they are written. Files of at most `max_known` positions have them with them.
    pub fn finish(self, max_known: u64) -> Result<Vec<WrittenDeletes>> {
        let result = match self.source {
            Source::Stream(sink) => sink.finish()?,
            Source::Query(mut connection) => connection.last_result()?,
        };
        let mut written = Vec::with_capacity(result.rows());
        let mut deleted = 0;
        for row in 0..result.rows() {
            let (number, path) = match &self.target {
                Target::File(path) => (0, path.clone()),
                Target::Directory(directory) => (
                    partition_number(&result, row)?,
                    in_directory(directory, result.text(row, result.column(c"filename")?)?),
                ),
            };
            let file = self.files.get(number).ok_or_else(|| {
                LakeError::internal("pgduck_server has written deletes of an unknown file")
            })?;
            let row_count: u64 = result.parse(row, result.column(c"count")?)?;
            deleted += row_count;
            // A data file whose positions the server has split over several files has none of them in the catalog.
            let is_known = row_count == file.count && row_count <= max_known;
            let positions = file.positions.as_ref().filter(|_| is_known);
            written.push(WrittenDeletes {
                data_file: file.data_file,
                path,
                file_size: result.parse(row, result.column(c"file_size_bytes")?)?,
                row_count,
                positions: positions.map(|positions| positions.iter().collect()),
            });
        }
        let expected: u64 = self.files.iter().map(|file| file.count).sum();
        if deleted != expected {
            return Err(LakeError::internal(format!(
                "pgduck_server has written {deleted} position deletes instead of {expected}"
            )));
        }
        Ok(written)
    }
}

/// The SELECT list of a COPY to `target`: of rows that have the number of a data file and a position, the columns of a file
/// of position deletes, and the number for as long as it takes to choose a file.
fn columns(target: &Target, paths: &str, number: &str, position: &str) -> String {
    match target {
        Target::File(_) => format!("({paths})[1] AS file_path, {position} AS pos"),
        Target::Directory(_) => {
            format!("({paths})[{number} + 1] AS file_path, {position} AS pos, {number} AS p")
        }
    }
}

/// `['a', 'b']`: where data files are.
fn paths<'a>(files: impl Iterator<Item = &'a LiveFile>) -> String {
    let quoted: Vec<String> = files.map(|file| quote_literal(&file.data.path)).collect();
    format!("[{}]", quoted.join(", "))
}

/// How the server reads what [`send_positions`] sends: a file's number `c0` and a position `c1`.
pub fn positions_csv() -> String {
    csv::read_csv_options([("c0", "INTEGER"), ("c1", "BIGINT")], 0)
}

/// Sends positions in numbered files.
pub fn send_positions(
    sink: &mut dyn RowSink,
    positions: impl Iterator<Item = (usize, u64)>,
) -> Result<()> {
    let mut rows = csv::RowEncoder::default();
    for (number, position) in positions {
        rows.int(number as i64);
        rows.int(position as i64);
        rows.end_row();
        if rows.buffer().len() >= BLOCK_BYTES {
            sink.write(rows.buffer())?;
            rows.clear();
        }
    }
    sink.write(rows.buffer())
}

/// The partition of one file in the result of a COPY: `{"p": "3"}`.
fn partition_number(result: &PgResult, row: usize) -> Result<usize> {
    let keys = result.text(row, result.column(c"partition_keys")?)?;
    serde_json::from_str::<HashMap<String, String>>(keys)
        .ok()
        .and_then(|keys| keys.into_values().next()?.parse().ok())
        .ok_or_else(|| LakeError::internal(format!("unexpected partition_keys {keys}")))
}

/// The path of a file in a directory by our name for the directory: the server's may lack a scheme.
fn in_directory(directory: &str, filename: &str) -> String {
    format!("{directory}/{}", last_part(filename))
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
