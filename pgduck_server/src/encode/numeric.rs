//! Decimal numbers: text, PostgreSQL's base-10000 binary form, and shortest text of floats.

/// Appends `unscaled / 10^scale` in decimal.
pub fn push_decimal(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = match u64::try_from(unscaled.unsigned_abs()) {
        // 64-bit division is several times faster, and nearly all numbers fit.
        Ok(small) => buffer.format(small),
        Err(_) => buffer.format(unscaled.unsigned_abs()),
    }
    .as_bytes();
    let scale = usize::from(scale);
    if scale == 0 {
        out.extend_from_slice(digits);
        return;
    }
    if digits.len() > scale {
        out.extend_from_slice(&digits[..digits.len() - scale]);
    } else {
        out.push(b'0');
    }
    out.push(b'.');
    out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(&digits[digits.len().saturating_sub(scale)..]);
}

/// Appends a number in the form of PostgreSQL's `numeric_send`: base-10000 digits, weight, sign, display scale.
pub fn push_numeric(out: &mut Vec<u8>, negative: bool, unscaled: u128, scale: u8) {
    const BASE: u128 = 10_000;
    // Align the decimal point to a group of four digits.
    let padding = (4 - scale % 4) % 4;
    let fraction_groups = i16::from(scale.div_ceil(4));
    // At most 39 + 3 digits: split first, so that the multiplication cannot overflow.
    let mut groups = [0i16; 12];
    let mut count = 0usize;
    let shift = 10u128.pow(u32::from(padding));
    let low_base = BASE / shift;
    let mut rest = if padding == 0 {
        unscaled
    } else {
        groups[0] = (unscaled % low_base * shift) as i16;
        count = 1;
        unscaled / low_base
    };
    while rest > 0 {
        groups[count] = match u64::try_from(rest) {
            Ok(small) => {
                rest = u128::from(small / 10_000);
                (small % 10_000) as i16
            }
            Err(_) => {
                let group = (rest % BASE) as i16;
                rest /= BASE;
                group
            }
        };
        count += 1;
    }
    let mut high = count;
    while high > 0 && groups[high - 1] == 0 {
        high -= 1;
    }
    let mut low = 0;
    while low < high && groups[low] == 0 {
        low += 1;
    }
    let weight = if high == 0 {
        0
    } else {
        high as i16 - 1 - fraction_groups
    };
    let sign: u16 = if negative && high > 0 { 0x4000 } else { 0 };
    out.extend_from_slice(&((high - low) as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::from(scale).to_be_bytes());
    for group in groups[low..high].iter().rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Appends a double as PostgreSQL prints it (`float8out` with `extra_float_digits` > 0).
pub fn push_float8(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        push_shortest(out, ryu::Buffer::new().format_finite(value), 15);
    } else {
        push_not_finite(out, value);
    }
}

/// Appends a single precision float as PostgreSQL prints it.
pub fn push_float4(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        push_shortest(out, ryu::Buffer::new().format_finite(value), 6);
    } else {
        push_not_finite(out, f64::from(value));
    }
}

/// Appends `NaN`, `Infinity` or `-Infinity`.
fn push_not_finite(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    });
}

/// Rewrites shortest text in PostgreSQL's notation: plain digits for exponents from -4 up to `limit`, else `d.ddde±xx`.
fn push_shortest(out: &mut Vec<u8>, shortest: &str, limit: i32) {
    let shortest = match shortest.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => shortest,
    };
    let (mantissa, exponent) = match shortest.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (shortest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // All significant digits, without leading or trailing zeros, and the exponent of the first one.
    let mut digits = [0u8; 40];
    let mut length = 0;
    for &digit in whole.as_bytes().iter().chain(fraction.as_bytes()) {
        digits[length] = digit;
        length += 1;
    }
    let leading = digits[..length].iter().take_while(|&&d| d == b'0').count();
    let trailing = digits[leading..length]
        .iter()
        .rev()
        .take_while(|&&d| d == b'0')
        .count();
    let significant = &digits[leading..length - trailing];
    if significant.is_empty() {
        out.push(b'0');
        return;
    }
    let first = whole.len() as i32 - 1 - leading as i32 + exponent;
    if first < -4 || first >= limit {
        out.push(significant[0]);
        if significant.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&significant[1..]);
        }
        out.push(b'e');
        out.push(if first < 0 { b'-' } else { b'+' });
        let size = first.unsigned_abs();
        if size < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(size).as_bytes());
    } else if first < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-first - 1) as usize, b'0');
        out.extend_from_slice(significant);
    } else {
        let whole_digits = first as usize + 1;
        if significant.len() <= whole_digits {
            out.extend_from_slice(significant);
            out.resize(out.len() + whole_digits - significant.len(), b'0');
        } else {
            out.extend_from_slice(&significant[..whole_digits]);
            out.push(b'.');
            out.extend_from_slice(&significant[whole_digits..]);
        }
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
    fn decimals_keep_their_scale() {
        let decimal = |value, scale| shown(|out| push_decimal(out, value, scale));
        assert_eq!(decimal(12_345, 2), "123.45");
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(0, 3), "0.000");
        assert_eq!(decimal(7, 0), "7");
        assert_eq!(
            decimal(i128::MAX, 10),
            "17014118346046923173168730371.5884105727"
        );
    }

    #[test]
    fn doubles_print_as_postgres_prints_them() {
        let double = |value| shown(|out| push_float8(out, value));
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1.5, "1.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (100_000_000_000_000.0, "100000000000000"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), text);
        }
        let single = |value| shown(|out| push_float4(out, value));
        assert_eq!(single(1e6), "1e+06");
        assert_eq!(single(123_456.0), "123456");
        assert_eq!(single(0.1), "0.1");
    }

    /// Reads `numeric_send` output back into text, in the way of PostgreSQL's `numeric_out`.
    fn decode(bytes: &[u8]) -> String {
        let word = |at: usize| i16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let (count, weight, sign, scale) = (word(0), word(2), word(4), word(6));
        let group = |index: i16| {
            if (0..count).contains(&index) {
                word(8 + 2 * index as usize)
            } else {
                0
            }
        };
        let mut text = String::new();
        if sign as u16 == 0x4000 {
            text.push('-');
        }
        let mut whole = String::new();
        for index in 0..=weight {
            whole.push_str(&format!("{:04}", group(index)));
        }
        let whole = whole.trim_start_matches('0');
        text.push_str(if whole.is_empty() { "0" } else { whole });
        let mut fraction = String::new();
        let mut index = weight + 1;
        while fraction.len() < scale as usize {
            fraction.push_str(&format!("{:04}", group(index)));
            index += 1;
        }
        if scale > 0 {
            text.push('.');
            text.push_str(&fraction[..scale as usize]);
        }
        text
    }

    #[test]
    fn binary_numeric_reads_back_as_the_same_decimal() {
        let values = [
            0i128,
            1,
            -1,
            5,
            12_345,
            -12_345,
            10_000,
            99_999_999,
            100_000_000,
            10i128.pow(37),
            -(10i128.pow(38) - 1),
            123_456_789_012_345_678_901_234_567,
        ];
        for value in values {
            for scale in 0..=38 {
                let mut out = Vec::new();
                push_numeric(&mut out, value < 0, value.unsigned_abs(), scale);
                let mut text = Vec::new();
                push_decimal(&mut text, value, scale);
                assert_eq!(
                    decode(&out),
                    String::from_utf8(text).unwrap(),
                    "{value} {scale}"
                );
            }
        }
        let mut out = Vec::new();
        push_numeric(&mut out, false, u128::MAX, 0);
        assert_eq!(decode(&out), u128::MAX.to_string());
    }
}
