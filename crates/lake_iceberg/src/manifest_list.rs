//! The manifest list of a snapshot: what stays of its parent's, and the manifests it adds.
//!
//! A list grows by one entry per commit. Decoding and encoding all of it again for each would make
//! the thousandth commit dearer than the first, so entries are decoded once and stay encoded.

use std::sync::{Arc, OnceLock};

use iceberg::spec::{
    ByteBuf, FieldSummary, FormatVersion, ManifestContentType, ManifestFile,
    ManifestList as IcebergManifestList, ManifestListWriter,
};

use crate::avro_bytes::ByteReader;
use crate::avro_container::Container;
use crate::captured_output::capture;
use crate::error::{Context, Error, ErrorKind, Result};

/// Larger manifests are not kept in memory.
pub(crate) const MAX_KEPT_BYTES: usize = 64 * 1024;

/// All the manifests of a list that are kept in memory are not larger than this.
const MAX_KEPT_BYTES_OF_LIST: usize = 8 * 1024 * 1024;

/// The manifests of one snapshot; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ManifestList {
    pub(crate) manifests: Vec<Arc<ListedManifest>>,
}

/// One manifest of a list.
#[derive(Debug, Clone)]
pub(crate) struct ListedManifest {
    pub(crate) file: ManifestFile,
    /// `file`, encoded.
    record: Arc<[u8]>,
    /// The manifest itself, if it is small and this process wrote or loaded it.
    bytes: Option<Arc<[u8]>>,
}

impl ListedManifest {
    /// The manifest itself, if it is at hand.
    pub(crate) fn bytes(&self) -> Option<&Arc<[u8]>> {
        self.bytes.as_ref()
    }

    /// This manifest with its bytes, unless they are too many to keep.
    pub(crate) fn with_bytes(self: Arc<Self>, bytes: &[u8]) -> Arc<Self> {
        if self.bytes.is_some() || bytes.len() > MAX_KEPT_BYTES {
            return self;
        }
        Arc::new(Self {
            bytes: Some(bytes.into()),
            ..Self::clone(&self)
        })
    }
}

/// What a manifest list says of its snapshot.
pub(crate) struct ListHeader {
    pub(crate) snapshot_id: i64,
    pub(crate) parent_snapshot_id: Option<i64>,
    pub(crate) sequence_number: i64,
}

impl ManifestList {
    /// The entries in the bytes of a v2 manifest list.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let container =
            Container::parse(bytes).ok_or_else(|| damaged("not a complete Avro file"))?;
        if container.is_uncompressed() && container.schema() == Some(own_schema()?) {
            return Self::decode(&container);
        }
        // Some other writer made it.
        let list = IcebergManifestList::parse_with_version(bytes, FormatVersion::V2).context(
            ErrorKind::InvalidMetadata,
            "could not read the manifest list",
        )?;
        let header = ListHeader {
            snapshot_id: 0,
            parent_snapshot_id: None,
            sequence_number: 0,
        };
        let own = encode(
            "list",
            &header,
            list.consume_entries().into_iter().collect(),
        )?;
        Self::decode(&Container::parse(&own).ok_or_else(|| damaged("not an Avro file"))?)
    }

    fn decode(container: &Container<'_>) -> Result<Self> {
        let decode_blocks = || {
            let mut manifests = Vec::new();
            for (count, block) in container.blocks() {
                let mut reader = ByteReader::new(block);
                for _ in 0..count {
                    let start = reader.position();
                    let file = decode_entry(&mut reader)?;
                    manifests.push(Arc::new(ListedManifest {
                        file,
                        record: reader.since(start).into(),
                        bytes: None,
                    }));
                }
                reader.is_at_end().then_some(())?;
            }
            Some(Self { manifests })
        };
        decode_blocks().ok_or_else(|| damaged("bad entry"))
    }

    /// The list of the next snapshot and its bytes: `kept` are entries of lists before, `added` new
    /// manifests (sequence numbers may be unassigned) with their bytes.
    pub(crate) fn write(
        path: &str,
        header: &ListHeader,
        kept: Vec<Arc<ListedManifest>>,
        added: Vec<(ManifestFile, Vec<u8>)>,
    ) -> Result<(Self, Vec<u8>)> {
        let (files, contents): (Vec<_>, Vec<_>) = added.into_iter().unzip();
        let fresh = encode(path, header, files)?;
        let container = Container::parse(&fresh).ok_or_else(|| damaged("not an Avro file"))?;
        let new = Self::decode(&container)?.manifests;
        let mut manifests = kept;
        manifests.extend(
            new.into_iter()
                .zip(contents)
                .map(|(manifest, bytes)| manifest.with_bytes(&bytes)),
        );
        let records: Vec<&[u8]> = manifests.iter().map(|manifest| &*manifest.record).collect();
        let bytes = container.with_records(records.len() as u64, &records);
        forget_oldest(&mut manifests);
        Ok((Self { manifests }, bytes))
    }
}

/// Keeps the bytes of the newest manifests as far as memory allows.
fn forget_oldest(manifests: &mut [Arc<ListedManifest>]) {
    let mut kept = 0;
    for manifest in manifests.iter_mut().rev() {
        kept += manifest.bytes.as_ref().map_or(0, |bytes| bytes.len());
        if kept > MAX_KEPT_BYTES_OF_LIST && manifest.bytes.is_some() {
            *manifest = Arc::new(ListedManifest {
                bytes: None,
                ..ListedManifest::clone(manifest)
            });
        }
    }
}

fn damaged(how: &str) -> Error {
    let message = format!("could not read the manifest list: {how}");
    Error::new(ErrorKind::InvalidMetadata, message)
}

/// The schema that [`encode`] writes, and whose entries [`decode_entry`] reads.
fn own_schema() -> Result<&'static [u8]> {
    static SCHEMA: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(schema) = SCHEMA.get() {
        return Ok(schema);
    }
    let header = ListHeader {
        snapshot_id: 0,
        parent_snapshot_id: None,
        sequence_number: 0,
    };
    let empty = encode("list", &header, Vec::new())?;
    let schema = Container::parse(&empty).and_then(|container| container.schema());
    let schema = schema.ok_or_else(|| damaged("no schema"))?;
    Ok(SCHEMA.get_or_init(|| schema.to_vec()))
}

fn encode(path: &str, header: &ListHeader, files: Vec<ManifestFile>) -> Result<Vec<u8>> {
    let ((), bytes) = capture(path, async |output| {
        let mut writer = ManifestListWriter::v2(
            output.writer().await?,
            header.snapshot_id,
            header.parent_snapshot_id,
            header.sequence_number,
        );
        writer.add_manifests(files.into_iter())?;
        writer.close().await
    })?;
    Ok(bytes)
}

/// One entry, in the order of the fields of Iceberg's v2 schema (Iceberg spec, "Manifest Lists").
fn decode_entry(reader: &mut ByteReader<'_>) -> Option<ManifestFile> {
    Some(ManifestFile {
        manifest_path: reader.string()?.to_owned(),
        manifest_length: reader.long()?,
        partition_spec_id: i32::try_from(reader.long()?).ok()?,
        content: match reader.long()? {
            0 => ManifestContentType::Data,
            1 => ManifestContentType::Deletes,
            _ => return None,
        },
        sequence_number: reader.long()?,
        min_sequence_number: reader.long()?,
        added_snapshot_id: reader.long()?,
        added_files_count: Some(u32::try_from(reader.long()?).ok()?),
        existing_files_count: Some(u32::try_from(reader.long()?).ok()?),
        deleted_files_count: Some(u32::try_from(reader.long()?).ok()?),
        added_rows_count: Some(u64::try_from(reader.long()?).ok()?),
        existing_rows_count: Some(u64::try_from(reader.long()?).ok()?),
        deleted_rows_count: Some(u64::try_from(reader.long()?).ok()?),
        partitions: reader.nullable(decode_partitions)?,
        key_metadata: reader.nullable(|reader| Some(reader.bytes()?.to_vec()))?,
        first_row_id: None,
    })
}

fn decode_partitions(reader: &mut ByteReader<'_>) -> Option<Vec<FieldSummary>> {
    let mut partitions = Vec::new();
    reader.items(|reader| {
        partitions.push(FieldSummary {
            contains_null: reader.boolean()?,
            contains_nan: reader.nullable(ByteReader::boolean)?,
            lower_bound: reader.nullable(|reader| Some(ByteBuf::from(reader.bytes()?)))?,
            upper_bound: reader.nullable(|reader| Some(ByteBuf::from(reader.bytes()?)))?,
        });
        Some(())
    })?;
    Some(partitions)
}
