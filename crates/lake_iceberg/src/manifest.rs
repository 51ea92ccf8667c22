//! Manifests: reading entries without decoding all of them.
//!
//! A manifest that is rewritten keeps most of what its entries say. So an entry is taken apart only
//! into what a rewrite needs to know or change; the rest stays encoded.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use iceberg::spec::{
    Manifest as IcebergManifest, ManifestContentType, ManifestFile, ManifestStatus, ManifestWriter,
    ManifestWriterBuilder, PartitionSpec, Schema, SchemaRef,
};

use crate::avro_bytes::ByteReader;
use crate::avro_container::Container;
use crate::avro_layout::Layout;
use crate::captured_output::capture;
use crate::error::{Context, Error, ErrorKind, Result};

fn write(
    content: ManifestContentType,
    schema: &SchemaRef,
    spec: &PartitionSpec,
    add: impl FnOnce(&mut ManifestWriter) -> iceberg::Result<()>,
) -> Result<Vec<u8>> {
    let (_, bytes) = capture("manifest", async |output| {
        let builder = ManifestWriterBuilder::new(output, None, schema.clone(), spec.clone());
        let mut writer = match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        };
        add(&mut writer)?;
        writer.write_manifest_file().await
    })?;
    Ok(bytes)
}

/// The bytes of a manifest in the form that [`Manifest`] reads: uncompressed, and with the schema
/// that the iceberg crate would give it.
pub(crate) fn in_own_form<'a>(bytes: &'a [u8], listed: &ManifestFile) -> Result<Cow<'a, [u8]>> {
    let path = &listed.manifest_path;
    if listed.key_metadata.is_some() {
        let message = format!("manifest {path} is encrypted");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let own_schema = &own_schema()?.0;
    let is_own = |container: Container<'_>| {
        container.is_uncompressed() && container.schema() == Some(own_schema)
    };
    if Container::parse(bytes).is_some_and(is_own) {
        return Ok(Cow::Borrowed(bytes));
    }
    // Some other writer made it, or it is partitioned.
    let manifest = IcebergManifest::parse_avro(bytes).context(
        ErrorKind::InvalidMetadata,
        format!("could not read manifest {path}"),
    )?;
    let metadata = manifest.metadata();
    let mut entries = Vec::new();
    for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
        let inherits = entry.status() == ManifestStatus::Added || listed.sequence_number == 0;
        let inherited = inherits.then_some(listed.sequence_number);
        let sequence_number = entry.sequence_number().or(inherited).ok_or_else(|| {
            let message = format!("an existing file of manifest {path} has no sequence number");
            Error::new(ErrorKind::InvalidMetadata, message)
        })?;
        entries.push((
            entry.data_file().clone(),
            entry.snapshot_id().unwrap_or(listed.added_snapshot_id),
            sequence_number,
            entry
                .file_sequence_number
                .or(inherited)
                .unwrap_or(sequence_number),
        ));
    }
    let own = write(
        *metadata.content(),
        metadata.schema(),
        metadata.partition_spec(),
        |writer| {
            entries.into_iter().try_for_each(
                |(file, snapshot_id, sequence_number, file_sequence_number)| {
                    writer.add_existing_file(
                        file,
                        snapshot_id,
                        sequence_number,
                        Some(file_sequence_number),
                    )
                },
            )
        },
    )?;
    Ok(Cow::Owned(own))
}

/// The iceberg crate's schema of unpartitioned manifests, and its layout.
pub(crate) fn own_schema() -> Result<&'static (Vec<u8>, EntryLayout)> {
    static SCHEMA: OnceLock<(Vec<u8>, EntryLayout)> = OnceLock::new();
    if let Some(schema) = SCHEMA.get() {
        return Ok(schema);
    }
    let internal = || Error::new(ErrorKind::Internal, "could not read an empty manifest");
    let no_columns = Schema::builder()
        .build()
        .context(ErrorKind::Internal, "no schema")?;
    let (content, spec) = (ManifestContentType::Data, PartitionSpec::unpartition_spec());
    let empty = write(content, &Arc::new(no_columns), &spec, |_| Ok(()))?;
    let container = Container::parse(&empty).ok_or_else(internal)?;
    let schema = container.schema().ok_or_else(internal)?;
    let layout = EntryLayout::parse(schema).ok_or_else(internal)?;
    Ok(SCHEMA.get_or_init(|| (schema.to_vec(), layout)))
}

/// What entries of a manifest inherit from its entry in the manifest list.
#[derive(Clone, Copy)]
pub(crate) struct Inherited<'a> {
    pub(crate) manifest_path: &'a str,
    pub(crate) snapshot_id: i64,
    pub(crate) sequence_number: i64,
}

impl<'a> From<&'a ManifestFile> for Inherited<'a> {
    fn from(listed: &'a ManifestFile) -> Self {
        Self {
            manifest_path: &listed.manifest_path,
            snapshot_id: listed.added_snapshot_id,
            sequence_number: listed.sequence_number,
        }
    }
}

/// A manifest in the form that [`in_own_form`] makes.
pub(crate) struct Manifest<'a> {
    pub(crate) container: Container<'a>,
    /// The entries of files that are still there.
    pub(crate) entries: Vec<Entry<'a>>,
}

/// An entry of a manifest, with the numbers that it inherits.
pub(crate) struct Entry<'a> {
    pub(crate) snapshot_id: i64,
    pub(crate) sequence_number: i64,
    pub(crate) file_sequence_number: i64,
    /// See [`crate::FileContent`].
    pub(crate) content: i64,
    pub(crate) path: &'a str,
    pub(crate) record_count: u64,
    /// The file's description, encoded.
    pub(crate) data_file: &'a [u8],
}

impl<'a> Manifest<'a> {
    pub(crate) fn parse(own_form: &'a [u8], inherited: Inherited<'_>) -> Result<Self> {
        let own_schema = own_schema()?;
        let parse = || {
            let container = Container::parse(own_form)?;
            let schema = container.schema()?;
            let layout = match schema == own_schema.0 {
                true => Cow::Borrowed(&own_schema.1),
                false => Cow::Owned(EntryLayout::parse(schema)?),
            };
            let mut entries = Vec::new();
            for (count, block) in container.blocks() {
                let mut reader = ByteReader::new(block);
                for _ in 0..count {
                    entries.extend(layout.read(&mut reader, inherited)?);
                }
                reader.is_at_end().then_some(())?;
            }
            Some(Self { container, entries })
        };
        parse().ok_or_else(|| {
            let message = format!("could not read manifest {}", inherited.manifest_path);
            Error::new(ErrorKind::InvalidMetadata, message)
        })
    }
}

/// How an entry is encoded: status, three numbers that may be null, and the file's description.
#[derive(Debug, Clone)]
pub(crate) struct EntryLayout {
    data_file: Vec<(String, Layout)>,
}

impl EntryLayout {
    /// None if the fields of an entry are not those of the Iceberg spec, "Manifests", in its order.
    fn parse(schema_json: &[u8]) -> Option<Self> {
        let Layout::Record(fields) = Layout::parse(schema_json)? else {
            return None;
        };
        let nullable = Layout::Union(vec![Layout::Null, Layout::Long]);
        let expected = [
            ("status", Layout::Long),
            ("snapshot_id", nullable.clone()),
            ("sequence_number", nullable.clone()),
            ("file_sequence_number", nullable),
        ];
        let (data_file, numbers) = fields.split_last()?;
        let as_expected = numbers.len() == expected.len()
            && numbers
                .iter()
                .zip(expected)
                .all(|((name, layout), expected)| {
                    (name.as_str(), layout) == (expected.0, &expected.1)
                });
        match data_file {
            (name, Layout::Record(data_file)) if as_expected && name == "data_file" => Some(Self {
                data_file: data_file.clone(),
            }),
            _ => None,
        }
    }

    /// The fields of a file's description, by name.
    pub(crate) fn data_file_fields(&self) -> impl Iterator<Item = (&str, &Layout)> {
        let fields = self.data_file.iter();
        fields.map(|(name, layout)| (name.as_str(), layout))
    }

    /// Reads one entry; none within the result if the entry is one of a file that is gone.
    fn read<'a>(
        &self,
        reader: &mut ByteReader<'a>,
        inherited: Inherited<'_>,
    ) -> Option<Option<Entry<'a>>> {
        let status = ManifestStatus::try_from(i32::try_from(reader.long()?).ok()?).ok()?;
        let snapshot_id = reader.nullable(ByteReader::long)?;
        let sequence_number = reader.nullable(ByteReader::long)?;
        let file_sequence_number = reader.nullable(ByteReader::long)?;
        let start = reader.position();
        let (mut content, mut path, mut record_count) = (0, None, None);
        for (name, layout) in &self.data_file {
            match name.as_str() {
                "content" => content = reader.long()?,
                "file_path" => path = Some(reader.string()?),
                "record_count" => record_count = Some(reader.long()?),
                _ => layout.skip(reader)?,
            }
        }
        if status == ManifestStatus::Deleted {
            return Some(None);
        }
        Some(Some(Entry {
            snapshot_id: snapshot_id.unwrap_or(inherited.snapshot_id),
            sequence_number: sequence_number.unwrap_or(inherited.sequence_number),
            file_sequence_number: file_sequence_number.unwrap_or(inherited.sequence_number),
            content,
            path: path?,
            record_count: u64::try_from(record_count?).ok()?,
            data_file: reader.since(start),
        }))
    }
}
