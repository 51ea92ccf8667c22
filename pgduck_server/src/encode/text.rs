//! PostgreSQL's text format.

use crate::duck::{IntervalValue, ListEntry, Physical, Type, Vector, Wide};

use super::datetime::{self, Moment};
use super::pg_type::PgType;
use super::{json, numeric};

/// Appends the text of a value that is not NULL.
pub fn value(ty: &Type, vector: &Vector<'_>, row: usize, out: &mut Vec<u8>) {
    match ty {
        Type::Boolean => out.push(if vector.value::<u8>(row) != 0 {
            b't'
        } else {
            b'f'
        }),
        Type::TinyInt => integer(out, vector.value::<i8>(row)),
        Type::SmallInt => integer(out, vector.value::<i16>(row)),
        Type::Integer => integer(out, vector.value::<i32>(row)),
        Type::BigInt => integer(out, vector.value::<i64>(row)),
        Type::UTinyInt => integer(out, vector.value::<u8>(row)),
        Type::USmallInt => integer(out, vector.value::<u16>(row)),
        Type::UInteger => integer(out, vector.value::<u32>(row)),
        Type::UBigInt => integer(out, vector.value::<u64>(row)),
        Type::HugeInt => integer(out, vector.value::<Wide>(row).signed()),
        Type::UHugeInt => integer(out, vector.value::<Wide>(row).unsigned()),
        Type::Float => numeric::push_float4(out, vector.value(row)),
        Type::Double => numeric::push_float8(out, vector.value(row)),
        Type::Decimal {
            scale, physical, ..
        } => {
            numeric::push_decimal(out, unscaled(*physical, vector, row), *scale);
        }
        Type::Date => datetime::push_date(out, vector.value(row)),
        Type::Time => datetime::push_time(out, vector.value(row)),
        Type::TimeNs => datetime::push_time(out, vector.value::<i64>(row) / 1000),
        Type::TimeTz => {
            let (microseconds, offset) = datetime::time_tz(vector.value(row));
            datetime::push_time(out, microseconds);
            datetime::push_offset(out, offset);
        }
        Type::Timestamp | Type::TimestampS | Type::TimestampMs | Type::TimestampNs => {
            datetime::push_timestamp(out, moment(ty, vector, row), false);
        }
        Type::TimestampTz => datetime::push_timestamp(out, moment(ty, vector, row), true),
        Type::Interval => {
            let interval: IntervalValue = vector.value(row);
            datetime::push_interval(out, interval.months, interval.days, interval.microseconds);
        }
        Type::Varchar | Type::Json => out.extend_from_slice(vector.bytes(row)),
        Type::Enum { physical, values } => {
            out.extend_from_slice(enum_label(*physical, values, vector, row).as_bytes());
        }
        Type::Blob => bytea(out, vector.bytes(row)),
        Type::Bit => bits(out, vector.bytes(row)),
        Type::Uuid => uuid(out, &uuid_bytes(vector, row)),
        Type::List(child) | Type::Array(child, _) if PgType::of(ty).element.is_some() => {
            array(ty, child, vector, row, out);
        }
        Type::List(_) | Type::Array(..) | Type::Struct(_) | Type::Map(..) | Type::Union(_) => {
            json::value(ty, vector, row, out);
        }
        Type::Null | Type::Unknown => {}
    }
}

/// Appends an integer.
fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The unscaled value of a decimal number.
pub fn unscaled(physical: Physical, vector: &Vector<'_>, row: usize) -> i128 {
    match physical {
        Physical::U8 => i128::from(vector.value::<u8>(row)),
        Physical::Two => i128::from(vector.value::<i16>(row)),
        Physical::Four => i128::from(vector.value::<i32>(row)),
        Physical::Eight => i128::from(vector.value::<i64>(row)),
        Physical::Sixteen => vector.value::<Wide>(row).signed(),
    }
}

/// A timestamp of any unit, in microseconds.
pub fn moment(ty: &Type, vector: &Vector<'_>, row: usize) -> Moment<i64> {
    let per_second = match ty {
        Type::TimestampS => 1,
        Type::TimestampMs => 1_000,
        Type::TimestampNs => 1_000_000_000,
        _ => 1_000_000,
    };
    datetime::timestamp(vector.value(row), per_second)
}

/// The label of an enum value.
pub fn enum_label<'v>(
    physical: Physical,
    values: &'v [String],
    vector: &Vector<'_>,
    row: usize,
) -> &'v str {
    let index = match physical {
        Physical::U8 => usize::from(vector.value::<u8>(row)),
        Physical::Two => usize::from(vector.value::<u16>(row)),
        _ => vector.value::<u32>(row) as usize,
    };
    values.get(index).map_or("", String::as_str)
}

/// The 16 bytes of a UUID in network order; DuckDB stores it as a signed number with the first bit flipped.
pub fn uuid_bytes(vector: &Vector<'_>, row: usize) -> [u8; 16] {
    (vector.value::<Wide>(row).unsigned() ^ (1 << 127)).to_be_bytes()
}

/// Appends the text of a UUID.
pub fn uuid(out: &mut Vec<u8>, bytes: &[u8; 16]) {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex(out, *byte);
    }
}

/// Appends two hexadecimal digits.
fn hex(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Appends bytes in PostgreSQL's hex notation.
fn bytea(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(2 + 2 * bytes.len());
    out.extend_from_slice(b"\\x");
    for &byte in bytes {
        hex(out, byte);
    }
}

/// Appends a bit string; DuckDB's first byte says how many bits of the second are padding.
pub fn bits(out: &mut Vec<u8>, bytes: &[u8]) {
    let Some((&padding, bytes)) = bytes.split_first() else {
        return;
    };
    for at in usize::from(padding)..8 * bytes.len() {
        out.push(b'0' + (bytes[at / 8] >> (7 - at % 8) & 1));
    }
}

/// The child vector of a list or array column, and the range of one row's elements in it.
pub fn elements<'v>(
    ty: &Type,
    vector: &Vector<'v>,
    row: usize,
) -> (Vector<'v>, std::ops::Range<usize>) {
    if let Type::Array(_, size) = ty {
        return (vector.array_child(), row * size..(row + 1) * size);
    }
    let entry: ListEntry = vector.value(row);
    let start = entry.offset as usize;
    (vector.list_child(), start..start + entry.length as usize)
}

/// Appends a one-dimensional array literal, see `array_out` in PostgreSQL.
fn array(ty: &Type, child: &Type, vector: &Vector<'_>, row: usize, out: &mut Vec<u8>) {
    let (items, range) = elements(ty, vector, row);
    let first = range.start;
    out.push(b'{');
    for item in range {
        if item > first {
            out.push(b',');
        }
        if items.is_null(item) {
            out.extend_from_slice(b"NULL");
            continue;
        }
        let start = out.len();
        value(child, &items, item, out);
        if needs_quotes(&out[start..]) {
            let text = out.split_off(start);
            out.push(b'"');
            for byte in text {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
    }
    out.push(b'}');
}

/// Whether an array element must be quoted.
fn needs_quotes(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text.iter().any(|byte| {
            matches!(
                byte,
                b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c
            )
        })
}
