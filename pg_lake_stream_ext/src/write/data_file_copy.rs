//! The statement that turns CSV rows into one Parquet file, and its result.

use std::fmt::Write;

use lake_iceberg::{DataFile, TableSchema, quote_identifier};
use pgduck_protocol::{PLACEHOLDER_LITERAL, csv, sql::quote_literal};
use uuid::Uuid;

use crate::catalog::lake_table::LakeTable;
use crate::error::Result;
use crate::pgduck::result::PgResult;


/// A data file that is about to be written: its key, and how its rows are read.
#[derive(Debug, Clone)]
pub struct DataFileCopy {
    /// Text before and after the CSV source in the COPY statement.
    head: String,
    tail: String,
}

impl DataFileCopy {
    /// Plans a new file. `max_line` is the longest CSV line that must be accepted, in bytes.
    ///
    /// The key is unique: no key is ever written twice, not even when a statement is repeated.
    pub fn new(table: &LakeTable, max_line: usize) -> Self {
        let schema = table.schema();
        let key = Uuid::new_v4();
        let path = format!("{}/data/{:02x}/{key}.parquet", table.location, key.as_bytes()[0]);
        Self {
            head: format!("COPY (SELECT {} FROM read_csv(", select_list(&schema)),
            tail: format!(
                ", {}, columns={{{}}})) TO {} (FORMAT parquet, COMPRESSION snappy, FIELD_IDS {}, RETURN_STATS)",
                csv::read_csv_options(max_line),
                csv_columns(&schema),
                quote_literal(&path),
                schema.field_ids_clause(),
            ),
        }
    }

    /// The statement for rows that are streamed.
    pub fn receive_statement(&self) -> String {
        format!("RECEIVE {}{PLACEHOLDER_LITERAL}{}", self.head, self.tail)
    }

    /// The statement for rows in a file that the server can read.
    pub fn file_statement(&self, csv_path: &str) -> String {
        format!("{}{}{}", self.head, quote_literal(csv_path), self.tail)
    }
}

/// `c0 AS "id", make_timestamp(c1) AS "ts"`
fn select_list(schema: &TableSchema) -> String {
    let mut list = String::new();
    for (position, column) in schema.columns.iter().enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        let value = column.ty.select_expression(&format!("c{position}"));
        let _ = write!(list, "{separator}{value} AS {}", quote_identifier(&column.name));
    }
    list
}

/// `'c0': 'BIGINT', 'c1': 'VARCHAR'`
fn csv_columns(schema: &TableSchema) -> String {
    let columns: Vec<String> = schema
        .columns
        .iter()
        .enumerate()
        .map(|(position, column)| format!("'c{position}': '{}'", column.ty.csv_column_type()))
        .collect();
    columns.join(", ")
}

/// The files that a finished COPY reports (DuckDB, COPY … RETURN_STATS).
pub fn written_files(schema: &TableSchema, result: &PgResult) -> Result<Vec<DataFile>> {
    let filename = result.column(c"filename")?;
    let count = result.column(c"count")?;
    let file_size = result.column(c"file_size_bytes")?;
    let statistics = result.column(c"column_statistics")?;
    (0..result.rows())
        .map(|row| {
            Ok(DataFile::from_return_stats(
                schema,
                result.text(row, filename)?,
                result.parse(row, count)?,
                result.parse(row, file_size)?,
                result.text(row, statistics)?,
            )?)
        })
        .collect()
}
