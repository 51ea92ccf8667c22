//! The manifest list of a snapshot: that of its parent, and the manifests it adds.
//!
//! A list grows by one entry per commit. Decoding and encoding all of it again for each would make
//! the thousandth commit dearer than the first, so the parent's encoded entries are copied as bytes.

use iceberg::spec::{FormatVersion, ManifestFile, ManifestList, ManifestListWriter};

use crate::avro_container::Container;
use crate::captured_output::capture;
use crate::error::{Context, ErrorKind, Result};

/// What a manifest list says of its snapshot.
pub(crate) struct ListHeader {
    pub(crate) snapshot_id: i64,
    pub(crate) parent_snapshot_id: Option<i64>,
    pub(crate) sequence_number: i64,
}

/// The bytes of manifest list `path`: the entries of the parent's list, then `added`.
pub(crate) fn extend_manifest_list(
    path: &str,
    header: &ListHeader,
    parent_list: Option<&[u8]>,
    added: Vec<ManifestFile>,
) -> Result<Vec<u8>> {
    let Some(parent_list) = parent_list else {
        return write_manifest_list(path, header, added);
    };
    let fresh = write_manifest_list(path, header, added.clone())?;
    let joined = Container::parse(&fresh)
        .zip(Container::parse(parent_list))
        .and_then(|(fresh, parent)| fresh.with_records_before(&parent));
    match joined {
        Some(joined) => Ok(joined),
        // Some other writer made the parent's list: decode and encode it.
        None => {
            let entries = parse_manifest_list(parent_list)?
                .into_iter()
                .chain(added)
                .collect();
            write_manifest_list(path, header, entries)
        }
    }
}

/// The entries of a v2 manifest list.
pub(crate) fn parse_manifest_list(bytes: &[u8]) -> Result<Vec<ManifestFile>> {
    let list = ManifestList::parse_with_version(bytes, FormatVersion::V2).context(
        ErrorKind::InvalidMetadata,
        "could not read the manifest list",
    )?;
    Ok(list.consume_entries().into_iter().collect())
}

fn write_manifest_list(
    path: &str,
    header: &ListHeader,
    entries: Vec<ManifestFile>,
) -> Result<Vec<u8>> {
    let ((), bytes) = capture(path, async |output| {
        let mut writer = ManifestListWriter::v2(
            output.writer().await?,
            header.snapshot_id,
            header.parent_snapshot_id,
            header.sequence_number,
        );
        writer.add_manifests(entries.into_iter())?;
        writer.close().await
    })?;
    Ok(bytes)
}
