//! Statistics of a file that DuckDB has just written: `COPY … TO … (FORMAT parquet, RETURN_STATS)`.
//!
//! What DuckDB 1.5 gives per leaf column, and what may be made of it:
//! * `num_values` counts nulls too, and for a list also an entry for each list that is null or
//!   empty; so does Iceberg's `value_counts`.
//! * `min`/`max` of a string longer than 256 bytes is cut; the max is then incremented, or missing if
//!   it cannot be. If one row group has none, the file has none.
//! * `min`/`max` of floats leave NaN out. `has_nan` is that of the last row group only: `true` is
//!   true, `false` means nothing.

use std::collections::HashMap;

use serde_json::Value;

use crate::column_bounds::{Side, bound_text};
use crate::data_file::{ColumnStats, DataFile};
use crate::error::{Context, ErrorKind, Result};
use crate::lake_type::LakeType;
use crate::table_schema::{Column, TableSchema, quote_identifier};

/// DuckDB's statistics of one column, by name: `min`, `max`, `null_count`, ….
type NamedValues = HashMap<String, Value>;

impl DataFile {
    /// Describes a file from one row of `RETURN_STATS`: its name, row count and size, and its
    /// `column_statistics` as a JSON object, `{"\"id\"": {"min": "1", "null_count": "0", …}, …}`,
    /// whose keys are dotted paths of quoted names.
    pub fn from_return_stats(
        schema: &TableSchema,
        filename: &str,
        count: u64,
        file_size: u64,
        column_statistics_json: &str,
    ) -> Result<Self> {
        let statistics: HashMap<String, NamedValues> = serde_json::from_str(column_statistics_json)
            .context(
                ErrorKind::InvalidStatistics,
                format!("could not read the statistics of {filename}"),
            )?;
        let columns = schema
            .columns
            .iter()
            .filter_map(|column| Some(column_stats(column, statistics.get(&leaf_path(column))?)))
            .collect();
        Ok(Self {
            path: filename.to_owned(),
            record_count: count,
            file_size,
            columns,
        })
    }
}

fn leaf_path(column: &Column) -> String {
    let name = quote_identifier(&column.name);
    match column.ty {
        LakeType::List(_) => format!("{name}.\"element\""),
        _ => name,
    }
}

fn column_stats(column: &Column, values: &NamedValues) -> ColumnStats {
    let count = |name: &str| text(values, name).and_then(|text| text.parse().ok());
    let bound =
        |name: &str, side: Side| bound_text(&column.ty.primitive(), side, &text(values, name)?);
    let (field_id, is_list) = match &column.ty {
        LakeType::List(list) => (list.element_id, true),
        _ => (column.field_id, false),
    };
    ColumnStats {
        field_id,
        value_count: count("num_values"),
        null_count: count("null_count"),
        column_size: count("column_size_bytes"),
        lower: if is_list {
            None
        } else {
            bound("min", Side::Lower)
        },
        upper: if is_list {
            None
        } else {
            bound("max", Side::Upper)
        },
        has_nan: (text(values, "has_nan").as_deref() == Some("true")).then_some(true),
    }
}

/// DuckDB's map holds strings; numbers and booleans in JSON's own notation are taken as well.
fn text(values: &NamedValues, name: &str) -> Option<String> {
    match values.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(field_id: i32, name: &str, ty: LakeType) -> Column {
        Column {
            field_id,
            name: name.into(),
            ty,
            required: false,
        }
    }

    /// As DuckDB 1.5.5 gave it.
    const SAMPLE: &str = r#"{
        "\"a\".\"element\"": {"column_size_bytes": "54", "has_nan": "true", "max": "1.5", "min": "1.5", "null_count": "3", "num_values": "5"},
        "\"b\"": {"column_size_bytes": "31", "max": "1", "min": "0", "null_count": "2", "num_values": "4"},
        "\"d\"": {"column_size_bytes": "50", "has_nan": "false", "max": "inf", "min": "-inf", "null_count": "0", "num_values": "4"},
        "\"i\"": {"column_size_bytes": "25", "null_count": "4", "num_values": "4"},
        "\"l\"\"q.s\"": {"column_size_bytes": "45", "max": "b", "min": "a", "null_count": "1", "num_values": "4"}
    }"#;

    fn sample() -> DataFile {
        let schema = TableSchema {
            columns: vec![
                column(1, "a", LakeType::list(2, LakeType::Double)),
                column(3, "b", LakeType::Boolean),
                column(4, "d", LakeType::Double),
                column(5, "i", LakeType::Int),
                column(6, "l\"q.s", LakeType::String),
                column(7, "not there", LakeType::Int),
            ],
        };
        DataFile::from_return_stats(&schema, "/t/data/x.parquet", 4, 575, SAMPLE).unwrap()
    }

    fn stats(field_id: i32) -> ColumnStats {
        sample()
            .columns
            .into_iter()
            .find(|column| column.field_id == field_id)
            .unwrap()
    }

    #[test]
    fn counts_and_bounds_are_taken_over() {
        let file = sample();
        assert_eq!(
            (file.record_count, file.file_size, file.columns.len()),
            (4, 575, 5)
        );
        let text = stats(6);
        assert_eq!(
            (text.value_count, text.null_count, text.column_size),
            (Some(4), Some(1), Some(45))
        );
        assert_eq!(
            (text.lower.as_deref(), text.upper.as_deref()),
            (Some("a"), Some("b"))
        );
        assert_eq!(stats(3).lower.as_deref(), Some("false"));
        assert_eq!(stats(5).lower, None);
    }

    #[test]
    fn a_list_has_counts_of_its_elements_and_no_bounds() {
        let elements = stats(2);
        assert_eq!(
            (elements.value_count, elements.null_count),
            (Some(5), Some(3))
        );
        assert_eq!((elements.lower, elements.upper), (None, None));
    }

    #[test]
    fn float_bounds_reach_iceberg_only_when_there_is_no_nan_for_sure() {
        let fields = vec![column(4, "d", LakeType::Double)];
        let schema = TableSchema { columns: fields }.to_iceberg(0).unwrap();
        let mut file = sample();
        assert!(
            file.to_iceberg(&schema, 0)
                .unwrap()
                .lower_bounds()
                .is_empty()
        );
        file.confirm_no_nan(4);
        let entry = file.to_iceberg(&schema, 0).unwrap();
        assert!(entry.lower_bounds().contains_key(&4));
        assert_eq!(entry.nan_value_counts().get(&4), Some(&0));
        file.columns[2].has_nan = Some(true);
        file.confirm_no_nan(4);
        assert!(
            file.to_iceberg(&schema, 0)
                .unwrap()
                .lower_bounds()
                .is_empty()
        );
    }

    #[test]
    fn statistics_survive_serialisation() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<DataFile>(&json).unwrap(), sample());
    }

    #[test]
    fn damaged_statistics_are_an_error() {
        let schema = TableSchema { columns: vec![] };
        let error = DataFile::from_return_stats(&schema, "x", 0, 0, "[").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidStatistics);
    }
}
