//! The manifest of the files that a commit adds.
//!
//! The iceberg crate needs a quarter of a millisecond to write a manifest, most of it for building the
//! manifest's Avro schema anew. Every commit writes one or two, so their entries are encoded here; the
//! schema is the crate's own, and so is the description of a file.

use std::collections::HashMap;

use iceberg::spec::{DataFile as IcebergDataFile, Datum, ManifestContentType, ManifestStatus};

use crate::avro_bytes::{write_bytes, write_long, write_nullable_long};
use crate::avro_container;
use crate::avro_layout::Layout;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::manifest::own_schema;
use crate::metadata_document::Definition;

/// The bytes of the manifest; none if there are no files. Sequence numbers are inherited from the
/// manifest list (Iceberg spec, "Sequence Number Inheritance").
///
/// Fails with [`ErrorKind::Unsupported`] if the table is partitioned.
pub(crate) fn write_added(
    content: ManifestContentType,
    snapshot_id: i64,
    definition: &Definition,
    files: &[IcebergDataFile],
) -> Result<Option<Vec<u8>>> {
    if files.is_empty() {
        return Ok(None);
    }
    let spec_id = definition.partition_spec.spec_id();
    if !definition.unpartitioned_spec_ids.contains(&spec_id) {
        let message = "files cannot be added to a partitioned table";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let (schema, layout) = own_schema()?;
    let mut records = Vec::new();
    for file in files {
        write_long(&mut records, ManifestStatus::Added as i64);
        write_nullable_long(&mut records, Some(snapshot_id));
        // The sequence number, and that of the file.
        write_nullable_long(&mut records, None);
        write_nullable_long(&mut records, None);
        for (name, layout) in layout.data_file_fields() {
            write_field(&mut records, file, name, layout)?;
        }
    }
    // Iceberg spec, "Manifests".
    let schema_id = definition.schema.schema_id().to_string();
    let spec_id = spec_id.to_string();
    let content = content.to_string();
    let metadata = [
        ("avro.schema", schema.as_slice()),
        ("avro.codec", b"null"),
        ("schema", definition.schema_json.as_bytes()),
        ("schema-id", schema_id.as_bytes()),
        ("partition-spec", b"[]"),
        ("partition-spec-id", spec_id.as_bytes()),
        ("format-version", b"2"),
        ("content", content.as_bytes()),
    ];
    Ok(Some(avro_container::write(
        &metadata,
        files.len() as u64,
        &records,
    )))
}

/// One field of a file's description (Iceberg spec, "Data File Fields").
fn write_field(
    out: &mut Vec<u8>,
    file: &IcebergDataFile,
    name: &str,
    layout: &Layout,
) -> Result<()> {
    match name {
        "content" => write_long(out, file.content_type() as i64),
        "file_path" => write_bytes(out, file.file_path().as_bytes()),
        "file_format" => {
            let format = file.file_format().to_string().to_uppercase();
            write_bytes(out, format.as_bytes());
        }
        // A record without fields.
        "partition" => {}
        "record_count" => write_long(out, file.record_count() as i64),
        "file_size_in_bytes" => write_long(out, file.file_size_in_bytes() as i64),
        "column_sizes" => write_counts(out, file.column_sizes()),
        "value_counts" => write_counts(out, file.value_counts()),
        "null_value_counts" => write_counts(out, file.null_value_counts()),
        "nan_value_counts" => write_counts(out, file.nan_value_counts()),
        "lower_bounds" => write_bounds(out, file.lower_bounds())?,
        "upper_bounds" => write_bounds(out, file.upper_bounds())?,
        "referenced_data_file" => match file.referenced_data_file() {
            Some(path) => {
                write_long(out, 1);
                write_bytes(out, path.as_bytes());
            }
            None => write_long(out, 0),
        },
        // What is not known of a new file.
        _ if layout.is_nullable() => write_long(out, 0),
        _ => {
            let message = format!("the field {name} of a manifest has no value");
            return Err(Error::new(ErrorKind::Internal, message));
        }
    }
    Ok(())
}

/// A map from field id to count: an array of keys and values, since its keys are no strings.
fn write_counts(out: &mut Vec<u8>, counts: &HashMap<i32, u64>) {
    write_array_start(out, counts.len());
    for (field_id, count) in counts {
        write_long(out, i64::from(*field_id));
        write_long(out, *count as i64);
    }
    write_array_end(out);
}

/// A map from field id to a value in Iceberg's binary form, likewise.
fn write_bounds(out: &mut Vec<u8>, bounds: &HashMap<i32, Datum>) -> Result<()> {
    write_array_start(out, bounds.len());
    for (field_id, bound) in bounds {
        write_long(out, i64::from(*field_id));
        let bytes = bound
            .to_bytes()
            .context(ErrorKind::Internal, "could not serialise a bound")?;
        write_bytes(out, &bytes);
    }
    write_array_end(out);
    Ok(())
}

/// Starts an array, in one block, as the value of a union of null and array.
fn write_array_start(out: &mut Vec<u8>, length: usize) {
    write_long(out, 1);
    if length > 0 {
        write_long(out, length as i64);
    }
}

fn write_array_end(out: &mut Vec<u8>) {
    write_long(out, 0);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iceberg::spec::{Manifest, ManifestWriterBuilder, PartitionSpec};

    use super::*;
    use crate::captured_output::capture;
    use crate::data_file::{ColumnStats, DataFile};
    use crate::delete_file::DeleteFile;
    use crate::lake_type::LakeType;
    use crate::metadata_document::MetadataDocument;
    use crate::table_schema::{Column, TableSchema};

    /// What the iceberg crate writes.
    fn written_by_the_crate(
        content: ManifestContentType,
        definition: &Definition,
        files: &[IcebergDataFile],
    ) -> Manifest {
        let schema = definition.schema.clone();
        let (_, bytes) = capture("manifest", async |output| {
            let spec = PartitionSpec::clone(&definition.partition_spec);
            let builder = ManifestWriterBuilder::new(output, Some(7), schema, spec);
            let mut writer = match content {
                ManifestContentType::Data => builder.build_v2_data(),
                ManifestContentType::Deletes => builder.build_v2_deletes(),
            };
            for file in files {
                writer.add_file(file.clone(), -1)?;
            }
            writer.write_manifest_file().await
        })
        .unwrap();
        Manifest::parse_avro(&bytes).unwrap()
    }

    #[test]
    fn a_manifest_reads_as_if_the_iceberg_crate_had_written_it() {
        let column = |field_id, ty| Column {
            field_id,
            name: format!("c{field_id}"),
            ty,
            required: false,
        };
        let schema = TableSchema {
            columns: vec![
                column(1, LakeType::Long),
                column(2, LakeType::String),
                column(3, LakeType::Double),
            ],
        };
        let definition = MetadataDocument::new_table("/t", &schema, 0)
            .unwrap()
            .definition;
        let definition: &Definition = &Arc::clone(&definition);
        let statistics = |field_id, lower: &str, upper: &str| ColumnStats {
            field_id,
            value_count: Some(10),
            null_count: Some(3),
            column_size: Some(70_000),
            lower: Some(lower.into()),
            upper: Some(upper.into()),
            has_nan: Some(false),
        };
        let data = |path: &str, columns| DataFile {
            path: path.into(),
            record_count: 10,
            file_size: 1 << 40,
            columns,
        };
        let columns = vec![
            statistics(1, "-5", "9000000000"),
            statistics(2, "ä", "z"),
            statistics(3, "-0.5", "Infinity"),
        ];
        let files = [data("s3://b/ü", columns), data("plain", vec![])];
        let data_files: Vec<_> = files
            .iter()
            .map(|file| file.to_iceberg(&definition.schema, 0).unwrap())
            .collect();
        let deletes = DeleteFile {
            path: "d".into(),
            record_count: 1,
            file_size: 2,
            data_file: "plain".into(),
        };
        for (content, files) in [
            (ManifestContentType::Data, data_files),
            (
                ManifestContentType::Deletes,
                vec![deletes.to_iceberg(0).unwrap()],
            ),
        ] {
            let bytes = write_added(content, 7, definition, &files)
                .unwrap()
                .unwrap();
            assert_eq!(
                Manifest::parse_avro(&bytes).unwrap(),
                written_by_the_crate(content, definition, &files)
            );
        }
        assert_eq!(
            write_added(ManifestContentType::Data, 7, definition, &[]).unwrap(),
            None
        );
    }
}
