//! The manifest of the files that a commit adds.

use iceberg::spec::{ManifestFile, ManifestWriterBuilder, PartitionSpec, Schema, SchemaRef};

use crate::captured_output::capture;
use crate::data_file::DataFile;
use crate::error::Result;

/// In [`iceberg::spec::ManifestWriter::add_file`]: inherit the snapshot's sequence number.
const INHERITED_SEQUENCE_NUMBER: i64 = -1;

/// A manifest's bytes, and its entry for the manifest list (sequence numbers still unassigned).
pub(crate) fn write_data_manifest(
    path: &str,
    snapshot_id: i64,
    schema: &SchemaRef,
    spec: &PartitionSpec,
    added: &[DataFile],
) -> Result<(ManifestFile, Vec<u8>)> {
    let files = added
        .iter()
        .map(|file| file.to_iceberg(schema as &Schema, spec.spec_id()))
        .collect::<Result<Vec<_>>>()?;
    capture(path, async |output| {
        let mut writer =
            ManifestWriterBuilder::new(output, Some(snapshot_id), schema.clone(), spec.clone())
                .build_v2_data();
        for file in files {
            writer.add_file(file, INHERITED_SEQUENCE_NUMBER)?;
        }
        writer.write_manifest_file().await
    })
}
