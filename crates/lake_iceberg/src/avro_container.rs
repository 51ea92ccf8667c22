//! Avro object container files, taken apart into header and blocks without decoding a record
//! (Avro specification, "Object Container Files").

use std::collections::HashMap;
use std::ops::Range;

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_MARKER_LENGTH: usize = 16;

/// A parsed container file.
pub(crate) struct Container<'a> {
    /// Everything before the first block: magic, metadata, sync marker.
    header: &'a [u8],
    metadata: HashMap<&'a [u8], &'a [u8]>,
    blocks: Vec<Block<'a>>,
}

struct Block<'a> {
    record_count: u64,
    records: &'a [u8],
}

impl<'a> Container<'a> {
    /// Takes `file` apart; none if it is not a complete container file.
    pub(crate) fn parse(file: &'a [u8]) -> Option<Self> {
        let mut reader = ByteReader { file, position: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let metadata = reader.metadata()?;
        let sync_marker = reader.take(SYNC_MARKER_LENGTH)?;
        let header = &file[..reader.position];
        let mut blocks = Vec::new();
        while reader.position < file.len() {
            let record_count = u64::try_from(reader.long()?).ok()?;
            let size = usize::try_from(reader.long()?).ok()?;
            let records = reader.take(size)?;
            if reader.take(SYNC_MARKER_LENGTH)? != sync_marker {
                return None;
            }
            blocks.push(Block {
                record_count,
                records,
            });
        }
        Some(Self {
            header,
            metadata,
            blocks,
        })
    }

    /// A file with the header of `self` and the records of `earlier` before its own; none unless
    /// both were written with the same schema, uncompressed.
    pub(crate) fn with_records_before(&self, earlier: &Container<'_>) -> Option<Vec<u8>> {
        let same_schema = self.metadata.get("avro.schema".as_bytes())?
            == earlier.metadata.get("avro.schema".as_bytes())?;
        if !same_schema || !self.is_uncompressed() || !earlier.is_uncompressed() {
            return None;
        }
        let blocks = || earlier.blocks.iter().chain(&self.blocks);
        let size: usize = blocks().map(|block| block.records.len()).sum();
        let mut file = Vec::with_capacity(self.header.len() + size + 2 * SYNC_MARKER_LENGTH);
        file.extend_from_slice(self.header);
        write_long(&mut file, blocks().map(|block| block.record_count).sum());
        write_long(&mut file, size as u64);
        for block in blocks() {
            file.extend_from_slice(block.records);
        }
        file.extend_from_slice(&self.header[self.header.len() - SYNC_MARKER_LENGTH..]);
        Some(file)
    }

    fn is_uncompressed(&self) -> bool {
        self.metadata
            .get("avro.codec".as_bytes())
            .is_none_or(|codec| *codec == b"null")
    }
}

struct ByteReader<'a> {
    file: &'a [u8],
    position: usize,
}

impl<'a> ByteReader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let range: Range<usize> = self.position..self.position.checked_add(length)?;
        let bytes = self.file.get(range)?;
        self.position += length;
        Some(bytes)
    }

    /// A zigzag-encoded long.
    fn long(&mut self) -> Option<i64> {
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

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    /// A map of bytes: blocks of a count and that many pairs, until a count of zero; a negative
    /// count is followed by the block's size.
    fn metadata(&mut self) -> Option<HashMap<&'a [u8], &'a [u8]>> {
        let mut metadata = HashMap::new();
        loop {
            let count = self.long()?;
            if count == 0 {
                return Some(metadata);
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                metadata.insert(self.bytes()?, self.bytes()?);
            }
        }
    }
}

/// Appends a count or size, zigzag-encoded.
fn write_long(file: &mut Vec<u8>, value: u64) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        file.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    file.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container file with the given metadata and one block per entry of `blocks`.
    fn container(metadata: &[(&str, &str)], sync: u8, blocks: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        write_long(&mut file, metadata.len() as u64);
        for text in metadata.iter().flat_map(|(key, value)| [key, value]) {
            write_long(&mut file, text.len() as u64);
            file.extend_from_slice(text.as_bytes());
        }
        write_long(&mut file, 0);
        file.extend_from_slice(&[sync; SYNC_MARKER_LENGTH]);
        for (count, records) in blocks {
            write_long(&mut file, *count);
            write_long(&mut file, records.len() as u64);
            file.extend_from_slice(records);
            file.extend_from_slice(&[sync; SYNC_MARKER_LENGTH]);
        }
        file
    }

    #[test]
    fn records_are_joined_under_the_new_header() {
        let schema = ("avro.schema", "\"bytes\"");
        let old = container(
            &[schema, ("avro.codec", "null"), ("n", "1")],
            7,
            &[(2, b"ab"), (1, b"c")],
        );
        let new = container(&[schema, ("n", "2")], 9, &[(300, &[b'd'; 300])]);
        let joined = Container::parse(&new)
            .unwrap()
            .with_records_before(&Container::parse(&old).unwrap())
            .unwrap();
        let records = [b"abc".as_slice(), &[b'd'; 300]].concat();
        assert_eq!(
            joined,
            container(&[schema, ("n", "2")], 9, &[(303, &records)])
        );
    }

    #[test]
    fn different_schema_or_compression_is_not_joined() {
        let plain = container(&[("avro.schema", "\"int\"")], 1, &[]);
        let other = container(&[("avro.schema", "\"long\"")], 1, &[]);
        let deflated = container(
            &[("avro.schema", "\"int\""), ("avro.codec", "deflate")],
            1,
            &[],
        );
        for file in [other, deflated] {
            let (file, plain) = (
                Container::parse(&file).unwrap(),
                Container::parse(&plain).unwrap(),
            );
            assert!(plain.with_records_before(&file).is_none());
        }
    }

    #[test]
    fn cut_or_foreign_files_are_recognised() {
        let file = container(&[("avro.schema", "\"int\"")], 1, &[(1, b"xyz")]);
        assert!(Container::parse(&file).is_some());
        let header = container(&[("avro.schema", "\"int\"")], 1, &[]).len();
        for length in (0..header).chain(header + 1..file.len()) {
            assert!(Container::parse(&file[..length]).is_none(), "{length}");
        }
        assert!(Container::parse(b"PAR1").is_none());
    }
}
