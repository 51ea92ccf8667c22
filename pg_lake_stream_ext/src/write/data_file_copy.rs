//! The statement that turns CSV rows into one Parquet file, and its result.

use std::fmt::Write;

use lake_iceberg::{DataFile, LakeType, TableSchema, quote_identifier};
use pgduck_protocol::csv::{self, FieldKind};
use pgduck_protocol::placeholder::PLACEHOLDER_LITERAL;
use pgduck_protocol::sql::quote_literal;
use uuid::Uuid;

use crate::catalog::lake_table::LakeTable;
use crate::error::{LakeError, Result};
use crate::pgduck::result::PgResult;

/// A data file that is about to be written: its key, and how its rows are read.
#[derive(Debug, Clone)]
pub struct DataFileCopy {
    /// The file's key: the URL or path that it will have in the table.
    path: String,
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
        let path = format!(
            "{}/data/{:02x}/{key}.parquet",
            table.location,
            key.as_bytes()[0]
        );
        Self {
            head: format!("COPY (SELECT {} FROM read_csv(", select_list(&schema)),
            tail: format!(
                ", {})) TO {} (FORMAT parquet, COMPRESSION snappy, FIELD_IDS {}, RETURN_STATS)",
                read_csv_options(&schema, max_line),
                quote_literal(&path),
                schema.field_ids_clause(),
            ),
            path,
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

impl DataFileCopy {
    /// The file that the finished COPY reports (DuckDB, COPY … RETURN_STATS): one, since nothing in the statement splits it.
    pub fn written_file(&self, schema: &TableSchema, result: &PgResult) -> Result<DataFile> {
        if result.rows() != 1 {
            return Err(LakeError::internal(format!(
                "pgduck_server wrote {} files instead of one",
                result.rows()
            )));
        }
        Ok(DataFile::from_return_stats(
            schema,
            &self.path,
            result.parse(0, result.column(c"count")?)?,
            result.parse(0, result.column(c"file_size_bytes")?)?,
            result.text(0, result.column(c"column_statistics")?)?,
        )?)
    }
}
