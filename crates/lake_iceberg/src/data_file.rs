//! One Parquet file of a table: what a commit must know of it.

use std::collections::HashMap;

use iceberg::spec::{
    DataContentType, DataFile as IcebergDataFile, DataFileBuilder, DataFileFormat, Datum,
    PrimitiveType, Schema, Type,
};
use serde::{Deserialize, Serialize};

use crate::column_bounds::bound_datum;
use crate::error::{Context, ErrorKind, Result};

/// A data file and its statistics. Serialisable, so that it can wait in a catalog for the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Location, as readers of the table shall open it.
    pub path: String,
    /// Number of rows.
    pub record_count: u64,
    /// Size in bytes.
    pub file_size: u64,
    /// Statistics per leaf column.
    pub columns: Vec<ColumnStats>,
}

/// Statistics of one leaf column of a file: a scalar column, or the elements of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ColumnStats {
    /// Field id; for a list, that of its element.
    pub field_id: i32,
    /// Number of values, nulls included.
    pub value_count: Option<u64>,
    /// Number of nulls.
    pub null_count: Option<u64>,
    /// Bytes in the file.
    pub column_size: Option<u64>,
    /// No value that is neither null nor NaN is less: a literal of PostgreSQL.
    pub lower: Option<String>,
    /// No value that is neither null nor NaN is greater: a literal of PostgreSQL.
    pub upper: Option<String>,
    /// Whether a float column has NaNs; unknown unless someone vouches for it
    /// (see [`DataFile::confirm_no_nan`]).
    pub has_nan: Option<bool>,
}

impl DataFile {
    /// Says that float column `field_id` holds no NaN: the writer of the rows has seen them all.
    ///
    /// Only then bounds of a float column are written to the manifest. PostgreSQL, Spark and DuckDB
    /// sort NaN above all numbers, so `x > 3` finds a NaN row, but Iceberg's bounds leave NaN out
    /// and a reader that prunes by them would not. DuckDB 1.5's own `has_nan` cannot be relied on:
    /// it is that of the file's last row group.
    pub fn confirm_no_nan(&mut self, field_id: i32) {
        for column in &mut self.columns {
            if column.field_id == field_id && column.has_nan != Some(true) {
                column.has_nan = Some(false);
            }
        }
    }

    /// The entry of a manifest for this file.
    pub(crate) fn to_iceberg(&self, schema: &Schema, spec_id: i32) -> Result<IcebergDataFile> {
        let columns = &self.columns;
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(self.path.clone())
            .file_format(DataFileFormat::Parquet)
            .partition_spec_id(spec_id)
            .record_count(self.record_count)
            .file_size_in_bytes(self.file_size)
            .column_sizes(per_field(columns, |column| column.column_size))
            .value_counts(per_field(columns, |column| column.value_count))
            .null_value_counts(per_field(columns, |column| column.null_count))
            .nan_value_counts(per_field(columns, |column| match column.has_nan {
                Some(false) => Some(0),
                _ => None,
            }))
            .lower_bounds(per_field(columns, |column| {
                bound(schema, column, &column.lower)
            }))
            .upper_bounds(per_field(columns, |column| {
                bound(schema, column, &column.upper)
            }))
            .build()
            .context(
                ErrorKind::Internal,
                format!("could not describe data file {}", self.path),
            )
    }
}

fn per_field<T>(
    columns: &[ColumnStats],
    value: impl Fn(&ColumnStats) -> Option<T>,
) -> HashMap<i32, T> {
    columns
        .iter()
        .filter_map(|column| Some((column.field_id, value(column)?)))
        .collect()
}

fn bound(schema: &Schema, column: &ColumnStats, text: &Option<String>) -> Option<Datum> {
    let Type::Primitive(ty) = &*schema.field_by_id(column.field_id)?.field_type else {
        return None;
    };
    let is_float = matches!(ty, PrimitiveType::Float | PrimitiveType::Double);
    if is_float && column.has_nan != Some(false) {
        return None;
    }
    bound_datum(ty, text.as_deref()?)
}
