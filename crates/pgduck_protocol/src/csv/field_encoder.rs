//! What a row and an array in it have in common: both take values one after the other.

use super::{ArrayEncoder, RowEncoder};

/// Takes the fields of a row, or the elements of an array, in order.
///
/// Code that turns values of some type system into this dialect is written once against this trait. The methods do what
/// those of the same name of [`RowEncoder`] and [`ArrayEncoder`] do.
pub trait FieldEncoder {
    /// NULL.
    fn null(&mut self);
    /// A boolean.
    fn boolean(&mut self, value: bool);
    /// An integer, a date in days, a timestamp in microseconds.
    fn int(&mut self, value: i64);
    /// A single precision float.
    fn float4(&mut self, value: f32);
    /// A double precision float.
    fn float8(&mut self, value: f64);
    /// Text that needs neither quotes nor escapes.
    fn plain(&mut self, text: &[u8]);
    /// Text in UTF-8.
    fn text(&mut self, text: &[u8]);
    /// Bytes.
    fn blob(&mut self, bytes: &[u8]);
    /// A UUID from its 16 bytes in network order.
    fn uuid(&mut self, bytes: &[u8; 16]);
    /// A time of day in microseconds since midnight.
    fn time(&mut self, microseconds: i64);
    /// Begins an array; `None` inside of an array, which has no arrays in it.
    fn begin_array(&mut self) -> Option<ArrayEncoder<'_>>;
}

macro_rules! impl_field_encoder {
    ($encoder:ty, |$this:ident| $begin_array:expr) => {
        impl FieldEncoder for $encoder {
            fn null(&mut self) {
                self.null();
            }
            fn boolean(&mut self, value: bool) {
                self.boolean(value);
            }
            fn int(&mut self, value: i64) {
                self.int(value);
            }
            fn float4(&mut self, value: f32) {
                self.float4(value);
            }
            fn float8(&mut self, value: f64) {
                self.float8(value);
            }
            fn plain(&mut self, text: &[u8]) {
                self.plain(text);
            }
            fn text(&mut self, text: &[u8]) {
                self.text(text);
            }
            fn blob(&mut self, bytes: &[u8]) {
                self.blob(bytes);
            }
            fn uuid(&mut self, bytes: &[u8; 16]) {
                self.uuid(bytes);
            }
            fn time(&mut self, microseconds: i64) {
                self.time(microseconds);
            }
            fn begin_array(&mut self) -> Option<ArrayEncoder<'_>> {
                let $this = self;
                $begin_array
            }
        }
    };
}

impl_field_encoder!(RowEncoder, |row| Some(row.array()));
impl_field_encoder!(ArrayEncoder<'_>, |_array| None);
