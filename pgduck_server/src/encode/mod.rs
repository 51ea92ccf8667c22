//! From DuckDB's columns to PostgreSQL's rows.
//!
//! # Layout
//!
//! | file | what |
//! |---|---|
//! | `pg_type.rs` | which PostgreSQL type a DuckDB type is sent as |
//! | `text.rs` | the text format: what PostgreSQL's output functions print with `DateStyle = ISO` |
//! | `binary.rs` | the binary format: what PostgreSQL's send functions write |
//! | `json.rs` | nested values as JSON text |
//! | `datetime.rs`, `numeric.rs` | calendar and decimal arithmetic that the formats share |
//! | `csv.rs` | rows as CSV lines, for `TRANSMIT` |

pub mod csv;
pub mod datetime;
pub mod numeric;
pub mod pg_type;

mod binary;
mod json;
mod text;

use crate::duck::{Chunk, Type, Vector};
use crate::errors::{ServerError, sqlstate};
use pg_type::PgType;

/// Format of a value on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text.
    Text,
    /// Binary.
    Binary,
}

impl Format {
    /// The code of the wire protocol.
    pub fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// A column of a result: its name, its type on both sides, and its format on the wire.
#[derive(Debug, Clone)]
pub struct Column {
    /// Name.
    pub name: String,
    /// DuckDB type.
    pub ty: Type,
    /// PostgreSQL type.
    pub pg: PgType,
    /// Format on the wire.
    pub format: Format,
}

impl Column {
    /// A column with the PostgreSQL type that belongs to its DuckDB type.
    pub fn new(name: String, ty: Type, format: Format) -> Column {
        let pg = PgType::of(&ty);
        Column {
            name,
            ty,
            pg,
            format,
        }
    }
}

/// Longest `DataRow` message, as in PostgreSQL (`MaxAllocSize`).
const MAX_ROW_BYTES: usize = 0x3fff_ffff;

/// Appends the rows `from..to` of a chunk to `out` as `DataRow` messages, until `out` holds `limit` bytes.
/// Returns the first row that was not appended.
pub fn data_rows(
    chunk: &Chunk,
    from: usize,
    to: usize,
    columns: &[Column],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<usize, ServerError> {
    let vectors: Vec<Vector<'_>> = (0..columns.len())
        .map(|index| chunk.column(index))
        .collect();
    let count = (columns.len() as u16).to_be_bytes();
    for row in from..to {
        if out.len() >= limit {
            return Ok(row);
        }
        let message = out.len();
        out.extend_from_slice(&[b'D', 0, 0, 0, 0, count[0], count[1]]);
        for (column, vector) in columns.iter().zip(&vectors) {
            if vector.is_null(row) {
                out.extend_from_slice(&(-1i32).to_be_bytes());
                continue;
            }
            let value = out.len();
            out.extend_from_slice(&[0; 4]);
            match column.format {
                Format::Text => text::value(&column.ty, vector, row, out),
                Format::Binary => binary::value(&column.ty, &column.pg, vector, row, out),
            }
            let length = (out.len() - value - 4) as u32;
            out[value..value + 4].copy_from_slice(&length.to_be_bytes());
        }
        let length = out.len() - message - 1;
        if length > MAX_ROW_BYTES {
            out.truncate(message);
            return Err(ServerError::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("row of {length} bytes is too large to be sent"),
            ));
        }
        out[message + 1..message + 5].copy_from_slice(&(length as u32).to_be_bytes());
    }
    Ok(to)
}
