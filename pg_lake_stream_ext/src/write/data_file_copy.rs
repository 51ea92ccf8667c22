//! The statements that write one data file, and what they report of it.

use std::fmt::Write;

use lake_iceberg::{DataFile, LakeType, TableSchema, quote_identifier};
use pgduck_protocol::csv::{self, FieldKind};
use pgduck_protocol::sql::quote_literal;

use crate::catalog::in_progress;
use crate::catalog::lake_table::LakeTable;
use crate::error::{LakeError, Result};
use crate::pgduck::result::PgResult;
use crate::write::csv_copy::CsvCopy;

/// A data file that is about to be written from rows of PostgreSQL.
#[derive(Debug, Clone)]
pub struct DataFileCopy {
    /// The file's key: the URL or path that it will have in the table.
    path: String,
    /// The statement that writes it.
    pub copy: CsvCopy,
}

impl DataFileCopy {
    /// Plans a new file. `max_line` is the longest CSV line that must be accepted, in bytes.
    pub fn new(table: &LakeTable, max_line: usize) -> Result<Self> {
        let schema = table.schema();
        let path = new_file_path(&table.location)?;
        let copy = CsvCopy {
            head: format!("COPY (SELECT {} FROM read_csv(", select_list(&schema)),
            tail: format!(
                ", {})) {}",
                read_csv_options(&schema, max_line),
                to_data_file(&schema, &path)
            ),
        };
        Ok(Self { path, copy })
    }

    /// The file that the finished COPY reports.
    pub fn written_file(&self, schema: &TableSchema, result: &PgResult) -> Result<DataFile> {
        written_file(schema, &self.path, result)
    }
}

/// The key of a new data or delete file, without its ending. No key is ever written twice, not even when a statement is
/// repeated.
pub fn new_file_key(location: &str) -> Result<String> {
    let id = in_progress::new_object_id(location)?;
    Ok(format!("{location}/data/{:02x}/{id}", id.as_bytes()[0]))
}

/// The path of a new Parquet file.
pub fn new_file_path(location: &str) -> Result<String> {
    Ok(format!("{}.parquet", new_file_key(location)?))
}

/// Rows of a row group. A look-up of one row reads one row group of the columns that it needs, so these are smaller than
/// DuckDB's default of 122880; files get some 6 % larger by it.
const ROW_GROUP_ROWS: u32 = 20_480;

/// `TO '…' (…)`: how data files are written.
pub fn to_data_file(schema: &TableSchema, path: &str) -> String {
    format!(
        "TO {} (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {ROW_GROUP_ROWS}, FIELD_IDS {}, RETURN_STATS)",
        quote_literal(path),
        schema.field_ids_clause()
    )
}

/// The file that a finished COPY to `path` reports (DuckDB, COPY … RETURN_STATS): one, since nothing in the statement
/// splits it.
pub fn written_file(schema: &TableSchema, path: &str, result: &PgResult) -> Result<DataFile> {
    if result.rows() != 1 {
        return Err(LakeError::internal(format!(
            "pgduck_server wrote {} files instead of one",
            result.rows()
        )));
    }
    Ok(DataFile::from_return_stats(
        schema,
        path,
        result.parse(0, result.column(c"count")?)?,
        result.parse(0, result.column(c"file_size_bytes")?)?,
        result.text(0, result.column(c"column_statistics")?)?,
    )?)
}

/// `c0 AS "id", make_timestamp(c1) AS "ts"`
fn select_list(schema: &TableSchema) -> String {
    let mut list = String::new();
    for (position, column) in schema.columns.iter().enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        let field = format!("c{position}");
        let value = match &column.ty {
            LakeType::List(list) => field_kind(&list.element).decode_array_expression(&field),
            scalar => field_kind(scalar).decode_expression(&field),
        };
        let _ = write!(
            list,
            "{separator}{value} AS {}",
            quote_identifier(&column.name)
        );
    }
    list
}

fn read_csv_options(schema: &TableSchema, max_line: usize) -> String {
    let columns: Vec<(String, String)> = schema
        .columns
        .iter()
        .enumerate()
        .map(|(position, column)| {
            let csv_type = match &column.ty {
                // Arrays travel as JSON text.
                LakeType::List(_) => "VARCHAR".to_owned(),
                scalar => field_kind(scalar).csv_type(),
            };
            (format!("c{position}"), csv_type)
        })
        .collect();
    csv::read_csv_options(
        columns
            .iter()
            .map(|(name, ty)| (name.as_str(), ty.as_str())),
        max_line as u64,
    )
}

/// The notation of a scalar type's values in the stream.
fn field_kind(ty: &LakeType) -> FieldKind {
    match ty {
        LakeType::Boolean => FieldKind::Boolean,
        LakeType::Int => FieldKind::Number("INTEGER"),
        LakeType::Long => FieldKind::Number("BIGINT"),
        LakeType::Float => FieldKind::Number("REAL"),
        LakeType::Double => FieldKind::Number("DOUBLE"),
        LakeType::Decimal { precision, scale } => FieldKind::Decimal(*precision, *scale),
        LakeType::Date => FieldKind::Date,
        LakeType::Time => FieldKind::Time,
        LakeType::Timestamp => FieldKind::Timestamp,
        LakeType::Timestamptz => FieldKind::TimestampTz,
        LakeType::Uuid => FieldKind::Uuid,
        LakeType::Binary => FieldKind::Blob,
        LakeType::String | LakeType::List(_) => FieldKind::Text,
    }
}
