//! metadata.json, edited in place.
//!
//! The file holds every snapshot of the table, so it grows with each commit. Of the parts that
//! grow, and of those a commit does not touch, only the text is kept: the next version is made by
//! copying it and appending the new entries. Members that are not known here pass unchanged.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use iceberg::spec::{PartitionSpec, PartitionSpecRef, Schema, SchemaRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::json_spans::{array_content, checked_document, elements, members};
use crate::policy::Retention;
use crate::snapshot::Snapshot;
use crate::snapshot_history::SnapshotHistory;
use crate::table_schema::TableSchema;

/// Iceberg's default of the table property `write.metadata.previous-versions-max`.
const PREVIOUS_VERSIONS_MAX: usize = 100;

/// The id that stands for "no snapshot" in some writers' `current-snapshot-id`.
const NO_SNAPSHOT: i64 = -1;

/// A parsed metadata.json.
#[derive(Debug, Clone)]
pub(crate) struct MetadataDocument {
    pub(crate) definition: Arc<Definition>,
    pub(crate) last_sequence_number: i64,
    pub(crate) last_updated_ms: i64,
    current_snapshot_id: Option<i64>,
    refs: serde_json::Map<String, Value>,
    snapshots: SnapshotHistory,
    /// The elements of `snapshot-log`, without the brackets.
    snapshot_log: String,
    metadata_log: Vec<MetadataLogEntry>,
    /// The elements of [`STATISTICS`], without the brackets.
    statistics: [String; 2],
}

/// Arrays whose elements belong to snapshots.
const STATISTICS: [&str; 2] = ["statistics", "partition-statistics"];

/// What a commit leaves as it is.
#[derive(Debug)]
pub(crate) struct Definition {
    /// All members that are not fields of [`MetadataDocument`], as text without the braces.
    members: String,
    pub(crate) location: String,
    /// The current schema.
    pub(crate) schema: SchemaRef,
    /// `schema`, as metadata.json would have it.
    pub(crate) schema_json: String,
    /// The default partition spec.
    pub(crate) partition_spec: PartitionSpecRef,
    /// The partition specs without a field.
    pub(crate) unpartitioned_spec_ids: Vec<i32>,
    previous_versions_max: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MetadataLogEntry {
    timestamp_ms: i64,
    metadata_file: String,
}

impl MetadataDocument {
    /// The metadata of a new table without a snapshot. Written as a document rather than with the
    /// iceberg crate's builder, which would assign field ids of its own.
    pub(crate) fn new_table(location: &str, schema: &TableSchema, now_ms: i64) -> Result<Self> {
        let iceberg_schema = serde_json::to_value(schema.to_iceberg(0)?)
            .context(ErrorKind::Internal, "could not serialise the schema")?;
        let document = json!({
            "format-version": 2,
            "table-uuid": Uuid::new_v4(),
            "location": location,
            "last-sequence-number": 0,
            "last-updated-ms": now_ms,
            "last-column-id": schema.last_column_id(),
            "schemas": [iceberg_schema],
            "current-schema-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": []}],
            "default-spec-id": 0,
            "last-partition-id": 999,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "default-sort-order-id": 0,
            "properties": {
                "write.format.default": "parquet",
                "write.parquet.compression-codec": "snappy",
            },
        });
        Self::parse(document.to_string().as_bytes())
    }

    /// Parses the bytes of a metadata.json of format version 2.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut known: HashMap<&str, &str> = HashMap::new();
        let mut rest = String::new();
        for (key, value) in members(checked_document(bytes)?)? {
            match key {
                "last-sequence-number"
                | "last-updated-ms"
                | "current-snapshot-id"
                | "refs"
                | "snapshots"
                | "snapshot-log"
                | "metadata-log" => {}
                _ if STATISTICS.contains(&key) => {}
                _ => push_element(&mut rest, &format!("\"{key}\":{value}")),
            }
            known.insert(key, value);
        }
        let known = Members(known);
        match known.required::<u8>("format-version")? {
            2 => {}
            other => {
                let message = format!("Iceberg format version {other} is not supported");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
        let array = |key| known.0.get(key).copied().unwrap_or("[]");
        let [statistics, partition_statistics] = STATISTICS.map(|key| array_content(array(key)));
        Ok(Self {
            last_sequence_number: known.required("last-sequence-number")?,
            last_updated_ms: known.required("last-updated-ms")?,
            current_snapshot_id: known
                .optional::<Option<i64>>("current-snapshot-id")?
                .flatten()
                .filter(|id| *id != NO_SNAPSHOT),
            refs: known.optional("refs")?.unwrap_or_default(),
            snapshots: SnapshotHistory::parse(array("snapshots"))?,
            snapshot_log: array_content(array("snapshot-log"))?.to_owned(),
            statistics: [statistics?.to_owned(), partition_statistics?.to_owned()],
            metadata_log: known.optional("metadata-log")?.unwrap_or_default(),
            definition: Arc::new(Definition::from_members(&known, rest)?),
        })
    }

    /// The current snapshot.
    pub(crate) fn current_snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(current) = self.current_snapshot_id else {
            return Ok(None);
        };
        if let Some(snapshot) = self.snapshots.find(current)? {
            return Ok(Some(snapshot));
        }
        let message = format!("the current snapshot {current} is not among the table's snapshots");
        Err(Error::new(ErrorKind::InvalidMetadata, message))
    }

    /// The lowest sequence number of a snapshot.
    pub(crate) fn oldest_sequence_number(&self) -> Option<i64> {
        self.snapshots.oldest_sequence_number()
    }

    /// Adds `snapshot` and makes it the current one.
    pub(crate) fn push_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Snapshot {
            snapshot_id,
            timestamp_ms,
            ..
        } = *snapshot;
        self.snapshots.push(snapshot)?;
        let log_entry = json!({"snapshot-id": snapshot_id, "timestamp-ms": timestamp_ms});
        push_element(&mut self.snapshot_log, &log_entry.to_string());
        match self.refs.get_mut("main").and_then(Value::as_object_mut) {
            // Keeps the branch's retention settings.
            Some(main) => {
                main.insert("snapshot-id".into(), snapshot_id.into());
            }
            None => {
                let main = json!({"snapshot-id": snapshot_id, "type": "branch"});
                self.refs.insert("main".into(), main);
            }
        }
        self.current_snapshot_id = Some(snapshot_id);
        self.last_sequence_number = snapshot.sequence_number;
        Ok(())
    }

    /// Records that this version was stored at `location` before it was changed. Returns the
    /// metadata files that drop out of the log, a quarter of it at once.
    pub(crate) fn push_metadata_log(&mut self, location: &str) -> Vec<String> {
        self.metadata_log.push(MetadataLogEntry {
            timestamp_ms: self.last_updated_ms,
            metadata_file: location.to_owned(),
        });
        let max = self.definition.previous_versions_max;
        let excess = match self.metadata_log.len() > max {
            true => self.metadata_log.len() - (max - max / 4),
            false => 0,
        };
        let dropped = self.metadata_log.drain(..excess);
        dropped.map(|entry| entry.metadata_file).collect()
    }

    /// Removes the snapshots that `retention` lets go. Returns the objects that nothing refers to
    /// any more, their manifest lists and statistics files; none if there is no such snapshot.
    pub(crate) fn expire(
        &mut self,
        retention: &Retention,
        now_ms: i64,
    ) -> Result<Option<Vec<String>>> {
        let refs = self.refs.values();
        let referenced = refs.filter_map(|reference| reference.get("snapshot-id")?.as_i64());
        let referenced = referenced.chain(self.current_snapshot_id).collect();
        let expired = self.snapshots.expired(retention, &referenced, now_ms);
        if expired.is_empty() {
            return Ok(None);
        }
        let (snapshots, mut objects) = self.snapshots.without(&expired)?;
        self.snapshots = snapshots;
        for statistics in &mut self.statistics {
            let (rest, paths) = without_snapshots(statistics, &expired)?;
            *statistics = rest;
            objects.extend(paths);
        }
        self.cut_snapshot_log(&expired)?;
        Ok(Some(objects))
    }

    /// Removes the entries of snapshots that are gone, and all before them: a log with gaps would
    /// tell of states that the table was not in (Iceberg spec, "Table Metadata Fields").
    fn cut_snapshot_log(&mut self, expired: &HashSet<i64>) -> Result<()> {
        let log = format!("[{}]", self.snapshot_log);
        let entries = elements(&log)?;
        let mut first = 0;
        for (place, entry) in entries.iter().enumerate() {
            if expired.contains(&snapshot_id_of(entry)?) {
                first = place + 1;
            }
        }
        self.snapshot_log = entries[first..].join(",");
        Ok(())
    }

    /// The bytes of the file.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let serialised = |value: serde_json::Result<String>| {
            value.context(ErrorKind::Internal, "could not serialise the metadata")
        };
        let growing = self.snapshots.text().len() + self.snapshot_log.len();
        let mut text = String::with_capacity(growing + self.definition.members.len() + 16_384);
        text.push('{');
        text.push_str(&self.definition.members);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            ",\"last-sequence-number\":{}",
            self.last_sequence_number
        );
        let _ = write!(text, ",\"last-updated-ms\":{}", self.last_updated_ms);
        if let Some(current) = self.current_snapshot_id {
            let _ = write!(text, ",\"current-snapshot-id\":{current}");
        }
        let refs = serialised(serde_json::to_string(&self.refs))?;
        let metadata_log = serialised(serde_json::to_string(&self.metadata_log))?;
        let _ = write!(text, ",\"refs\":{refs},\"metadata-log\":{metadata_log}");
        let arrays = [
            ("snapshots", self.snapshots.text()),
            ("snapshot-log", &self.snapshot_log),
        ];
        let statistics = STATISTICS.into_iter().zip(&self.statistics);
        let statistics = statistics.filter(|(_, content)| !content.is_empty());
        for (key, content) in arrays
            .into_iter()
            .chain(statistics.map(|(key, content)| (key, content.as_str())))
        {
            let _ = write!(text, ",\"{key}\":[");
            text.push_str(content);
            text.push(']');
        }
        text.push('}');
        Ok(text.into_bytes())
    }
}

impl Definition {
    fn from_members(known: &Members<'_>, members: String) -> Result<Self> {
        let schema_id: i32 = known.required("current-schema-id")?;
        let schema = known
            .required::<Vec<Schema>>("schemas")?
            .into_iter()
            .find(|schema| schema.schema_id() == schema_id)
            .ok_or_else(|| missing(&format!("the current schema {schema_id}")))?;
        let spec_id: i32 = known.required("default-spec-id")?;
        let partition_specs: Vec<PartitionSpec> = known.required("partition-specs")?;
        let unpartitioned_spec_ids = partition_specs
            .iter()
            .filter(|spec| spec.fields().is_empty())
            .map(PartitionSpec::spec_id)
            .collect();
        let partition_spec = partition_specs
            .into_iter()
            .find(|spec| spec.spec_id() == spec_id)
            .ok_or_else(|| missing(&format!("the default partition spec {spec_id}")))?;
        let properties: HashMap<String, String> = known.optional("properties")?.unwrap_or_default();
        let previous_versions_max = properties
            .get("write.metadata.previous-versions-max")
            .and_then(|text| text.parse().ok())
            .unwrap_or(PREVIOUS_VERSIONS_MAX);
        let location: String = known.required("location")?;
        Ok(Self {
            members,
            location: location.trim_end_matches('/').to_owned(),
            schema_json: serde_json::to_string(&schema)
                .context(ErrorKind::Internal, "could not serialise the schema")?,
            schema: Arc::new(schema),
            partition_spec: Arc::new(partition_spec),
            unpartitioned_spec_ids,
            previous_versions_max,
        })
    }
}

/// The members of the document by key.
struct Members<'a>(HashMap<&'a str, &'a str>);

impl Members<'_> {
    fn optional<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let parse = |text: &&str| {
            serde_json::from_str(text).context(ErrorKind::InvalidMetadata, format!("bad {key}"))
        };
        self.0.get(key).map(parse).transpose()
    }

    fn required<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| missing(key))
    }
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::InvalidMetadata, format!("{what} is missing"))
}

/// The id of the snapshot that an element of an array belongs to.
fn snapshot_id_of(element: &str) -> Result<i64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Owned {
        snapshot_id: i64,
    }
    let owned: Owned =
        serde_json::from_str(element).context(ErrorKind::InvalidMetadata, "no snapshot id")?;
    Ok(owned.snapshot_id)
}

/// The elements of an array of statistics files without those of `expired` snapshots, and the files
/// that the others do not refer to.
fn without_snapshots(content: &str, expired: &HashSet<i64>) -> Result<(String, Vec<String>)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Statistics {
        statistics_path: Option<String>,
    }
    let path = |element: &str| {
        let statistics: Statistics =
            serde_json::from_str(element).context(ErrorKind::InvalidMetadata, "bad statistics")?;
        Ok::<_, Error>(statistics.statistics_path)
    };
    let array = format!("[{content}]");
    let mut rest = String::new();
    let mut kept_paths = HashSet::new();
    let mut gone_paths = Vec::new();
    for element in elements(&array)? {
        if expired.contains(&snapshot_id_of(element)?) {
            gone_paths.extend(path(element)?);
        } else {
            kept_paths.extend(path(element)?);
            push_element(&mut rest, element);
        }
    }
    gone_paths.retain(|path| !kept_paths.contains(path));
    Ok((rest, gone_paths))
}

/// Appends `element` to the text of a comma-separated list.
fn push_element(list: &mut String, element: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(element);
}
