//! Lower and upper bounds of a column within a file, as text and in Iceberg's binary form.
//!
//! As text a bound is a literal that PostgreSQL's input function of the type accepts
//! (`0044-03-15 BC`, `Infinity`, `true`): the extension keeps it in its catalog and compares it there.
//!
//! A bound may be wider than the data, never narrower: other engines skip files by it. Where a
//! text is not understood there is no bound.

use std::fmt::Write;

use chrono::{Datelike, NaiveDate};
use iceberg::spec::{Datum, PrimitiveType};

/// Longest string bound, in code points: the default of Iceberg's `write.metadata.metrics`.
const STRING_BOUND_LENGTH: usize = 16;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Which end of the range a bound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Lower,
    Upper,
}

/// The bound as kept in [`crate::ColumnStats`], from DuckDB's text for a column's min or max.
pub(crate) fn bound_text(ty: &PrimitiveType, side: Side, duckdb_text: &str) -> Option<String> {
    match ty {
        PrimitiveType::Boolean => Some(parse_bool(duckdb_text)?.to_string()),
        PrimitiveType::Int => Some(duckdb_text.parse::<i32>().ok()?.to_string()),
        PrimitiveType::Long => Some(duckdb_text.parse::<i64>().ok()?.to_string()),
        PrimitiveType::Float => {
            let value = duckdb_text
                .parse::<f32>()
                .ok()
                .filter(|value| !value.is_nan())?;
            Some(float_text(
                signed_zero(side, value.into()),
                &value.to_string(),
            ))
        }
        PrimitiveType::Double => {
            let value = duckdb_text
                .parse::<f64>()
                .ok()
                .filter(|value| !value.is_nan())?;
            Some(float_text(signed_zero(side, value), &value.to_string()))
        }
        PrimitiveType::Decimal { scale, .. } => {
            parse_decimal(duckdb_text, *scale)?;
            Some(duckdb_text.to_owned())
        }
        PrimitiveType::Date => Some(date_text(parse_date(duckdb_text)?)),
        PrimitiveType::Time => Some(time_text(parse_time(duckdb_text)?)),
        PrimitiveType::Timestamp => timestamp_text(parse_timestamp(duckdb_text)?, ""),
        PrimitiveType::Timestamptz => timestamp_text(parse_timestamp(duckdb_text)?, "+00"),
        PrimitiveType::String => match side {
            Side::Lower => Some(duckdb_text.chars().take(STRING_BOUND_LENGTH).collect()),
            Side::Upper => truncated_upper_bound(duckdb_text),
        },
        _ => None,
    }
}

/// The bound in Iceberg's form, from the text that [`bound_text`] made.
pub(crate) fn bound_datum(ty: &PrimitiveType, text: &str) -> Option<Datum> {
    match ty {
        PrimitiveType::Boolean => Some(Datum::bool(parse_bool(text)?)),
        PrimitiveType::Int => Some(Datum::int(text.parse::<i32>().ok()?)),
        PrimitiveType::Long => Some(Datum::long(text.parse::<i64>().ok()?)),
        PrimitiveType::Float => Some(Datum::float(text.parse::<f32>().ok()?)),
        PrimitiveType::Double => Some(Datum::double(text.parse::<f64>().ok()?)),
        PrimitiveType::Decimal { scale, .. } => {
            let unscaled = parse_decimal(text, *scale)?;
            Datum::try_from_bytes(&unscaled.to_be_bytes(), ty.clone()).ok()
        }
        PrimitiveType::Date => Some(Datum::date(parse_date(text)?)),
        PrimitiveType::Time => Datum::time_micros(parse_time(text)?).ok(),
        PrimitiveType::Timestamp => Some(Datum::timestamp_micros(parse_timestamp(text)?)),
        PrimitiveType::Timestamptz => Some(Datum::timestamptz_micros(parse_timestamp(text)?)),
        PrimitiveType::String => Some(Datum::string(text)),
        _ => None,
    }
}

/// DuckDB writes `1` and `0` for min and max of a BOOLEAN.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "t" => Some(true),
        "0" | "false" | "f" => Some(false),
        _ => None,
    }
}

/// Iceberg orders `-0.0` before `+0.0`, DuckDB takes them for equal and reports either.
fn signed_zero(side: Side, value: f64) -> f64 {
    match side {
        _ if value != 0.0 => value,
        Side::Lower => -0.0,
        Side::Upper => 0.0,
    }
}

/// PostgreSQL's spelling; `digits` is Rust's shortest text of the value.
fn float_text(value: f64, digits: &str) -> String {
    if value.is_infinite() {
        if value > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        }
    } else if value == 0.0 {
        if value.is_sign_negative() {
            "-0".into()
        } else {
            "0".into()
        }
    } else {
        digits.to_owned()
    }
}

/// The unscaled value; DuckDB writes `.50` without the zero when precision equals scale.
fn parse_decimal(text: &str, scale: u32) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let missing_zeros = scale.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut unscaled: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        unscaled = unscaled
            .checked_mul(10)?
            .checked_add(i128::from(digit - b'0'))?;
    }
    unscaled = unscaled.checked_mul(10_i128.checked_pow(missing_zeros)?)?;
    Some(if negative { -unscaled } else { unscaled })
}

/// Splits off the era: `4714-11-24 (BC) 00:00:00` is DuckDB's way, `4714-11-24 00:00:00 BC`
/// PostgreSQL's.
fn split_era(text: &str) -> (bool, String) {
    match text.strip_suffix(" BC") {
        Some(rest) => (true, rest.to_owned()),
        None if text.contains(" (BC)") => (true, text.replacen(" (BC)", "", 1)),
        None => (false, text.to_owned()),
    }
}

/// Days since 1970-01-01.
fn parse_date(text: &str) -> Option<i32> {
    let (before_christ, text) = split_era(text);
    days_of(&text, before_christ)
}

fn days_of(date: &str, before_christ: bool) -> Option<i32> {
    let mut parts = date.split('-');
    let year: i32 = parts.next()?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    let day = parts.next()?.parse().ok()?;
    if parts.next().is_some() {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    let date = NaiveDate::from_ymd_opt(year, month, day)?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Microseconds since midnight; `24:00:00`, which Iceberg's time cannot hold, is none.
fn parse_time(text: &str) -> Option<i64> {
    let (seconds_text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = seconds_text.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || fraction.len() > 6 {
        return None;
    }
    let micros = format!("{fraction:0<6}").parse::<i64>().ok()?;
    let in_range =
        (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    in_range.then_some(((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros)
}

/// Microseconds since 1970-01-01; a zone must be UTC.
fn parse_timestamp(text: &str) -> Option<i64> {
    let (before_christ, text) = split_era(text);
    let text = text.strip_suffix("+00").unwrap_or(&text);
    let (date, time) = text.split_once(' ')?;
    let days = i64::from(days_of(date, before_christ)?);
    days.checked_mul(MICROS_PER_DAY)?
        .checked_add(parse_time(time)?)
}

fn date_text(days: i32) -> String {
    let (date, era) = date_and_era(days.into());
    format!("{date}{era}")
}

/// PostgreSQL's date text and its era suffix, which comes after the time if there is one.
fn date_and_era(days: i64) -> (String, &'static str) {
    let date = NaiveDate::default() + chrono::Duration::days(days);
    let (year, era) = if date.year() > 0 {
        (date.year(), "")
    } else {
        (1 - date.year(), " BC")
    };
    (
        format!("{year:04}-{:02}-{:02}", date.month(), date.day()),
        era,
    )
}

fn time_text(micros: i64) -> String {
    let (seconds, fraction) = (micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{hour:02}:{minute:02}:{second:02}");
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        // Writing to a String cannot fail.
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text
}

fn timestamp_text(micros: i64, zone: &str) -> Option<String> {
    let (date, era) = date_and_era(micros.div_euclid(MICROS_PER_DAY));
    let time = time_text(micros.rem_euclid(MICROS_PER_DAY));
    Some(format!("{date} {time}{zone}{era}"))
}

/// A short string that is not less than any string that `max` is an upper bound of: cut to
/// [`STRING_BOUND_LENGTH`] code points, and the last one incremented; none if that is impossible.
fn truncated_upper_bound(max: &str) -> Option<String> {
    let mut kept: Vec<char> = max.chars().take(STRING_BOUND_LENGTH).collect();
    if max.chars().nth(STRING_BOUND_LENGTH).is_none() {
        return Some(max.to_owned());
    }
    while let Some(last) = kept.pop() {
        if let Some(next) = next_code_point(last) {
            kept.push(next);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

/// The next Unicode scalar value; surrogates are skipped.
fn next_code_point(character: char) -> Option<char> {
    match character {
        char::MAX => None,
        '\u{D7FF}' => Some('\u{E000}'),
        other => char::from_u32(u32::from(other) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(ty: PrimitiveType, duckdb_text: &str) -> (String, Datum) {
        let text = bound_text(&ty, Side::Lower, duckdb_text).unwrap();
        // What was kept must be read back as the same value.
        assert_eq!(bound_text(&ty, Side::Lower, &text).as_ref(), Some(&text));
        let datum = bound_datum(&ty, &text).unwrap();
        (text, datum)
    }

    #[test]
    fn numbers() {
        assert_eq!(
            both(PrimitiveType::Boolean, "1"),
            ("true".into(), Datum::bool(true))
        );
        assert_eq!(
            both(PrimitiveType::Int, "-7"),
            ("-7".into(), Datum::int(-7))
        );
        let smallest = i64::MIN.to_string();
        assert_eq!(
            both(PrimitiveType::Long, &smallest),
            (smallest.clone(), Datum::long(i64::MIN))
        );
        assert_eq!(
            both(PrimitiveType::Float, "0.1"),
            ("0.1".into(), Datum::float(0.1_f32))
        );
        let infinity = ("-Infinity".into(), Datum::double(f64::NEG_INFINITY));
        assert_eq!(both(PrimitiveType::Double, "-inf"), infinity);
        assert_eq!(bound_text(&PrimitiveType::Double, Side::Upper, "nan"), None);
    }

    #[test]
    fn a_zero_bound_covers_both_zeros() {
        for duckdb_text in ["0.0", "-0.0"] {
            for ty in [PrimitiveType::Float, PrimitiveType::Double] {
                let lower = bound_text(&ty, Side::Lower, duckdb_text).unwrap();
                let upper = bound_text(&ty, Side::Upper, duckdb_text).unwrap();
                assert_eq!((lower.as_str(), upper.as_str()), ("-0", "0"));
                let lower_bytes = bound_datum(&ty, &lower).unwrap().to_bytes().unwrap();
                assert_eq!(lower_bytes.last(), Some(&0x80));
            }
        }
    }

    #[test]
    fn decimals_are_exact() {
        let bytes = |precision, scale, text: &str| {
            let ty = PrimitiveType::Decimal { precision, scale };
            both(ty, text).1.to_bytes().unwrap().into_vec()
        };
        assert_eq!(bytes(12, 2, "12.50"), 1250_i32.to_be_bytes()[2..]);
        assert_eq!(bytes(3, 2, "-0.05"), [0xFB]);
        assert_eq!(
            bytes(38, 38, ".00000000000000000000000000000000000001"),
            [1]
        );
        let most = "9".repeat(38);
        assert_eq!(bytes(38, 0, &most), (10_i128.pow(38) - 1).to_be_bytes());
        assert_eq!(parse_decimal("1.234", 2), None);
    }

    #[test]
    fn dates_and_times_before_and_after_christ() {
        assert_eq!(
            both(PrimitiveType::Date, "2024-01-02"),
            ("2024-01-02".into(), Datum::date(19724))
        );
        let first = ("4714-11-24 BC".into(), Datum::date(-2_440_588));
        assert_eq!(both(PrimitiveType::Date, "4714-11-24 (BC)"), first);
        let time = (
            "01:02:03.000004".into(),
            Datum::time_micros(3_723_000_004).unwrap(),
        );
        assert_eq!(both(PrimitiveType::Time, "01:02:03.000004"), time);
        assert_eq!(
            bound_text(&PrimitiveType::Time, Side::Upper, "24:00:00"),
            None
        );
        let old = "4714-11-24 00:00:00+00 BC".into();
        let datum = Datum::timestamptz_micros(-210_866_803_200_000_000);
        assert_eq!(
            both(PrimitiveType::Timestamptz, "4714-11-24 (BC) 00:00:00+00"),
            (old, datum)
        );
        let last_moment = "9999-12-31 23:59:59.999999".to_owned();
        let datum = Datum::timestamp_micros(253_402_300_799_999_999);
        assert_eq!(
            both(PrimitiveType::Timestamp, &last_moment),
            (last_moment.clone(), datum)
        );
        let before_1970 = "1969-12-31 23:59:59.5";
        let datum = Datum::timestamp_micros(-500_000);
        assert_eq!(
            both(PrimitiveType::Timestamp, before_1970),
            (before_1970.into(), datum)
        );
    }

    #[test]
    fn a_string_bound_is_cut_outwards() {
        let ty = PrimitiveType::String;
        let long = "abcdefghijklmnopqrstuvwxyz";
        assert_eq!(
            bound_text(&ty, Side::Lower, long).as_deref(),
            Some("abcdefghijklmnop")
        );
        assert_eq!(
            bound_text(&ty, Side::Upper, long).as_deref(),
            Some("abcdefghijklmnoq")
        );
        assert_eq!(
            bound_text(&ty, Side::Upper, "short").as_deref(),
            Some("short")
        );
        let greatest = char::MAX.to_string().repeat(17);
        assert_eq!(bound_text(&ty, Side::Upper, &greatest), None);
        let mixed = format!("a{}", char::MAX.to_string().repeat(17));
        assert_eq!(bound_text(&ty, Side::Upper, &mixed).as_deref(), Some("b"));
        let surrogates = "\u{D7FF}".repeat(17);
        let upper = bound_text(&ty, Side::Upper, &surrogates).unwrap();
        assert_eq!(upper.chars().last(), Some('\u{E000}'));
        assert!(upper > surrogates);
    }

    #[test]
    fn types_without_an_order_that_all_engines_share_have_no_bounds() {
        let uuid = "450ac29a-47c2-4f7e-afe6-fc52af1bfb22";
        assert_eq!(bound_text(&PrimitiveType::Uuid, Side::Lower, uuid), None);
        assert_eq!(
            bound_text(&PrimitiveType::Binary, Side::Lower, "00FF"),
            None
        );
    }
}
