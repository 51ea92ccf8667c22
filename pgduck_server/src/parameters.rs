//! Values of parameters, as Bind sends them.

use crate::duck::Parameter;
use crate::encode::Format;
use crate::encode::datetime::{EPOCH_DAYS, EPOCH_MICROSECONDS};
use crate::encode::pg_type::oid;
use crate::errors::{ServerError, sqlstate};
use crate::wire::frontend::Bind;

/// Reads format codes.
pub fn formats(codes: &[i16]) -> Result<Vec<Format>, ServerError> {
    codes
        .iter()
        .map(|code| match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => Err(ServerError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("unsupported format code: {other}"),
            )),
        })
        .collect()
}

/// Decodes all values of a Bind message; `oids` are the types of the statement's parameters.
pub fn decode(bind: &Bind, oids: &[u32]) -> Result<Vec<Parameter>, ServerError> {
    let codes = formats(&bind.parameter_formats)?;
    if codes.len() > 1 && codes.len() != bind.parameters.len() {
        return Err(ServerError::protocol(format!(
            "bind message has {} parameter formats but {} parameters",
            codes.len(),
            bind.parameters.len()
        )));
    }
    if bind.parameters.len() != oids.len() {
        return Err(ServerError::new(
            sqlstate::PROTOCOL_VIOLATION,
            format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
                bind.parameters.len(),
                bind.statement,
                oids.len()
            ),
        ));
    }
    bind.parameters
        .iter()
        .zip(oids)
        .enumerate()
        .map(|(index, (value, &oid))| {
            let format = codes
                .get(index)
                .or(codes.first())
                .copied()
                .unwrap_or(Format::Text);
            match (value, format) {
                (None, _) => Ok(Parameter::Null),
                (Some(bytes), Format::Text) => text(bytes, oid),
                (Some(bytes), Format::Binary) => binary(bytes, oid).ok_or_else(|| {
                    ServerError::new(
                        sqlstate::INVALID_BINARY_REPRESENTATION,
                        format!(
                            "incorrect binary data format in bind parameter {}",
                            index + 1
                        ),
                    )
                })?,
            }
        })
        .collect()
}

/// A value in text: numbers and booleans are parsed here, everything else DuckDB casts from `VARCHAR`.
fn text(bytes: &[u8], oid: u32) -> Result<Parameter, ServerError> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        ServerError::new(
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\"",
        )
    })?;
    let trimmed = text.trim();
    let invalid = |name: &str| {
        ServerError::new(
            sqlstate::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type {name}: \"{text}\""),
        )
    };
    Ok(match oid {
        oid::BOOL => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Parameter::Boolean(true),
            "f" | "false" | "n" | "no" | "off" | "0" => Parameter::Boolean(false),
            _ => return Err(invalid("boolean")),
        },
        oid::INT2 => Parameter::Int16(trimmed.parse().map_err(|_| invalid("smallint"))?),
        oid::INT4 => Parameter::Int32(trimmed.parse().map_err(|_| invalid("integer"))?),
        oid::INT8 => Parameter::Int64(trimmed.parse().map_err(|_| invalid("bigint"))?),
        oid::FLOAT4 => Parameter::Float(trimmed.parse().map_err(|_| invalid("real"))?),
        oid::FLOAT8 => Parameter::Double(trimmed.parse().map_err(|_| invalid("double precision"))?),
        oid::BYTEA => match trimmed.strip_prefix("\\x") {
            Some(hex) => Parameter::Blob(unhex(hex).ok_or_else(|| invalid("bytea"))?),
            None => Parameter::Blob(bytes.to_vec()),
        },
        oid::UUID => {
            let hex: String = trimmed
                .chars()
                .filter(|c| !matches!(c, '-' | '{' | '}'))
                .collect();
            let bytes = unhex(&hex).and_then(|bytes| bytes.try_into().ok());
            Parameter::Uuid(bytes.ok_or_else(|| invalid("uuid"))?)
        }
        _ => Parameter::Text(text.to_owned()),
    })
}

/// A value in binary; `None` if the bytes do not fit the type. The outer error is a type that is not supported.
fn binary(bytes: &[u8], oid: u32) -> Option<Result<Parameter, ServerError>> {
    let value = match oid {
        oid::BOOL => Parameter::Boolean(*fixed::<1>(bytes)?.first()? != 0),
        oid::INT2 => Parameter::Int16(i16::from_be_bytes(fixed(bytes)?)),
        oid::INT4 => Parameter::Int32(i32::from_be_bytes(fixed(bytes)?)),
        oid::INT8 => Parameter::Int64(i64::from_be_bytes(fixed(bytes)?)),
        oid::FLOAT4 => Parameter::Float(f32::from_be_bytes(fixed(bytes)?)),
        oid::FLOAT8 => Parameter::Double(f64::from_be_bytes(fixed(bytes)?)),
        oid::DATE => Parameter::Date(match i32::from_be_bytes(fixed(bytes)?) {
            i32::MAX => i32::MAX,
            i32::MIN => -i32::MAX,
            days => days.checked_add(EPOCH_DAYS)?,
        }),
        oid::TIME => Parameter::Time(i64::from_be_bytes(fixed(bytes)?)),
        oid::TIMESTAMP => Parameter::Timestamp(microseconds(bytes)?),
        oid::TIMESTAMPTZ => Parameter::TimestampTz(microseconds(bytes)?),
        oid::INTERVAL => {
            let bytes = fixed::<16>(bytes)?;
            Parameter::Interval {
                microseconds: i64::from_be_bytes(fixed(&bytes[..8])?),
                days: i32::from_be_bytes(fixed(&bytes[8..12])?),
                months: i32::from_be_bytes(fixed(&bytes[12..])?),
            }
        }
        oid::NUMERIC => return numeric(bytes),
        oid::UUID => Parameter::Uuid(fixed(bytes)?),
        oid::BYTEA => Parameter::Blob(bytes.to_vec()),
        oid::JSONB => {
            let (&version, text) = bytes.split_first()?;
            if version != 1 {
                return None;
            }
            Parameter::Text(std::str::from_utf8(text).ok()?.to_owned())
        }
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::UNKNOWN | oid::JSON => {
            Parameter::Text(std::str::from_utf8(bytes).ok()?.to_owned())
        }
        other => {
            return Some(Err(ServerError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!("binary parameters of type {other} are not supported"),
            )));
        }
    };
    Some(Ok(value))
}

/// Exactly `N` bytes.
fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// A timestamp as microseconds since 1970.
fn microseconds(bytes: &[u8]) -> Option<i64> {
    match i64::from_be_bytes(fixed(bytes)?) {
        i64::MAX => Some(i64::MAX),
        i64::MIN => Some(-i64::MAX),
        value => value.checked_add(EPOCH_MICROSECONDS),
    }
}

/// A `numeric` in the form of `numeric_send`. What a DuckDB decimal cannot hold is passed on as text.
fn numeric(bytes: &[u8]) -> Option<Result<Parameter, ServerError>> {
    let word = |at: usize| Some(i16::from_be_bytes(fixed(bytes.get(at..at + 2)?)?));
    let (count, weight, sign, scale) = (word(0)?, word(2)?, word(4)? as u16, word(6)?);
    let (count, scale) = (usize::try_from(count).ok()?, u32::try_from(scale).ok()?);
    if bytes.len() != 8 + 2 * count {
        return None;
    }
    let unsupported = |what: &str| {
        Some(Err(ServerError::new(
            sqlstate::NUMERIC_OUT_OF_RANGE,
            format!("numeric parameter {what}"),
        )))
    };
    match sign {
        0 | 0x4000 => {}
        0xc000 => return unsupported("is NaN"),
        _ => return unsupported("is infinite"),
    }
    if scale > 38 {
        return unsupported("has more than 38 digits behind the decimal point");
    }
    // The digits are `sum(group[i] * 10000^(weight - i))`; we want them times 10^scale.
    let mut unscaled: i128 = 0;
    for index in 0..count {
        let group = i128::from(word(8 + 2 * index)?);
        let power = 4 * (i64::from(weight) - index as i64) + i64::from(scale);
        let term = if power >= 0 {
            let factor = u32::try_from(power)
                .ok()
                .and_then(|power| 10i128.checked_pow(power));
            factor.and_then(|factor| group.checked_mul(factor))
        } else {
            Some(group / 10i128.pow(u32::try_from(-power).ok()?.min(4)))
        };
        match term.and_then(|term| unscaled.checked_add(term)) {
            Some(sum) if sum < 10i128.pow(38) => unscaled = sum,
            _ => return unsupported("has more than 38 digits"),
        }
    }
    if sign == 0x4000 {
        unscaled = -unscaled;
    }
    Some(Ok(Parameter::Decimal(unscaled, 38, scale as u8)))
}

/// Bytes of an even number of hexadecimal digits.
fn unhex(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::numeric::push_numeric;

    #[test]
    fn numeric_reads_what_numeric_sends() {
        for (value, scale) in [
            (0i128, 0u8),
            (12_345, 2),
            (-12_345, 3),
            (1, 10),
            (10i128.pow(37), 0),
            (99_990_000, 4),
        ] {
            let mut bytes = Vec::new();
            push_numeric(&mut bytes, value < 0, value.unsigned_abs(), scale);
            assert_eq!(
                numeric(&bytes),
                Some(Ok(Parameter::Decimal(value, 38, scale)))
            );
        }
        assert!(matches!(
            numeric(&[0, 0, 0, 0, 0xc0, 0, 0, 0]),
            Some(Err(_))
        ));
        assert_eq!(numeric(&[0, 1, 0, 0]), None);
    }

    #[test]
    fn text_values_are_checked() {
        assert_eq!(text(b" 42 ", oid::INT4), Ok(Parameter::Int32(42)));
        assert_eq!(text(b"x", oid::INT4).unwrap_err().code, "22P02");
        assert_eq!(
            text(b"\\x00ff", oid::BYTEA),
            Ok(Parameter::Blob(vec![0, 255]))
        );
        assert_eq!(
            text(b"2024-01-01", oid::DATE),
            Ok(Parameter::Text("2024-01-01".into()))
        );
    }

    #[test]
    fn binary_values_of_the_wrong_length_are_refused() {
        assert_eq!(binary(&[0, 0, 0], oid::INT4), None);
        assert_eq!(
            binary(&[0, 0, 0, 7], oid::INT4),
            Some(Ok(Parameter::Int32(7)))
        );
        assert_eq!(
            binary(&[0, 0, 0, 0], oid::DATE),
            Some(Ok(Parameter::Date(EPOCH_DAYS)))
        );
    }
}
