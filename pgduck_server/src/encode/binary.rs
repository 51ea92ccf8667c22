//! PostgreSQL's binary format.

use crate::duck::{IntervalValue, Type, Vector, Wide};

use super::datetime::{self, EPOCH_DAYS, EPOCH_MICROSECONDS, Moment};
use super::pg_type::PgType;
use super::{numeric, text};

/// Appends the binary form of a value that is not NULL.
pub fn value(ty: &Type, pg: &PgType, vector: &Vector<'_>, row: usize, out: &mut Vec<u8>) {
    match ty {
        Type::Boolean => out.push(u8::from(vector.value::<u8>(row) != 0)),
        Type::TinyInt => bytes(out, i16::from(vector.value::<i8>(row)).to_be_bytes()),
        Type::UTinyInt => bytes(out, i16::from(vector.value::<u8>(row)).to_be_bytes()),
        Type::SmallInt => bytes(out, vector.value::<i16>(row).to_be_bytes()),
        Type::USmallInt => bytes(out, i32::from(vector.value::<u16>(row)).to_be_bytes()),
        Type::Integer => bytes(out, vector.value::<i32>(row).to_be_bytes()),
        Type::UInteger => bytes(out, i64::from(vector.value::<u32>(row)).to_be_bytes()),
        Type::BigInt => bytes(out, vector.value::<i64>(row).to_be_bytes()),
        Type::UBigInt => numeric::push_numeric(out, false, vector.value::<u64>(row).into(), 0),
        Type::HugeInt => signed_numeric(out, vector.value::<Wide>(row).signed(), 0),
        Type::UHugeInt => {
            numeric::push_numeric(out, false, vector.value::<Wide>(row).unsigned(), 0);
        }
        Type::Float => bytes(out, vector.value::<f32>(row).to_be_bytes()),
        Type::Double => bytes(out, vector.value::<f64>(row).to_be_bytes()),
        Type::Decimal {
            scale, physical, ..
        } => {
            signed_numeric(out, text::unscaled(*physical, vector, row), *scale);
        }
        Type::Date => bytes(out, date(vector.value(row)).to_be_bytes()),
        Type::Time => bytes(out, vector.value::<i64>(row).to_be_bytes()),
        Type::TimeNs => bytes(out, (vector.value::<i64>(row) / 1000).to_be_bytes()),
        Type::TimeTz => {
            let (microseconds, offset) = datetime::time_tz(vector.value(row));
            bytes(out, microseconds.to_be_bytes());
            // PostgreSQL counts seconds west of UTC.
            bytes(out, (-offset).to_be_bytes());
        }
        Type::Timestamp
        | Type::TimestampS
        | Type::TimestampMs
        | Type::TimestampNs
        | Type::TimestampTz => {
            bytes(out, timestamp(text::moment(ty, vector, row)).to_be_bytes());
        }
        Type::Interval => {
            let interval: IntervalValue = vector.value(row);
            bytes(out, interval.microseconds.to_be_bytes());
            bytes(out, interval.days.to_be_bytes());
            bytes(out, interval.months.to_be_bytes());
        }
        Type::Blob => out.extend_from_slice(vector.bytes(row)),
        Type::Uuid => out.extend_from_slice(&text::uuid_bytes(vector, row)),
        Type::List(child) | Type::Array(child, _) => match pg.element {
            Some(element) => array(ty, child, element, vector, row, out),
            None => text::value(ty, vector, row, out),
        },
        // The binary form of text, enums and json is their text; bit strings are sent as text.
        Type::Varchar
        | Type::Json
        | Type::Enum { .. }
        | Type::Bit
        | Type::Struct(_)
        | Type::Map(..)
        | Type::Union(_)
        | Type::Null
        | Type::Unknown => text::value(ty, vector, row, out),
    }
}

/// Appends the bytes of a number.
#[inline]
fn bytes<const N: usize>(out: &mut Vec<u8>, number: [u8; N]) {
    out.extend_from_slice(&number);
}

/// Appends a `numeric`.
fn signed_numeric(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    numeric::push_numeric(out, unscaled < 0, unscaled.unsigned_abs(), scale);
}

/// Days since 2000-01-01, with PostgreSQL's values for the infinities.
fn date(days: i32) -> i32 {
    match datetime::date(days) {
        Moment::At(days) => days.saturating_sub(EPOCH_DAYS),
        Moment::Infinity => i32::MAX,
        Moment::NegInfinity => i32::MIN,
    }
}

/// Microseconds since 2000-01-01, with PostgreSQL's values for the infinities.
fn timestamp(moment: Moment<i64>) -> i64 {
    match moment {
        Moment::At(microseconds) => microseconds.saturating_sub(EPOCH_MICROSECONDS),
        Moment::Infinity => i64::MAX,
        Moment::NegInfinity => i64::MIN,
    }
}

/// Appends a one-dimensional array, see `array_send` in PostgreSQL.
fn array(
    ty: &Type,
    child: &Type,
    element: u32,
    vector: &Vector<'_>,
    row: usize,
    out: &mut Vec<u8>,
) {
    let (items, range) = text::elements(ty, vector, row);
    let has_null = range.clone().any(|item| items.is_null(item));
    bytes(out, i32::from(!range.is_empty()).to_be_bytes());
    bytes(out, i32::from(has_null).to_be_bytes());
    bytes(out, element.to_be_bytes());
    if range.is_empty() {
        return;
    }
    bytes(out, (range.len() as i32).to_be_bytes());
    bytes(out, 1i32.to_be_bytes());
    let child_pg = PgType::of(child);
    for item in range {
        if items.is_null(item) {
            bytes(out, (-1i32).to_be_bytes());
            continue;
        }
        let start = out.len();
        bytes(out, [0; 4]);
        value(child, &child_pg, &items, item, out);
        let length = (out.len() - start - 4) as i32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}
