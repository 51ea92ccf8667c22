//! Rows as CSV lines, for `TRANSMIT`: no header, `,`, `"`, NULL is an unquoted `\N`.

use crate::duck::{Chunk, Vector};

use super::{Column, text};

/// Appends the rows of a chunk, `from` and on, to `out` as CSV lines, until `out` holds `limit` bytes.
/// Returns the first row that was not appended.
pub fn lines(
    chunk: &Chunk,
    from: usize,
    columns: &[Column],
    limit: usize,
    out: &mut Vec<u8>,
) -> usize {
    let vectors: Vec<Vector<'_>> = (0..columns.len())
        .map(|index| chunk.column(index))
        .collect();
    for row in from..chunk.rows() {
        if out.len() >= limit {
            return row;
        }
        for (index, (column, vector)) in columns.iter().zip(&vectors).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if vector.is_null(row) {
                out.extend_from_slice(br"\N");
                continue;
            }
            let start = out.len();
            text::value(&column.ty, vector, row, out);
            if needs_quotes(&out[start..]) {
                quote(start, out);
            }
        }
        out.push(b'\n');
    }
    chunk.rows()
}

/// Whether a field must be quoted.
fn needs_quotes(field: &[u8]) -> bool {
    field.is_empty()
        || field == br"\N"
        || field.first() == Some(&b' ')
        || field.last() == Some(&b' ')
        || field
            .iter()
            .any(|byte| matches!(byte, b'"' | b',' | b'\n' | b'\r'))
}

/// Quotes the field that begins at `start` and ends where `out` ends.
fn quote(start: usize, out: &mut Vec<u8>) {
    let field = out.split_off(start);
    out.push(b'"');
    for byte in field {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_when_they_must_be() {
        for (field, quoted) in [
            ("", true),
            ("a", false),
            (r"\N", true),
            ("a,b", true),
            (" a", true),
            ("a\nb", true),
        ] {
            assert_eq!(needs_quotes(field.as_bytes()), quoted, "{field:?}");
        }
        let mut out = b"x,a\"b".to_vec();
        quote(2, &mut out);
        assert_eq!(out, b"x,\"a\"\"b\"");
    }
}
