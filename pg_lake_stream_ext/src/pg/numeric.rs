//! Reads PostgreSQL's stored numerics (utils/adt/numeric.c, "Numeric is stored on disk in one of two formats").

/// Base-10000 digits hold four decimal digits each (`DEC_DIGITS`).
const DEC_DIGITS: usize = 4;
const SIGN_MASK: u16 = 0xC000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xC000;

/// NaN or an infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite(pub &'static str);

/// Appends the value's decimal text, with as many digits after the point as its display scale says.
///
/// `payload` is the datum without its varlena header, possibly unaligned.
pub fn append_text(payload: &[u8], out: &mut Vec<u8>) -> Result<(), NotFinite> {
    let word = |index: usize| u16::from_ne_bytes([payload[2 * index], payload[2 * index + 1]]);
    let header = word(0);
    let (negative, scale, weight, first_digit) = match header & SIGN_MASK {
        SPECIAL => {
            return Err(NotFinite(match header & 0xF000 {
                0xD000 => "Infinity",
                0xF000 => "-Infinity",
                _ => "NaN",
            }));
        }
        SHORT => {
            let weight = i32::from(header & 0x3F) - if header & 0x40 != 0 { 0x40 } else { 0 };
            (
                header & 0x2000 != 0,
                usize::from((header >> 7) & 0x3F),
                weight,
                1,
            )
        }
        sign => (
            sign == NEGATIVE,
            usize::from(header & 0x3FFF),
            i32::from(word(1) as i16),
            2,
        ),
    };
    let count = payload.len() / 2 - first_digit;
    let digit = |position: i32| match usize::try_from(position) {
        Ok(position) if position < count => word(first_digit + position),
        _ => 0,
    };

    if negative {
        out.push(b'-');
    }
    if weight < 0 {
        out.push(b'0');
    }
    for position in 0..=weight {
        let digits = four_digits(digit(position));
        let skip = if position == 0 {
            digits
                .iter()
                .take(DEC_DIGITS - 1)
                .take_while(|d| **d == b'0')
                .count()
        } else {
            0
        };
        out.extend_from_slice(&digits[skip..]);
    }
    if scale > 0 {
        out.push(b'.');
        let mut left = scale;
        let mut position = weight + 1;
        while left > 0 {
            let take = left.min(DEC_DIGITS);
            out.extend_from_slice(&four_digits(digit(position))[..take]);
            left -= take;
            position += 1;
        }
    }
    Ok(())
}

fn four_digits(digit: u16) -> [u8; DEC_DIGITS] {
    let ascii = |value: u16| b'0' + (value % 10) as u8;
    [
        ascii(digit / 1000),
        ascii(digit / 100),
        ascii(digit / 10),
        ascii(digit),
    ]
}
