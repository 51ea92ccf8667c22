//! The encoder: values in, bytes of the dialect out, appended to one growing buffer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr2, memchr3};

use super::{DELIMITER, ESCAPE, NULL};

/// Below this length a table look-up per byte is faster than two vectorised searches.
const SHORT_TEXT_BYTES: usize = 16;

/// Bytes that make a text need care: quote, delimiter, line breaks, the escape character itself.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    table[b'"' as usize] = true;
    table[DELIMITER as usize] = true;
    table[b'\n' as usize] = true;
    table[b'\r' as usize] = true;
    table[ESCAPE as usize] = true;
    table
};

/// Encodes rows into a buffer that the caller drains when it likes, at row ends.
///
/// One call per field in column order, then [`RowEncoder::end_row`].
///
/// ```
/// let mut rows = pgduck_protocol::csv::RowEncoder::default();
/// rows.int(1);
/// rows.text(b"say \"hi\"");
/// rows.null();
/// rows.end_row();
/// assert_eq!(rows.buffer(), b"1,\"say \"\"hi\"\"\",\\N\n");
/// ```
#[derive(Debug, Default)]
pub struct RowEncoder {
    buffer: Vec<u8>,
    /// Length of the buffer when the current row began.
    row_start: usize,
    /// Whether the current row has a field already.
    in_row: bool,
    /// Base64 text of an array's element, kept to reuse its memory.
    scratch: String,
}

impl RowEncoder {
    /// An encoder whose buffer has this many bytes reserved.
    pub fn with_capacity(bytes: usize) -> RowEncoder {
        RowEncoder {
            buffer: Vec::with_capacity(bytes),
            ..RowEncoder::default()
        }
    }

    /// What has been encoded since the last [`RowEncoder::clear`].
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Forgets what has been encoded; the memory is kept.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.row_start = 0;
        self.in_row = false;
    }

    /// Gives the encoded bytes away and leaves an empty buffer without memory.
    pub fn take(&mut self) -> Vec<u8> {
        self.row_start = 0;
        self.in_row = false;
        std::mem::take(&mut self.buffer)
    }

    /// Drops the unfinished row, if there is one: an error in the middle of a row leaves no half row behind.
    pub fn abandon_row(&mut self) {
        self.buffer.truncate(self.row_start);
        self.in_row = false;
    }

    /// Ends the row.
    pub fn end_row(&mut self) {
        self.buffer.push(b'\n');
        self.row_start = self.buffer.len();
        self.in_row = false;
    }

    /// Writes the delimiter if this is not the row's first field.
    #[inline]
    fn begin_field(&mut self) {
        if self.in_row {
            self.buffer.push(DELIMITER);
        }
        self.in_row = true;
    }

    /// NULL.
    #[inline]
    pub fn null(&mut self) {
        self.begin_field();
        self.buffer.extend_from_slice(NULL);
    }

    /// A boolean.
    #[inline]
    pub fn boolean(&mut self, value: bool) {
        self.begin_field();
        self.buffer.push(if value { b't' } else { b'f' });
    }

    /// An integer; also dates (days) and timestamps (microseconds).
    #[inline]
    pub fn int(&mut self, value: i64) {
        self.begin_field();
        self.buffer
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A single precision float.
    #[inline]
    pub fn float4(&mut self, value: f32) {
        self.begin_field();
        self.buffer
            .extend_from_slice(float4_text(value, &mut ryu::Buffer::new()).as_bytes());
    }

    /// A double precision float.
    #[inline]
    pub fn float8(&mut self, value: f64) {
        self.begin_field();
        self.buffer
            .extend_from_slice(float8_text(value, &mut ryu::Buffer::new()).as_bytes());
    }

    /// A value whose text is known to need neither quotes nor escapes, such as a decimal number.
    #[inline]
    pub fn plain(&mut self, text: &[u8]) {
        debug_assert!(!text.is_empty() && !text.iter().any(|&b| SPECIAL[b as usize]));
        self.begin_field();
        self.buffer.extend_from_slice(text);
    }

    /// Text in UTF-8.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        self.begin_field();
        match first_special(text) {
            None if !needs_quotes_at_the_ends(text) => self.buffer.extend_from_slice(text),
            first => self.special_text(text, first.unwrap_or(text.len())),
        }
    }

    /// Text that holds a special byte, the first of them at `first`, or needs quotes for another reason.
    #[cold]
    fn special_text(&mut self, text: &[u8], first: usize) {
        let tail = &text[first..];
        let quoted = memchr2(b'"', DELIMITER, tail).is_some() || needs_quotes_at_the_ends(text);
        self.buffer.reserve(text.len() + 16);
        if quoted {
            self.buffer.push(b'"');
        }
        self.buffer.extend_from_slice(&text[..first]);
        let mut from = 0;
        for (at, &byte) in tail.iter().enumerate() {
            let escaped: &[u8] = match byte {
                b'"' => b"\"\"",
                b'\n' => &[ESCAPE, b'n'],
                b'\r' => &[ESCAPE, b'r'],
                ESCAPE => &[ESCAPE, b'e'],
                _ => continue,
            };
            self.buffer.extend_from_slice(&tail[from..at]);
            self.buffer.extend_from_slice(escaped);
            from = at + 1;
        }
        self.buffer.extend_from_slice(&tail[from..]);
        if quoted {
            self.buffer.push(b'"');
        }
    }

    /// Bytes, as base64.
    pub fn blob(&mut self, bytes: &[u8]) {
        self.begin_field();
        if bytes.is_empty() {
            self.buffer.extend_from_slice(b"\"\"");
            return;
        }
        let start = self.buffer.len();
        self.buffer.resize(start + bytes.len().div_ceil(3) * 4, 0);
        // The slice is exactly as long as the encoding, so that nothing can fail.
        let written = STANDARD
            .encode_slice(bytes, &mut self.buffer[start..])
            .unwrap_or(0);
        self.buffer.truncate(start + written);
    }

    /// A UUID from its 16 bytes in network order.
    pub fn uuid(&mut self, bytes: &[u8; 16]) {
        self.begin_field();
        self.buffer.extend_from_slice(&uuid_text(bytes));
    }

    /// A time of day from microseconds since midnight; 24:00:00 is legal.
    pub fn time(&mut self, microseconds: i64) {
        self.begin_field();
        push_time(&mut self.buffer, microseconds);
    }

    /// Begins an array; its elements follow, then [`ArrayEncoder::finish`].
    pub fn array(&mut self) -> ArrayEncoder<'_> {
        self.begin_field();
        self.buffer.extend_from_slice(b"\"[");
        ArrayEncoder {
            row: self,
            empty: true,
        }
    }
}

/// Encodes the elements of one array field.
#[derive(Debug)]
pub struct ArrayEncoder<'a> {
    row: &'a mut RowEncoder,
    empty: bool,
}

impl ArrayEncoder<'_> {
    /// Writes the comma between two elements.
    fn begin_element(&mut self) {
        if !self.empty {
            self.row.buffer.push(b',');
        }
        self.empty = false;
    }

    /// A NULL element.
    pub fn null(&mut self) {
        self.begin_element();
        self.row.buffer.extend_from_slice(b"null");
    }

    /// A boolean element.
    pub fn boolean(&mut self, value: bool) {
        self.plain(if value { b"t" } else { b"f" });
    }

    /// An integer element; also dates (days) and timestamps (microseconds).
    pub fn int(&mut self, value: i64) {
        self.plain(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A single precision element.
    pub fn float4(&mut self, value: f32) {
        self.plain(float4_text(value, &mut ryu::Buffer::new()).as_bytes());
    }

    /// A double precision element.
    pub fn float8(&mut self, value: f64) {
        self.plain(float8_text(value, &mut ryu::Buffer::new()).as_bytes());
    }

    /// An element whose text needs no escapes in JSON or CSV, such as a decimal number.
    pub fn plain(&mut self, text: &[u8]) {
        self.begin_element();
        let buffer = &mut self.row.buffer;
        buffer.extend_from_slice(b"\"\"");
        buffer.extend_from_slice(text);
        buffer.extend_from_slice(b"\"\"");
    }

    /// A text element in UTF-8.
    pub fn text(&mut self, text: &[u8]) {
        self.begin_element();
        let buffer = &mut self.row.buffer;
        buffer.extend_from_slice(b"\"\"");
        let mut from = 0;
        for (at, &byte) in text.iter().enumerate() {
            let mut unicode = *b"\\u0000";
            let escaped: &[u8] = match byte {
                // A quote is `\"` in JSON, of which CSV doubles the quote.
                b'"' => b"\\\"\"",
                b'\\' => b"\\\\",
                0..0x20 | 0x7f => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    unicode[4] = HEX[usize::from(byte >> 4)];
                    unicode[5] = HEX[usize::from(byte & 15)];
                    &unicode
                }
                _ => continue,
            };
            buffer.extend_from_slice(&text[from..at]);
            buffer.extend_from_slice(escaped);
            from = at + 1;
        }
        buffer.extend_from_slice(&text[from..]);
        buffer.extend_from_slice(b"\"\"");
    }

    /// A bytes element, as base64.
    pub fn blob(&mut self, bytes: &[u8]) {
        let mut scratch = std::mem::take(&mut self.row.scratch);
        scratch.clear();
        STANDARD.encode_string(bytes, &mut scratch);
        self.plain(scratch.as_bytes());
        self.row.scratch = scratch;
    }

    /// A UUID element.
    pub fn uuid(&mut self, bytes: &[u8; 16]) {
        self.plain(&uuid_text(bytes));
    }

    /// A time-of-day element, from microseconds since midnight.
    pub fn time(&mut self, microseconds: i64) {
        self.begin_element();
        let buffer = &mut self.row.buffer;
        buffer.extend_from_slice(b"\"\"");
        push_time(buffer, microseconds);
        buffer.extend_from_slice(b"\"\"");
    }

    /// Ends the array.
    pub fn finish(self) {
        self.row.buffer.extend_from_slice(b"]\"");
    }
}

/// Position of the first byte that needs a quote or an escape.
#[inline]
fn first_special(text: &[u8]) -> Option<usize> {
    if text.len() < SHORT_TEXT_BYTES {
        return text.iter().position(|&b| SPECIAL[b as usize]);
    }
    let first = memchr3(b'"', DELIMITER, b'\n', text);
    let second = memchr2(b'\r', ESCAPE, &text[..first.unwrap_or(text.len())]);
    second.or(first)
}

/// Whether the text needs quotes although it holds no special byte.
#[inline]
fn needs_quotes_at_the_ends(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b' ', ..] | [.., b' '] => true,
        [0xef, 0xbb, 0xbf, ..] => true,
        _ => text == NULL,
    }
}

/// Text of a single precision float.
fn float4_text(value: f32, buffer: &mut ryu::Buffer) -> &str {
    if value.is_nan() {
        "NaN"
    } else if value == f32::INFINITY {
        "Infinity"
    } else if value == f32::NEG_INFINITY {
        "-Infinity"
    } else {
        buffer.format_finite(value)
    }
}

/// Text of a double precision float.
fn float8_text(value: f64, buffer: &mut ryu::Buffer) -> &str {
    if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "Infinity"
    } else if value == f64::NEG_INFINITY {
        "-Infinity"
    } else {
        buffer.format_finite(value)
    }
}

/// The 36 characters of a UUID.
fn uuid_text(bytes: &[u8; 16]) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// Appends `hh:mm:ss`, and `.ffffff` if there is a fraction.
fn push_time(buffer: &mut Vec<u8>, microseconds: i64) {
    let seconds = microseconds / 1_000_000;
    let fraction = microseconds % 1_000_000;
    let two = |n: i64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    buffer.extend_from_slice(&two(seconds / 3600));
    buffer.push(b':');
    buffer.extend_from_slice(&two(seconds / 60 % 60));
    buffer.push(b':');
    buffer.extend_from_slice(&two(seconds % 60));
    if fraction != 0 {
        buffer.push(b'.');
        buffer.extend_from_slice(&two(fraction / 10_000));
        buffer.extend_from_slice(&two(fraction / 100 % 100));
        buffer.extend_from_slice(&two(fraction % 100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(write: impl FnOnce(&mut RowEncoder)) -> String {
        let mut rows = RowEncoder::default();
        write(&mut rows);
        String::from_utf8(rows.take()).unwrap()
    }

    #[test]
    fn plain_text_is_copied_and_anything_else_is_quoted_or_escaped() {
        let text = |value: &str| field(|rows| rows.text(value.as_bytes()));
        assert_eq!(text("abc"), "abc");
        assert_eq!(
            text("a longer text without anything"),
            "a longer text without anything"
        );
        assert_eq!(text(""), "\"\"");
        assert_eq!(text(r"\N"), r#""\N""#);
        assert_eq!(text(r"\N "), r#""\N ""#);
        assert_eq!(text(r"\Nx"), r"\Nx");
        assert_eq!(text(" a"), "\" a\"");
        assert_eq!(text("a "), "\"a \"");
        assert_eq!(text("a,b"), "\"a,b\"");
        assert_eq!(text("a\"b"), "\"a\"\"b\"");
        assert_eq!(text("a\nb\r\u{1}"), "a\u{1}nb\u{1}r\u{1}e");
        assert_eq!(text("\n,\""), "\"\u{1}n,\"\"\"");
        assert_eq!(
            text("a long text with the special byte at its end,"),
            "\"a long text with the special byte at its end,\""
        );
        assert_eq!(
            text("a long text with an escape at its end\u{1}"),
            "a long text with an escape at its end\u{1}e"
        );
        assert_eq!(text("\u{feff}bom"), "\"\u{feff}bom\"");
        assert_eq!(text("日本\t語"), "日本\t語");
    }

    #[test]
    fn no_text_ever_yields_a_line_break() {
        for length in 0..40 {
            for at in 0..length {
                for special in ["\n", "\r", "\"", ",", "\u{1}"] {
                    let mut value = "x".repeat(length);
                    value.replace_range(at..at + 1, special);
                    let coded = field(|rows| rows.text(value.as_bytes()));
                    assert!(!coded.contains(['\n', '\r']), "{coded:?}");
                    let inner = match coded.strip_prefix('"') {
                        Some(rest) => rest.strip_suffix('"').unwrap().replace("\"\"", "\""),
                        None => coded,
                    };
                    let decoded = inner
                        .replace("\u{1}n", "\n")
                        .replace("\u{1}r", "\r")
                        .replace("\u{1}e", "\u{1}");
                    assert_eq!(decoded, value);
                }
            }
        }
    }

    #[test]
    fn scalars() {
        assert_eq!(field(|r| r.int(i64::MIN)), "-9223372036854775808");
        assert_eq!(field(|r| r.boolean(true)), "t");
        assert_eq!(field(|r| r.float8(0.1 + 0.2)), "0.30000000000000004");
        assert_eq!(field(|r| r.float8(-0.0)), "-0.0");
        assert_eq!(field(|r| r.float4(0.1)), "0.1");
        assert_eq!(field(|r| r.float4(f32::NAN)), "NaN");
        assert_eq!(field(|r| r.float8(f64::NEG_INFINITY)), "-Infinity");
        assert_eq!(field(|r| r.blob(b"\xff\x00a")), "/wBh");
        assert_eq!(field(|r| r.blob(b"")), "\"\"");
        assert_eq!(field(|r| r.time(0)), "00:00:00");
        assert_eq!(field(|r| r.time(86_400_000_000)), "24:00:00");
        assert_eq!(field(|r| r.time(3_723_000_010)), "01:02:03.000010");
        let uuid = [
            0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17,
            0x40, 0x00,
        ];
        assert_eq!(
            field(|r| r.uuid(&uuid)),
            "123e4567-e89b-12d3-a456-426614174000"
        );
    }

    #[test]
    fn arrays_are_json_inside_a_quoted_field() {
        let coded = field(|rows| {
            let mut array = rows.array();
            array.int(1);
            array.null();
            array.text(b"a\"b\\c\nd");
            array.blob(b"xyz");
            array.finish();
        });
        assert_eq!(coded, r#""[""1"",null,""a\""b\\c\u000ad"",""eHl6""]""#);
        assert_eq!(field(|rows| rows.array().finish()), "\"[]\"");
    }

    #[test]
    fn rows_and_abandoned_rows() {
        let mut rows = RowEncoder::with_capacity(64);
        rows.int(1);
        rows.null();
        rows.end_row();
        rows.int(2);
        rows.text(b"half");
        rows.abandon_row();
        rows.int(3);
        rows.boolean(false);
        rows.end_row();
        assert_eq!(rows.buffer(), b"1,\\N\n3,f\n");
        rows.clear();
        assert!(rows.buffer().is_empty());
    }
}
