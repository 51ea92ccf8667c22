//! Nested values as JSON text.
//!
//! Numbers and booleans are JSON numbers and booleans; floats that JSON cannot hold, and all other scalars, are strings
//! in PostgreSQL's text format. A map is an object whose keys are the text of its keys; a union is its value.

use crate::duck::{Type, Vector};

use super::text;

/// Appends the JSON text of a value that is not NULL.
pub fn value(ty: &Type, vector: &Vector<'_>, row: usize, out: &mut Vec<u8>) {
    match ty {
        Type::Boolean => {
            out.extend_from_slice(if vector.value::<u8>(row) != 0 {
                b"true"
            } else {
                b"false"
            });
        }
        Type::TinyInt
        | Type::SmallInt
        | Type::Integer
        | Type::BigInt
        | Type::UTinyInt
        | Type::USmallInt
        | Type::UInteger
        | Type::UBigInt
        | Type::HugeInt
        | Type::UHugeInt
        | Type::Decimal { .. }
        | Type::Json => text::value(ty, vector, row, out),
        Type::Float if vector.value::<f32>(row).is_finite() => text::value(ty, vector, row, out),
        Type::Double if vector.value::<f64>(row).is_finite() => text::value(ty, vector, row, out),
        Type::List(child) | Type::Array(child, _) => {
            let (items, range) = text::elements(ty, vector, row);
            out.push(b'[');
            for (index, item) in range.enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                nullable(child, &items, item, out);
            }
            out.push(b']');
        }
        Type::Struct(members) => {
            out.push(b'{');
            for (index, (name, child)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(name.as_bytes(), out);
                out.push(b':');
                nullable(child, &vector.struct_child(index), row, out);
            }
            out.push(b'}');
        }
        Type::Map(key, child) => {
            let (entries, range) = text::elements(ty, vector, row);
            let (keys, values) = (entries.struct_child(0), entries.struct_child(1));
            out.push(b'{');
            let mut label = Vec::new();
            for (index, item) in range.enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                label.clear();
                text::value(key, &keys, item, &mut label);
                string(&label, out);
                out.push(b':');
                nullable(child, &values, item, out);
            }
            out.push(b'}');
        }
        Type::Union(members) => {
            let tag = usize::from(vector.struct_child(0).value::<u8>(row));
            match members.get(tag) {
                Some((_, child)) => nullable(child, &vector.struct_child(tag + 1), row, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        _ => {
            let mut label = Vec::new();
            text::value(ty, vector, row, &mut label);
            string(&label, out);
        }
    }
}

/// Appends a value or `null`.
fn nullable(ty: &Type, vector: &Vector<'_>, row: usize, out: &mut Vec<u8>) {
    if vector.is_null(row) || matches!(ty, Type::Null | Type::Unknown) {
        out.extend_from_slice(b"null");
    } else {
        value(ty, vector, row, out);
    }
}

/// Appends a JSON string.
fn string(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_escaped() {
        let mut out = Vec::new();
        super::string("a\"b\\c\n\u{1}é".as_bytes(), &mut out);
        assert_eq!(out, "\"a\\\"b\\\\c\\n\\u0001é\"".as_bytes());
    }
}
