//! Avro's primitive values as bytes (Avro specification, "Binary Encoding").

/// Reads one value after the other; none where the bytes end too early or make no sense.
pub(crate) struct ByteReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> ByteReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The number of bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// What was read since the position was `start`.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.position]
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let bytes = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(bytes)
    }

    /// An int, a long, an enum's or a union's index: variable length, zigzag.
    pub(crate) fn long(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }

    pub(crate) fn boolean(&mut self) -> Option<bool> {
        Some(self.take(1)?[0] != 0)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    pub(crate) fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A union of null and one other type, in this order.
    pub(crate) fn nullable<T>(
        &mut self,
        value: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.long()? {
            0 => Some(None),
            1 => Some(Some(value(self)?)),
            _ => None,
        }
    }

    /// An array's or map's items: blocks of a count and that many items, until a count of zero; a
    /// negative count is followed by the block's size.
    pub(crate) fn items(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Some(());
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
        }
    }
}

/// Appends an int, a long, an enum's or a union's index.
pub(crate) fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a union of null and long, in this order.
pub(crate) fn write_nullable_long(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        Some(value) => {
            write_long(out, 1);
            write_long(out, value);
        }
        None => write_long(out, 0),
    }
}

/// Appends bytes or a string.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_are_read_as_written() {
        let values = [0, 1, -1, 63, 64, -65, i64::MAX, i64::MIN];
        let mut bytes = Vec::new();
        values
            .iter()
            .for_each(|value| write_long(&mut bytes, *value));
        let mut reader = ByteReader::new(&bytes);
        assert_eq!(values.map(|_| reader.long().unwrap()), values);
        assert!(reader.is_at_end() && reader.long().is_none());
        assert!(ByteReader::new(&[0xff; 11]).long().is_none());
    }

    #[test]
    fn a_block_may_tell_its_size() {
        // Two items with a size, one without, the end.
        let bytes = [3, 4, 10, 11, 2, 12, 0];
        let mut items = Vec::new();
        let mut reader = ByteReader::new(&bytes);
        reader
            .items(|reader| {
                items.push(reader.take(1)?[0]);
                Some(())
            })
            .unwrap();
        assert_eq!(items, [10, 11, 12]);
    }
}
