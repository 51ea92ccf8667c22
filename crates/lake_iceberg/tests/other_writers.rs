//! Tables that other programs have written to: what they wrote stays as it is, or is rewritten with
//! the same meaning.

// The helpers of the tests may fail loudly, too.
#![allow(clippy::unwrap_used)]

mod stored_table;

use std::fs;

use futures::executor::block_on;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal,
    ManifestContentType, ManifestFile, ManifestListWriter, ManifestStatus, ManifestWriter,
    ManifestWriterBuilder, PartitionSpec, Struct, Transform, UnboundPartitionSpec,
};
use lake_iceberg::{Changes, ErrorKind, FileContent, Policy, RemovedFile, TableState};
use serde_json::{Value, json};
use stored_table::foreign_avro::as_other_writer;
use stored_table::{StoredTable, data_file, data_path, delete_file, delete_path, entries, schema};

const OTHER_SNAPSHOT: i64 = 4711;

/// The next version of a table, by another program: the metadata is edited, the manifest list
/// replaced by one of the given manifests.
fn committed_by_other(
    table: &mut StoredTable,
    manifests: Vec<ManifestFile>,
    edit: impl FnOnce(&mut Value),
) {
    let directory = table.directory.location();
    let list_path = format!("{directory}/metadata/other-list.avro");
    let sequence_number = table.state.sequence_number() + 1;
    block_on(async {
        let output = FileIO::new_with_fs().new_output(&list_path).unwrap();
        let writer = output.writer().await.unwrap();
        let mut list = ManifestListWriter::v2(writer, OTHER_SNAPSHOT, None, sequence_number);
        list.add_manifests(manifests.into_iter()).unwrap();
        list.close().await.unwrap();
    });
    make_foreign(&list_path);
    let bytes = fs::read(table.state.metadata_location()).unwrap();
    let mut document: Value = serde_json::from_slice(&bytes).unwrap();
    document["last-sequence-number"] = sequence_number.into();
    document["current-snapshot-id"] = OTHER_SNAPSHOT.into();
    document["snapshots"].as_array_mut().unwrap().push(json!({
        "snapshot-id": OTHER_SNAPSHOT,
        "sequence-number": sequence_number,
        "timestamp-ms": table.now_ms,
        "manifest-list": list_path,
        "summary": {"operation": "overwrite"},
    }));
    document["refs"] = json!({"main": {"snapshot-id": OTHER_SNAPSHOT, "type": "branch"}});
    document["member-of-the-future"] = json!({"a": [1, {"b": "]"}]});
    edit(&mut document);
    let location = format!("{directory}/metadata/v7.metadata.json");
    fs::write(&location, serde_json::to_vec_pretty(&document).unwrap()).unwrap();
    table.state = table.directory.load(&location);
}

fn make_foreign(path: &str) {
    fs::write(path, as_other_writer(&fs::read(path).unwrap())).unwrap();
}

enum Form {
    Own,
    Foreign,
}

/// A manifest of another program, `fill`ed by the iceberg crate.
fn manifest(
    table: &StoredTable,
    name: &str,
    spec: PartitionSpec,
    content: ManifestContentType,
    form: Form,
    fill: impl FnOnce(&mut ManifestWriter),
) -> ManifestFile {
    let path = format!("{}/metadata/{name}.avro", table.directory.location());
    let schema = schema().to_iceberg(0).unwrap().into();
    let mut file = block_on(async {
        let output = FileIO::new_with_fs().new_output(&path).unwrap();
        let builder = ManifestWriterBuilder::new(output, None, schema, spec);
        let mut writer = match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        };
        fill(&mut writer);
        writer.write_manifest_file().await.unwrap()
    });
    file.added_snapshot_id = OTHER_SNAPSHOT;
    if let Form::Foreign = form {
        make_foreign(&path);
        file.manifest_length = fs::metadata(&path).unwrap().len() as i64;
    }
    file
}

fn described(content: DataContentType, path: String, partition: Struct) -> DataFile {
    DataFileBuilder::default()
        .content(content)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .record_count(10)
        .file_size_in_bytes(1000)
        .lower_bounds([(1, Datum::long(5))].into())
        .split_offsets(Some(vec![4, 400]))
        .equality_ids((content == DataContentType::EqualityDeletes).then(|| vec![1]))
        .build()
        .unwrap()
}

fn data(number: i64) -> DataFile {
    described(DataContentType::Data, data_path(number), Struct::empty())
}

fn removed(path: String, content: FileContent, sequence_number: i64) -> RemovedFile {
    RemovedFile {
        path,
        content,
        sequence_number,
        record_count: 10,
        file_size: 1000,
    }
}

fn partitioned_by_id() -> PartitionSpec {
    let spec = UnboundPartitionSpec::builder()
        .with_spec_id(1)
        .add_partition_field(1, "id", Transform::Identity)
        .unwrap();
    spec.build().bind(schema().to_iceberg(0).unwrap()).unwrap()
}

#[test]
fn compressed_manifests_with_inherited_numbers_are_rewritten() {
    for form in [Form::Own, Form::Foreign] {
        let mut table = StoredTable::create("other-compressed");
        let unpartitioned = PartitionSpec::unpartition_spec();
        let listed = manifest(
            &table,
            "other-m0",
            unpartitioned,
            ManifestContentType::Data,
            form,
            |writer| {
                writer.add_file(data(1), -1).unwrap();
                writer.add_file(data(2), -1).unwrap();
            },
        );
        committed_by_other(&mut table, vec![listed], |_| {});
        table.commit(Changes {
            added_data: vec![data_file(3)],
            added_deletes: vec![delete_file(2)],
            removed: vec![removed(data_path(1), FileContent::Data, 1)],
            ..Default::default()
        });
        assert_eq!(table.loaded, 1);
        let live = table.live();
        let numbers: Vec<_> = live.values().map(|file| file.sequence_number).collect();
        let paths: Vec<_> = live.keys().cloned().collect();
        assert_eq!(paths, [delete_path(2), data_path(2), data_path(3)]);
        assert_eq!(numbers, [2, 1, 2]);
        let manifests = table.manifests();
        assert_eq!(manifests.len(), 2);
        let kept = entries(&manifests[0]);
        let kept = kept.iter().find(|entry| entry.file_path() == data_path(2));
        let kept = kept.unwrap();
        assert_eq!(kept.status(), ManifestStatus::Existing);
        assert_eq!(kept.snapshot_id(), Some(OTHER_SNAPSHOT));
        assert_eq!(kept.file_sequence_number, Some(1));
        assert_eq!(kept.data_file(), &data(2));
        // A total that the other program did not tell is not known.
        assert_eq!(table.summary("total-records"), None);
        let bytes = fs::read(table.state.metadata_location()).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document["member-of-the-future"]["a"][1]["b"], "]");
        assert_eq!(document["metadata-log"].as_array().unwrap().len(), 1);
        assert!(table.state.metadata_location().contains("/00001-"));
    }
}

#[test]
fn manifests_that_need_no_change_stay() {
    let mut table = StoredTable::create("other-untouched");
    let unpartitioned = PartitionSpec::unpartition_spec();
    let content = ManifestContentType::Data;
    let listed = manifest(
        &table,
        "other-m0",
        unpartitioned,
        content,
        Form::Foreign,
        |writer| {
            writer.add_file(data(1), -1).unwrap();
        },
    );
    committed_by_other(&mut table, vec![listed.clone()], |_| {});
    table.add_data([2]);
    assert_eq!(table.loaded, 0);
    let manifests = table.manifests();
    assert_eq!(manifests[0].manifest_path, listed.manifest_path);
    assert_eq!(
        (manifests[0].sequence_number, manifests[1].sequence_number),
        (1, 2)
    );
    assert_eq!(table.live().len(), 2);
}

#[test]
fn files_from_before_an_upgrade_of_the_format_version_can_be_removed() {
    let mut table = StoredTable::create("other-upgraded");
    let directory = table.directory.location().to_owned();
    let manifest_path = format!("{directory}/metadata/v1-m0.avro");
    let list_path = format!("{directory}/metadata/v1-list.avro");
    block_on(async {
        let io = FileIO::new_with_fs();
        let output = io.new_output(&manifest_path).unwrap();
        let schema = schema().to_iceberg(0).unwrap().into();
        let spec = PartitionSpec::unpartition_spec();
        let mut writer =
            ManifestWriterBuilder::new(output, Some(OTHER_SNAPSHOT), schema, spec).build_v1();
        for number in [1, 2] {
            writer.add_file(data(number), 0).unwrap();
        }
        let manifest = writer.write_manifest_file().await.unwrap();
        let output = io.new_output(&list_path).unwrap();
        let writer = output.writer().await.unwrap();
        let mut list = ManifestListWriter::v1(writer, OTHER_SNAPSHOT, None);
        list.add_manifests([manifest].into_iter()).unwrap();
        list.close().await.unwrap();
    });
    committed_by_other(&mut table, Vec::new(), |document| {
        document["snapshots"][0]["manifest-list"] = list_path.into();
        document["snapshots"][0]
            .as_object_mut()
            .unwrap()
            .remove("sequence-number");
        document["last-sequence-number"] = 0.into();
    });
    table.commit(Changes {
        added_deletes: vec![delete_file(2)],
        removed: vec![removed(data_path(1), FileContent::Data, 0)],
        ..Default::default()
    });
    let numbers: Vec<_> = table
        .live()
        .into_iter()
        .map(|(path, file)| (path, file.sequence_number))
        .collect();
    assert_eq!(numbers, [(delete_path(2), 1), (data_path(2), 0)]);
    assert_eq!(table.manifests()[0].min_sequence_number, 0);
}

#[test]
fn equality_deletes_pass_through() {
    let mut table = StoredTable::create("other-equality");
    let unpartitioned = PartitionSpec::unpartition_spec();
    let content = ManifestContentType::Deletes;
    let equality = || {
        described(
            DataContentType::EqualityDeletes,
            "/t/equality.parquet".into(),
            Struct::empty(),
        )
    };
    let listed = manifest(
        &table,
        "other-m0",
        unpartitioned,
        content,
        Form::Foreign,
        |writer| {
            writer.add_file(equality(), -1).unwrap();
            let positions = described(
                DataContentType::PositionDeletes,
                delete_path(1),
                Struct::empty(),
            );
            writer.add_file(positions, -1).unwrap();
        },
    );
    committed_by_other(&mut table, vec![listed], |_| {});
    let as_positions = Changes {
        removed: vec![removed(
            "/t/equality.parquet".into(),
            FileContent::PositionDeletes,
            1,
        )],
        ..Default::default()
    };
    let error = table.try_commit(as_positions).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    table.commit(Changes {
        removed: vec![removed(delete_path(1), FileContent::PositionDeletes, 1)],
        ..Default::default()
    });
    let manifests = table.manifests();
    assert_eq!(manifests.len(), 1);
    let listed = entries(&manifests[0]);
    let live: Vec<_> = listed.iter().filter(|entry| entry.is_alive()).collect();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].data_file(), &equality());
    assert_eq!(live[0].sequence_number(), Some(1));
}

#[test]
fn files_of_a_partitioned_spec_can_be_removed_but_are_never_merged_with_others() {
    let mut table = StoredTable::create("other-partitioned");
    table.policy = Policy {
        manifest_min_count_to_merge: 2,
        ..Policy::KEEP_EVERYTHING
    };
    let content = ManifestContentType::Data;
    let partitioned = |number| {
        let partition = Struct::from_iter([Some(Literal::long(number))]);
        described(DataContentType::Data, data_path(number), partition)
    };
    let old = |name, numbers: [i64; 2]| {
        manifest(
            &table,
            name,
            partitioned_by_id(),
            content,
            Form::Own,
            |writer| {
                for number in numbers {
                    writer.add_file(partitioned(number), -1).unwrap();
                }
            },
        )
    };
    let listed = vec![old("other-m0", [1, 2]), old("other-m1", [3, 4])];
    let partitions = listed[0].partitions.clone();
    // The table is no longer partitioned.
    committed_by_other(&mut table, listed, |document| {
        let spec = json!({"spec-id": 1, "fields": [
            {"source-id": 1, "field-id": 1000, "name": "id", "transform": "identity"}]});
        document["partition-specs"]
            .as_array_mut()
            .unwrap()
            .push(spec);
        document["last-partition-id"] = 1000.into();
    });
    table.commit(Changes {
        added_data: vec![data_file(5)],
        removed: vec![removed(data_path(1), FileContent::Data, 1)],
        ..Default::default()
    });
    let manifests = table.manifests();
    let spec_ids: Vec<_> = manifests
        .iter()
        .map(|manifest| manifest.partition_spec_id)
        .collect();
    assert_eq!(spec_ids, [1, 1, 0]);
    assert_eq!(manifests[1].partitions, partitions);
    let kept = entries(&manifests[1]);
    let kept = kept.iter().find(|entry| entry.is_alive()).unwrap();
    assert_eq!(kept.data_file().partition(), partitioned(2).partition());
    table.add_data([6]);
    assert_eq!(table.manifests().len(), 3);
    let live: Vec<_> = table.live().into_keys().collect();
    assert_eq!(live, [2, 3, 4, 5, 6].map(data_path));
}

#[test]
fn files_cannot_be_added_to_a_partitioned_table() {
    let mut table = StoredTable::create("other-partitioned-now");
    table.add_data([1]);
    let location = table.state.metadata_location();
    let mut document: Value = serde_json::from_slice(&fs::read(location).unwrap()).unwrap();
    let spec = json!({"spec-id": 1, "fields": [
        {"source-id": 1, "field-id": 1000, "name": "id", "transform": "identity"}]});
    document["partition-specs"]
        .as_array_mut()
        .unwrap()
        .push(spec);
    document["default-spec-id"] = 1.into();
    let list = fs::read(table.state.manifest_list_location().unwrap()).unwrap();
    let state = TableState::from_metadata("/t/metadata/v9.json", document.to_string().as_bytes());
    table.state = state.unwrap().with_manifest_list(list).unwrap();
    let added = Changes {
        added_data: vec![data_file(2)],
        ..Default::default()
    };
    assert_eq!(
        table.try_commit(added).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    table.commit(Changes {
        removed: vec![removed(data_path(1), FileContent::Data, 1)],
        ..Default::default()
    });
    assert!(table.live().is_empty());
}

#[test]
fn encrypted_manifests_are_refused_when_they_must_be_read() {
    let mut table = StoredTable::create("other-encrypted");
    let unpartitioned = PartitionSpec::unpartition_spec();
    let content = ManifestContentType::Data;
    let mut listed = manifest(
        &table,
        "other-m0",
        unpartitioned,
        content,
        Form::Own,
        |writer| {
            writer.add_file(data(1), -1).unwrap();
        },
    );
    listed.key_metadata = Some(vec![1, 2, 3]);
    committed_by_other(&mut table, vec![listed], |_| {});
    table.policy.manifest_min_count_to_merge = 2;
    table.add_data([2]);
    let manifests = table.manifests();
    assert_eq!(manifests.len(), 2);
    assert_eq!(manifests[0].key_metadata, Some(vec![1, 2, 3]));
    let removal = Changes {
        removed: vec![removed(data_path(1), FileContent::Data, 1)],
        ..Default::default()
    };
    assert_eq!(
        table.try_commit(removal).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}
