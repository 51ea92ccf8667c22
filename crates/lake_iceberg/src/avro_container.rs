//! Avro object container files, taken apart into header and blocks without decoding a record
//! (Avro specification, "Object Container Files").

use std::collections::HashMap;

use uuid::Uuid;

use crate::avro_bytes::{ByteReader, write_bytes, write_long};

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_MARKER_LENGTH: usize = 16;

/// An uncompressed file of one block. `metadata` has `avro.schema` and `avro.codec`.
pub(crate) fn write(metadata: &[(&str, &[u8])], record_count: u64, records: &[u8]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    write_long(&mut header, metadata.len() as i64);
    for (key, value) in metadata {
        write_bytes(&mut header, key.as_bytes());
        write_bytes(&mut header, value);
    }
    write_long(&mut header, 0);
    header.extend_from_slice(Uuid::new_v4().as_bytes());
    with_records(&header, record_count, &[records])
}

/// A file with the given header, which ends with the sync marker, and one block.
fn with_records(header: &[u8], record_count: u64, records: &[&[u8]]) -> Vec<u8> {
    let size: usize = records.iter().map(|records| records.len()).sum();
    let mut file = Vec::with_capacity(header.len() + size + 2 * SYNC_MARKER_LENGTH);
    file.extend_from_slice(header);
    if record_count == 0 {
        return file;
    }
    write_long(&mut file, record_count as i64);
    write_long(&mut file, size as i64);
    for records in records {
        file.extend_from_slice(records);
    }
    file.extend_from_slice(&header[header.len() - SYNC_MARKER_LENGTH..]);
    file
}

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
        let mut reader = ByteReader::new(file);
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let mut metadata = HashMap::new();
        reader.items(|reader| {
            metadata.insert(reader.bytes()?, reader.bytes()?);
            Some(())
        })?;
        let sync_marker = reader.take(SYNC_MARKER_LENGTH)?;
        let header = reader.since(0);
        let mut blocks = Vec::new();
        while !reader.is_at_end() {
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

    /// The schema, as JSON.
    pub(crate) fn schema(&self) -> Option<&'a [u8]> {
        self.metadata.get("avro.schema".as_bytes()).copied()
    }

    pub(crate) fn is_uncompressed(&self) -> bool {
        self.metadata
            .get("avro.codec".as_bytes())
            .is_none_or(|codec| *codec == b"null")
    }

    /// The bytes before the first block.
    pub(crate) fn header_length(&self) -> usize {
        self.header.len()
    }

    /// The blocks: number of records, and the records, encoded and maybe compressed.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        self.blocks
            .iter()
            .map(|block| (block.record_count, block.records))
    }

    /// A file with the header of this one, which is uncompressed, and other records of the same
    /// schema, in one block.
    pub(crate) fn with_records(&self, record_count: u64, records: &[&[u8]]) -> Vec<u8> {
        with_records(self.header, record_count, records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container file with the given metadata and one block per entry of `blocks`.
    fn container(metadata: &[(&str, &str)], sync: u8, blocks: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        write_long(&mut file, metadata.len() as i64);
        for text in metadata.iter().flat_map(|(key, value)| [key, value]) {
            write_long(&mut file, text.len() as i64);
            file.extend_from_slice(text.as_bytes());
        }
        write_long(&mut file, 0);
        file.extend_from_slice(&[sync; SYNC_MARKER_LENGTH]);
        for (count, records) in blocks {
            write_long(&mut file, *count as i64);
            write_long(&mut file, records.len() as i64);
            file.extend_from_slice(records);
            file.extend_from_slice(&[sync; SYNC_MARKER_LENGTH]);
        }
        file
    }

    #[test]
    fn records_are_replaced_under_the_same_header() {
        let schema = ("avro.schema", "\"bytes\"");
        let old = container(&[schema, ("n", "1")], 7, &[(2, b"ab"), (1, b"c")]);
        let parsed = Container::parse(&old).unwrap();
        let blocks: Vec<_> = parsed.blocks().collect();
        assert_eq!(blocks, [(2, &b"ab"[..]), (1, b"c")]);
        let long = [b'd'; 300];
        let new = parsed.with_records(303, &[b"abc", &long]);
        let records = [b"abc".as_slice(), &long].concat();
        assert_eq!(new, container(&[schema, ("n", "1")], 7, &[(303, &records)]));
        assert_eq!(
            parsed.with_records(0, &[]),
            container(&[schema, ("n", "1")], 7, &[])
        );
    }

    #[test]
    fn the_codec_is_told() {
        let schema = ("avro.schema", "\"int\"");
        for (codec, uncompressed) in [("null", true), ("deflate", false)] {
            let file = container(&[schema, ("avro.codec", codec)], 1, &[]);
            assert_eq!(
                Container::parse(&file).unwrap().is_uncompressed(),
                uncompressed
            );
        }
        let file = container(&[schema], 1, &[]);
        assert!(Container::parse(&file).unwrap().is_uncompressed());
        assert_eq!(
            Container::parse(&file).unwrap().schema(),
            Some(&b"\"int\""[..])
        );
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
