//! Dates and times: PostgreSQL's epoch, its ISO text, and DuckDB's special values.

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
pub const EPOCH_DAYS: i32 = 10_957;

/// Microseconds from 1970-01-01 to 2000-01-01.
pub const EPOCH_MICROSECONDS: i64 = EPOCH_DAYS as i64 * DAY_MICROSECONDS;

/// Microseconds of a day.
pub const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// A point on the time line, or one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment<T> {
    /// A finite value.
    At(T),
    /// `infinity`.
    Infinity,
    /// `-infinity`.
    NegInfinity,
}

/// A DuckDB date: days since 1970.
pub fn date(days: i32) -> Moment<i32> {
    match days {
        i32::MAX => Moment::Infinity,
        days if days == -i32::MAX => Moment::NegInfinity,
        days => Moment::At(days),
    }
}

/// A DuckDB timestamp in units of which `per_second` make a second, as microseconds since 1970.
pub fn timestamp(value: i64, per_second: i64) -> Moment<i64> {
    match value {
        i64::MAX => Moment::Infinity,
        value if value == -i64::MAX => Moment::NegInfinity,
        value if per_second <= 1_000_000 => {
            Moment::At(value.saturating_mul(1_000_000 / per_second))
        }
        value => Moment::At(value.div_euclid(per_second / 1_000_000)),
    }
}

/// A DuckDB `TIMETZ`, which packs 40 bits of microseconds and 24 bits of offset: (microseconds, seconds east of UTC).
pub fn time_tz(bits: u64) -> (i64, i32) {
    const MAX_OFFSET: i32 = 16 * 3600 - 1;
    ((bits >> 24) as i64, MAX_OFFSET - (bits & 0xff_ffff) as i32)
}

/// Year, month and day of a number of days since 1970, in the proleptic Gregorian calendar.
/// Method: H. Hinnant, "chrono-compatible low-level date algorithms".
pub fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Appends two digits.
#[inline]
fn push_two(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&[b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
}

/// Appends `yyyy-mm-dd`, without the era; returns whether the year is before Christ.
fn push_civil(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil(days);
    let before_christ = year <= 0;
    let shown = if before_christ { 1 - year } else { year };
    if shown < 10_000 {
        push_two(out, (shown / 100) as u32);
        push_two(out, (shown % 100) as u32);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(shown).as_bytes());
    }
    out.push(b'-');
    push_two(out, month);
    out.push(b'-');
    push_two(out, day);
    before_christ
}

/// Appends a date as PostgreSQL prints it.
pub fn push_date(out: &mut Vec<u8>, days: i32) {
    match date(days) {
        Moment::At(days) => {
            if push_civil(out, i64::from(days)) {
                out.extend_from_slice(b" BC");
            }
        }
        Moment::Infinity => out.extend_from_slice(b"infinity"),
        Moment::NegInfinity => out.extend_from_slice(b"-infinity"),
    }
}

/// Appends `hh:mm:ss[.ffffff]` without trailing zeros.
pub fn push_time(out: &mut Vec<u8>, microseconds: i64) {
    let seconds = microseconds / 1_000_000;
    push_two(out, (seconds / 3600) as u32);
    out.push(b':');
    push_two(out, (seconds / 60 % 60) as u32);
    out.push(b':');
    push_two(out, (seconds % 60) as u32);
    push_fraction(out, (microseconds % 1_000_000) as u32);
}

/// Appends `.ffffff` without trailing zeros; nothing for zero.
fn push_fraction(out: &mut Vec<u8>, mut fraction: u32) {
    if fraction == 0 {
        return;
    }
    let mut digits = 6;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        digits -= 1;
    }
    out.push(b'.');
    let start = out.len();
    out.resize(start + digits, b'0');
    for slot in out[start..].iter_mut().rev() {
        *slot = b'0' + (fraction % 10) as u8;
        fraction /= 10;
    }
}

/// Appends a timestamp as PostgreSQL prints it; with `+00` behind it if it has a time zone, which is always UTC.
pub fn push_timestamp(out: &mut Vec<u8>, moment: Moment<i64>, with_zone: bool) {
    match moment {
        Moment::At(microseconds) => {
            let days = microseconds.div_euclid(DAY_MICROSECONDS);
            let before_christ = push_civil(out, days);
            out.push(b' ');
            push_time(out, microseconds.rem_euclid(DAY_MICROSECONDS));
            if with_zone {
                out.extend_from_slice(b"+00");
            }
            if before_christ {
                out.extend_from_slice(b" BC");
            }
        }
        Moment::Infinity => out.extend_from_slice(b"infinity"),
        Moment::NegInfinity => out.extend_from_slice(b"-infinity"),
    }
}

/// Appends a UTC offset the way `TIMETZ` prints it: `+hh`, `+hh:mm` or `+hh:mm:ss`.
pub fn push_offset(out: &mut Vec<u8>, seconds_east: i32) {
    out.push(if seconds_east < 0 { b'-' } else { b'+' });
    let seconds = seconds_east.unsigned_abs();
    push_two(out, seconds / 3600);
    if !seconds.is_multiple_of(3600) {
        out.push(b':');
        push_two(out, seconds / 60 % 60);
        if !seconds.is_multiple_of(60) {
            out.push(b':');
            push_two(out, seconds % 60);
        }
    }
}

/// Appends an interval in PostgreSQL's own style (`IntervalStyle = postgres`, see `EncodeInterval`).
pub fn push_interval(out: &mut Vec<u8>, months: i32, days: i32, microseconds: i64) {
    let start = out.len();
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if after_negative && value > 0 {
            out.push(b'+');
        }
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        after_negative = value < 0;
    }
    if microseconds != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        if microseconds < 0 {
            out.push(b'-');
        } else if after_negative {
            out.push(b'+');
        }
        let absolute = microseconds.unsigned_abs();
        let seconds = absolute / 1_000_000;
        let hours = seconds / 3600;
        if hours < 100 {
            push_two(out, hours as u32);
        } else {
            out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
        }
        out.push(b':');
        push_two(out, (seconds / 60 % 60) as u32);
        out.push(b':');
        push_two(out, (seconds % 60) as u32);
        push_fraction(out, (absolute % 1_000_000) as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates() {
        let date = |days| shown(|out| push_date(out, days));
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(-1), "1969-12-31");
        assert_eq!(date(19_782), "2024-02-29");
        assert_eq!(date(2_932_897), "10000-01-01");
        assert_eq!(date(-719_163), "0001-12-31 BC");
        assert_eq!(date(i32::MAX), "infinity");
        assert_eq!(date(-i32::MAX), "-infinity");
    }

    #[test]
    fn times_and_timestamps() {
        assert_eq!(shown(|out| push_time(out, 3_723_500_000)), "01:02:03.5");
        assert_eq!(shown(|out| push_time(out, DAY_MICROSECONDS)), "24:00:00");
        let stamp = |value, zone| shown(|out| push_timestamp(out, Moment::At(value), zone));
        assert_eq!(stamp(-1, false), "1969-12-31 23:59:59.999999");
        assert_eq!(stamp(0, true), "1970-01-01 00:00:00+00");
        assert_eq!(timestamp(1_500, 1_000_000_000), Moment::At(1));
        assert_eq!(timestamp(-1, 1_000_000_000), Moment::At(-1));
        assert_eq!(timestamp(2, 1), Moment::At(2_000_000));
        assert_eq!(timestamp(i64::MAX, 1), Moment::Infinity);
    }

    #[test]
    fn offsets_and_intervals() {
        assert_eq!(shown(|out| push_offset(out, 19_800)), "+05:30");
        assert_eq!(shown(|out| push_offset(out, -3600)), "-01");
        let interval = |m, d, us| shown(|out| push_interval(out, m, d, us));
        assert_eq!(
            interval(14, 3, 14_706_000_007),
            "1 year 2 mons 3 days 04:05:06.000007"
        );
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(-1, 2, -1_000_000), "-1 mons +2 days -00:00:01");
        assert_eq!(interval(0, -1, 1_000_000), "-1 days +00:00:01");
        assert_eq!(interval(0, 0, 400_000_000_000), "111:06:40");
    }
}
