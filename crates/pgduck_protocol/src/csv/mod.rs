//! The row dialect of a `RECEIVE` stream: how each value is written, and the SQL that reads it back.
//!
//! | | |
//! |---|---|
//! | fields | separated by `,`, rows ended by `\n`, no header |
//! | NULL | unquoted `\N`; a text that is `\N` is quoted |
//! | quoting | `"…"` with `""` for a quote, when the text holds a quote or a comma, is empty, is `\N`, begins or ends with a space, or begins with a byte order mark |
//! | line breaks in text | **never written**: `\n`, `\r` and U+0001 become two characters, U+0001 and `n`, `r` or `e` |
//! | bool | `t`, `f` |
//! | numbers | decimal; floats are the shortest text that reads back the same, or `NaN`, `Infinity`, `-Infinity` |
//! | date, timestamp | days, microseconds since 1970-01-01 |
//! | time | `hh:mm:ss[.ffffff]` |
//! | uuid, bytes | lower-case text with dashes; base64 |
//! | one-dimensional array | JSON array of `null` and of strings that hold the element in the notation above (text as it is) |
//!
//! Why text carries no line breaks: DuckDB's parallel CSV reader lets every thread but the first start in the
//! middle of the data, and has to guess there whether a line break is the end of a row or part of a quoted
//! value. With values that look like rows it guesses wrong (1.5.5: errors on 5 of 6 adversarial inputs of
//! 200 MB). Without line breaks in values there is nothing to guess, and parsing stays parallel.
//! [`FieldKind::decode_expression`] undoes the escape; for text without U+0001 it costs one search.

mod encoder;
mod field_encoder;

pub use encoder::{ArrayEncoder, RowEncoder};
pub use field_encoder::FieldEncoder;

/// Character between two fields of a row.
pub const DELIMITER: u8 = b',';

/// What stands for NULL, unquoted.
pub const NULL: &[u8] = br"\N";

/// First character of a two-character escape inside text.
pub const ESCAPE: u8 = 0x01;

/// Longest row that DuckDB's reader admits without being told; longer ones need `max_line_size`.
pub const DEFAULT_MAX_LINE_BYTES: u64 = 2_000_000;

/// Size of the reader's buffers with [`DEFAULT_MAX_LINE_BYTES`]. Left alone, DuckDB takes sixteen times the longest row.
const DEFAULT_BUFFER_BYTES: u64 = 32_000_000;

/// The notation of a field; what a column's type maps to in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// `t`, `f`.
    Boolean,
    /// A number of DuckDB type `SMALLINT`, `INTEGER`, `BIGINT`, `REAL` or `DOUBLE`.
    Number(&'static str),
    /// A decimal number with this precision and scale.
    Decimal(u8, u8),
    /// Days since 1970-01-01.
    Date,
    /// `hh:mm:ss[.ffffff]`.
    Time,
    /// Microseconds since 1970-01-01 00:00:00, no time zone.
    Timestamp,
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    TimestampTz,
    /// Escaped text.
    Text,
    /// Text form of a UUID.
    Uuid,
    /// Base64.
    Blob,
}

impl FieldKind {
    /// DuckDB type as which `read_csv` parses the field (scalar columns).
    pub fn csv_type(self) -> String {
        match self {
            FieldKind::Boolean => "BOOLEAN".to_owned(),
            FieldKind::Number(name) => name.to_owned(),
            FieldKind::Decimal(precision, scale) => format!("DECIMAL({precision},{scale})"),
            FieldKind::Date => "INTEGER".to_owned(),
            FieldKind::Time => "TIME".to_owned(),
            FieldKind::Timestamp | FieldKind::TimestampTz => "BIGINT".to_owned(),
            FieldKind::Text | FieldKind::Blob => "VARCHAR".to_owned(),
            FieldKind::Uuid => "UUID".to_owned(),
        }
    }

    /// SQL that turns the parsed field `column` of a scalar column into its value.
    pub fn decode_expression(self, column: &str) -> String {
        match self {
            FieldKind::Text => decode_text(column),
            FieldKind::Boolean
            | FieldKind::Number(_)
            | FieldKind::Decimal(..)
            | FieldKind::Time
            | FieldKind::Uuid => column.to_owned(),
            FieldKind::Date => format!("(DATE '1970-01-01' + {column})"),
            FieldKind::Timestamp => format!("make_timestamp({column})"),
            FieldKind::TimestampTz => format!("make_timestamptz({column})"),
            FieldKind::Blob => format!("from_base64({column})"),
        }
    }

    /// SQL that turns the field `column` (parsed as `VARCHAR`) of an array column into a list of elements of this kind.
    pub fn decode_array_expression(self, column: &str) -> String {
        let list = format!("from_json({column}, '[\"VARCHAR\"]')");
        match self {
            FieldKind::Text => list,
            FieldKind::Boolean
            | FieldKind::Number(_)
            | FieldKind::Decimal(..)
            | FieldKind::Time
            | FieldKind::Uuid => format!("CAST({list} AS {}[])", self.csv_type()),
            FieldKind::Date | FieldKind::Timestamp | FieldKind::TimestampTz => {
                let element = self.decode_expression(&format!("CAST(x AS {})", self.csv_type()));
                format!("list_transform({list}, lambda x: {element})")
            }
            FieldKind::Blob => {
                format!(
                    "list_transform({list}, lambda x: {})",
                    self.decode_expression("x")
                )
            }
        }
    }
}

/// SQL that undoes the escape of line breaks in text.
fn decode_text(column: &str) -> String {
    format!(
        "CASE WHEN contains({column}, chr(1)) THEN replace(replace(replace({column}, \
         chr(1) || 'n', chr(10)), chr(1) || 'r', chr(13)), chr(1) || 'e', chr(1)) ELSE {column} END"
    )
}

/// The options of `read_csv(<source>, <options>)` that make DuckDB read this dialect, and read it in parallel.
///
/// `columns` are the names and DuckDB types of all fields, in order. `max_line_bytes` is the length of the longest
/// row that may come; the reader's buffers grow with it, so leave it at [`DEFAULT_MAX_LINE_BYTES`] if that will do.
///
/// `auto_detect = false` does more than to fix the dialect: with it DuckDB's reader does not derive its number of
/// threads from the size of the file, which is zero for a pipe.
pub fn read_csv_options<'a>(
    columns: impl IntoIterator<Item = (&'a str, &'a str)>,
    max_line_bytes: u64,
) -> String {
    let columns: Vec<String> = columns
        .into_iter()
        .map(|(name, ty)| {
            format!(
                "{}: {}",
                crate::sql::quote_literal(name),
                crate::sql::quote_literal(ty)
            )
        })
        .collect();
    let mut options = format!(
        "auto_detect=false, header=false, delim=',', quote='\"', escape='\"', new_line='\\n', \
         nullstr='\\N', allow_quoted_nulls=false, columns={{{}}}",
        columns.join(", ")
    );
    if max_line_bytes > DEFAULT_MAX_LINE_BYTES {
        let buffer_bytes = (2 * max_line_bytes).max(DEFAULT_BUFFER_BYTES);
        options.push_str(&format!(
            ", max_line_size={max_line_bytes}, buffer_size={buffer_bytes}"
        ));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_the_whole_dialect() {
        let options = read_csv_options([("c0", "BIGINT"), ("c1", "VARCHAR")], 0);
        assert_eq!(
            options,
            "auto_detect=false, header=false, delim=',', quote='\"', escape='\"', new_line='\\n', \
             nullstr='\\N', allow_quoted_nulls=false, columns={'c0': 'BIGINT', 'c1': 'VARCHAR'}"
        );
        let options = read_csv_options([("c0", "BIGINT")], 64_000_000);
        assert!(options.ends_with(", max_line_size=64000000, buffer_size=128000000"));
    }

    #[test]
    fn expressions_of_arrays_go_through_json() {
        assert_eq!(
            FieldKind::Number("INTEGER").decode_array_expression("c1"),
            "CAST(from_json(c1, '[\"VARCHAR\"]') AS INTEGER[])"
        );
        assert_eq!(
            FieldKind::Blob.decode_array_expression("c1"),
            "list_transform(from_json(c1, '[\"VARCHAR\"]'), lambda x: from_base64(x))"
        );
    }
}
