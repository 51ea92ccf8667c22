//! Values in DuckDB's SQL: which types a condition may compare there, and how their values are written.
//!
//! A value is always written into the statement, never bound as a parameter: DuckDB then plans with it (row groups are
//! skipped by it, arrays become IN lists), and no text is parsed by rules that differ (DuckDB reads PostgreSQL's
//! `0044-03-15 BC` as the year 44 after Christ).

use std::ffi::CStr;

use pgduck_protocol::sql::quote_literal;
use pgrx::{direct_function_call_as_datum, pg_sys};

use crate::pg::varlena::payload;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from (`POSTGRES_EPOCH_JDATE`, datatype/timestamp.h).
const POSTGRES_EPOCH_DAYS: i64 = 10_957;
/// First and last day of the years 1 to 9999, counted from 1970: what `YYYY-MM-DD` can say without doubt.
const ORDINARY_DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;
/// Most digits of a DuckDB DECIMAL.
pub const MAX_DECIMAL_DIGITS: usize = 38;

/// A type whose comparisons mean the same to DuckDB as to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `uuid`
    Uuid,
    /// `text` and `character varying`; not `character`, which ignores blanks.
    Text,
}

impl ValueType {
    /// The type with this OID, if it is one of them.
    pub fn from_oid(type_oid: pg_sys::Oid) -> Option<Self> {
        Some(match type_oid {
            pg_sys::BOOLOID => Self::Bool,
            pg_sys::INT2OID => Self::Int2,
            pg_sys::INT4OID => Self::Int4,
            pg_sys::INT8OID => Self::Int8,
            pg_sys::FLOAT4OID => Self::Float4,
            pg_sys::FLOAT8OID => Self::Float8,
            pg_sys::NUMERICOID => Self::Numeric,
            pg_sys::DATEOID => Self::Date,
            pg_sys::TIMEOID => Self::Time,
            pg_sys::TIMESTAMPOID => Self::Timestamp,
            pg_sys::TIMESTAMPTZOID => Self::Timestamptz,
            pg_sys::UUIDOID => Self::Uuid,
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Self::Text,
            _ => return None,
        })
    }

    /// DuckDB's name of the type. Numerics are only ever NULL under this name.
    pub fn duckdb_name(self) -> &'static str {
        match self {
            Self::Bool => "BOOLEAN",
            Self::Int2 => "SMALLINT",
            Self::Int4 => "INTEGER",
            Self::Int8 => "BIGINT",
            Self::Float4 => "FLOAT",
            Self::Float8 => "DOUBLE",
            Self::Numeric => "DECIMAL(38,0)",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::Timestamp => "TIMESTAMP",
            Self::Timestamptz => "TIMESTAMPTZ",
            Self::Uuid => "UUID",
            Self::Text => "VARCHAR",
        }
    }

    /// Whether the type is one of PostgreSQL's integers, which compare with each other.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    /// Whether the type is one of PostgreSQL's dates and times.
    pub fn is_datetime(self) -> bool {
        matches!(
            self,
            Self::Date | Self::Time | Self::Timestamp | Self::Timestamptz
        )
    }

    /// Whether the type is one of PostgreSQL's floats, which compare with each other.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float4 | Self::Float8)
    }
}

/// NULL of a type.
pub fn null(value_type: ValueType) -> String {
    format!("CAST(NULL AS {})", value_type.duckdb_name())
}

/// A value that is not NULL, or `None` if DuckDB cannot hold it: a numeric that is not finite or has too many digits.
///
/// # Safety
/// `datum` is a valid value of this type.
pub unsafe fn value(value_type: ValueType, datum: pg_sys::Datum) -> Option<String> {
    Some(match value_type {
        ValueType::Bool => if datum.value() & 0xff != 0 {
            "TRUE"
        } else {
            "FALSE"
        }
        .to_owned(),
        ValueType::Int2 => integer((datum.value() as i16).into()),
        ValueType::Int4 => integer((datum.value() as i32).into()),
        ValueType::Int8 => integer(datum.value() as i64),
        ValueType::Float4 => format!(
            "CAST('{:?}' AS FLOAT)",
            f32::from_bits(datum.value() as u32)
        ),
        ValueType::Float8 => format!(
            "CAST('{:?}' AS DOUBLE)",
            f64::from_bits(datum.value() as u64)
        ),
        // SAFETY: the caller vouches for the type.
        ValueType::Numeric => return unsafe { Decimal::new(datum) }.map(|decimal| decimal.sql()),
        ValueType::Date => date(datum.value() as i32),
        ValueType::Time => format!("TIME '{}'", clock(datum.value() as i64)),
        ValueType::Timestamp => timestamp(datum.value() as i64, "TIMESTAMP", "", "make_timestamp"),
        ValueType::Timestamptz => timestamp(
            datum.value() as i64,
            "TIMESTAMPTZ",
            "+00",
            "make_timestamptz",
        ),
        ValueType::Uuid => {
            // SAFETY: a uuid is 16 bytes, passed by reference (utils/uuid.h).
            let bytes = unsafe { *datum.cast_mut_ptr::<[u8; 16]>() };
            format!("CAST('{}' AS UUID)", uuid::Uuid::from_bytes(bytes))
        }
        ValueType::Text => {
            // SAFETY: as above; the bytes are read before the value can go away. They are UTF-8, for lake tables exist
            // only in databases of that encoding.
            quote_literal(&String::from_utf8_lossy(unsafe { payload(datum) }))
        }
    })
}

/// Whether a date lies in the years 1 to 9999.
pub fn is_ordinary_date(datum: pg_sys::Datum) -> bool {
    ORDINARY_DAYS.contains(&(i64::from(datum.value() as i32) + POSTGRES_EPOCH_DAYS))
}

/// Whether a value is a float and zero, of either sign.
pub fn is_float_zero(value_type: ValueType, datum: pg_sys::Datum) -> bool {
    match value_type {
        ValueType::Float4 => f32::from_bits(datum.value() as u32) == 0.0,
        ValueType::Float8 => f64::from_bits(datum.value() as u64) == 0.0,
        _ => false,
    }
}

/// A finite numeric, in digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    text: String,
    /// Digits before the point that count.
    pub integer_digits: usize,
    /// Digits after the point.
    pub scale: usize,
}

impl Decimal {
    /// Reads a numeric, or `None` if it is NaN, infinite, or has too many digits for DuckDB.
    ///
    /// # Safety
    /// `datum` is a valid numeric.
    pub unsafe fn new(datum: pg_sys::Datum) -> Option<Self> {
        // SAFETY: numeric_out takes one numeric and returns a palloc'd C string.
        let text = unsafe {
            let text = direct_function_call_as_datum(pg_sys::numeric_out, &[Some(datum)])?;
            CStr::from_ptr(text.cast_mut_ptr()).to_str().ok()?
        };
        Self::parse(text)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_start_matches('-');
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let integer_digits = integer.trim_start_matches('0').len();
        let scale = fraction.len();
        (integer_digits + scale <= MAX_DECIMAL_DIGITS).then(|| Self {
            text: text.to_owned(),
            integer_digits,
            scale,
        })
    }

    /// The value in SQL, with exactly its own digits as the type.
    pub fn sql(&self) -> String {
        let width = (self.integer_digits + self.scale).max(1);
        format!("CAST('{}' AS DECIMAL({width},{}))", self.text, self.scale)
    }
}

/// Negative numbers in parentheses: after an operator their sign could be taken for a part of it.
fn integer(value: i64) -> String {
    if value < 0 {
        format!("({value})")
    } else {
        value.to_string()
    }
}

/// A date, counted in days from 2000-01-01; the extremes are the infinities (utils/date.h).
fn date(days: i32) -> String {
    match days {
        i32::MIN => "CAST('-infinity' AS DATE)".to_owned(),
        i32::MAX => "CAST('infinity' AS DATE)".to_owned(),
        _ => {
            let days = i64::from(days) + POSTGRES_EPOCH_DAYS;
            if ORDINARY_DAYS.contains(&days) {
                format!("DATE '{}'", calendar(days))
            } else {
                format!("(DATE '1970-01-01' + ({days}))")
            }
        }
    }
}

/// A timestamp, counted in microseconds from 2000-01-01; the extremes are the infinities (datatype/timestamp.h).
///
/// What lies beyond DuckDB's range, and so beyond every stored value, is written as infinity.
fn timestamp(us: i64, type_name: &str, zone: &str, function: &str) -> String {
    let unix_us = match us {
        i64::MIN => None,
        _ => us.checked_add(POSTGRES_EPOCH_DAYS * DAY_US),
    };
    match unix_us {
        None if us < 0 => format!("CAST('-infinity' AS {type_name})"),
        None => format!("CAST('infinity' AS {type_name})"),
        Some(unix_us) => {
            let days = unix_us.div_euclid(DAY_US);
            if ORDINARY_DAYS.contains(&days) {
                let clock = clock(unix_us.rem_euclid(DAY_US));
                format!("{type_name} '{} {clock}{zone}'", calendar(days))
            } else {
                format!("{function}({unix_us})")
            }
        }
    }
}

/// `YYYY-MM-DD` of a day counted from 1970, by the proleptic Gregorian calendar.
///
/// The arithmetic counts from 0000-03-01, so that a leap day ends its year, in eras of 400 years.
fn calendar(days: i64) -> String {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `hh:mm:ss[.ffffff]` of microseconds since midnight.
fn clock(us: i64) -> String {
    let seconds = us / 1_000_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match us % 1_000_000 {
        0 => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        fraction => format!("{hours:02}:{minutes:02}:{seconds:02}.{fraction:06}"),
    }
}
