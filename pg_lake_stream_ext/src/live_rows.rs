//! SQL for the rows of data files that are not deleted.
//!
//! Rows of files without deletes cost what they cost DuckDB; only files that have some pay for an anti join. Few positions
//! are written into the statement, many are read from the files of position deletes.

use std::fmt::Write;

use pgduck_protocol::sql::quote_literal;

use crate::catalog::files::LiveFile;

/// A position and its file's number are one number: `file * POSITIONS_PER_FILE + position`.
const POSITIONS_PER_FILE: u64 = 1 << 40;
/// Positions that are written into a statement at most; DuckDB needs some 7 µs to plan each.
const MAX_POSITIONS_IN_SQL: usize = 512;
/// Files that EXPLAIN names before it goes over to counting.
const FILES_SHOWN: usize = 10;

/// Name of the result column that numbers the files, from 0 in the order of [`LiveRows::files`].
pub const FILE_COLUMN: &str = "_lake_file";
/// Name of the result column with a row's position in its file.
pub const POSITION_COLUMN: &str = "_lake_position";

/// The live rows of some files.
pub struct LiveRows<'a> {
    /// Files without deletes, then files with.
    files: Vec<&'a LiveFile>,
    /// Number of files without deletes.
    clean: usize,
}

/// What is to be read of the rows.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Expressions of the SELECT list.
    pub list: &'a str,
    /// Whether [`FILE_COLUMN`] and [`POSITION_COLUMN`] follow them.
    pub with_positions: bool,
    /// A condition; empty for none.
    pub condition: &'a str,
}

impl<'a> LiveRows<'a> {
    /// The live rows of `files`.
    pub fn of(files: impl IntoIterator<Item = &'a LiveFile>) -> Self {
        let (clean, dirty): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.deletes.is_empty());
        Self {
            clean: clean.len(),
            files: clean.into_iter().chain(dirty).collect(),
        }
    }

    /// The files, in the order in which [`FILE_COLUMN`] numbers them.
    pub fn files(&self) -> &[&'a LiveFile] {
        &self.files
    }

    /// The SELECT; there must be a file.
    pub fn select(&self, selection: Selection<'_>) -> String {
        self.sql(selection, usize::MAX)
    }

    /// The SELECT for people: of many files only the first are named.
    pub fn select_for_people(&self, selection: Selection<'_>) -> String {
        self.sql(selection, FILES_SHOWN)
    }

    fn sql(&self, selection: Selection<'_>, shown: usize) -> String {
        let mut sql = String::new();
        if self.clean > 0 {
            self.branch(&mut sql, selection, 0..self.clean, shown);
        }
        if self.clean > 0 && self.clean < self.files.len() {
            sql.push_str(" UNION ALL ");
        }
        if self.clean < self.files.len() {
            self.branch(&mut sql, selection, self.clean..self.files.len(), shown);
        }
        sql
    }

    /// One SELECT, over files that are all clean or all not.
    fn branch(
        &self,
        sql: &mut String,
        selection: Selection<'_>,
        range: std::ops::Range<usize>,
        shown: usize,
    ) {
        let files = &self.files[range.clone()];
        let _ = write!(sql, "SELECT {}", selection.list);
        if selection.with_positions {
            let separator = if selection.list.is_empty() { "" } else { ", " };
            let _ = write!(
                sql,
                "{separator}t.file_index::BIGINT + {} AS {FILE_COLUMN}, t.file_row_number AS {POSITION_COLUMN}",
                range.start
            );
        }
        sql.push_str(" FROM read_parquet(");
        push_paths(sql, files.iter().map(|file| file.data.path.as_str()), shown);
        sql.push_str(", hive_partitioning=false) AS t");
        if range.start >= self.clean {
            sql.push_str(" ANTI JOIN (");
            push_deleted(sql, files, shown);
            let _ = write!(
                sql,
                ") AS d ON t.file_index::BIGINT * {POSITIONS_PER_FILE} + t.file_row_number = d._lake_deleted"
            );
        }
        if !selection.condition.is_empty() {
            let _ = write!(sql, " WHERE {}", selection.condition);
        }
    }
}

/// `['a', 'b', … 3 more]`
fn push_paths<'p>(sql: &mut String, paths: impl ExactSizeIterator<Item = &'p str>, shown: usize) {
    let count = paths.len();
    sql.push('[');
    for (position, path) in paths.take(shown).enumerate() {
        sql.push_str(if position == 0 { "" } else { ", " });
        sql.push_str(&quote_literal(path));
    }
    if shown < count {
        let _ = write!(sql, ", … {} more", count - shown);
    }
    sql.push(']');
}

/// The deleted positions of some files: a SELECT with the one column `_lake_deleted`.
fn push_deleted(sql: &mut String, files: &[&LiveFile], shown: usize) {
    let mut in_sql = Vec::new();
    let mut to_read = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let number = number as u64;
        for deletes in &file.deletes {
            match &deletes.positions {
                Some(positions) if in_sql.len() + positions.len() <= MAX_POSITIONS_IN_SQL => in_sql
                    .extend(
                        positions
                            .iter()
                            .map(|position| number * POSITIONS_PER_FILE + position),
                    ),
                _ => to_read.push((number, deletes.path.as_str())),
            }
        }
    }
    if !in_sql.is_empty() {
        // As text: it takes DuckDB's parser a small part of the time that as many numbers would.
        sql.push_str("SELECT unnest('[");
        for (position, deleted) in in_sql.iter().take(shown).enumerate() {
            sql.push_str(if position == 0 { "" } else { ", " });
            let _ = write!(sql, "{deleted}");
        }
        if shown < in_sql.len() {
            let _ = write!(sql, ", … {} more", in_sql.len() - shown);
        }
        sql.push_str("]'::BIGINT[]) AS _lake_deleted");
        if !to_read.is_empty() {
            sql.push_str(" UNION ALL ");
        }
    }
    if !to_read.is_empty() {
        sql.push_str("SELECT ([");
        for (position, (number, _)) in to_read.iter().take(shown).enumerate() {
            sql.push_str(if position == 0 { "" } else { ", " });
            let _ = write!(sql, "{number}");
        }
        let _ = write!(
            sql,
            "]::BIGINT[])[file_index::BIGINT + 1] * {POSITIONS_PER_FILE} + pos AS _lake_deleted FROM read_parquet("
        );
        push_paths(sql, to_read.iter().map(|(_, path)| *path), shown);
        sql.push_str(", hive_partitioning=false)");
    }
}
