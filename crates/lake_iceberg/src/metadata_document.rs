//! metadata.json, edited in place.
//!
//! The file holds every snapshot of the table, so it grows with each commit. Of the parts that
//! grow, and of those a commit does not touch, only the text is kept: the next version is made by
//! copying it and appending the new entries. Members that are not known here pass unchanged.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use iceberg::spec::{PartitionSpec, PartitionSpecRef, Schema, SchemaRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::json_spans::{array_content, checked_document, elements, members};
use crate::snapshot::Snapshot;
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
    /// The elements of `snapshots`, without the brackets.
    snapshots: String,
    /// The elements of `snapshot-log`, without the brackets.
    snapshot_log: String,
    metadata_log: Vec<MetadataLogEntry>,
}

/// What an append leaves as it is.
#[derive(Debug)]
pub(crate) struct Definition {
    /// All members that are not fields of [`MetadataDocument`], as text without the braces.
    members: String,
    pub(crate) location: String,
    pub(crate) schema: SchemaRef,
    pub(crate) partition_spec: PartitionSpecRef,
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
        let array = |key| known.0.get(key).map_or(Ok(""), |text| array_content(text));
        Ok(Self {
            last_sequence_number: known.required("last-sequence-number")?,
            last_updated_ms: known.required("last-updated-ms")?,
            current_snapshot_id: known
                .optional::<Option<i64>>("current-snapshot-id")?
                .flatten()
                .filter(|id| *id != NO_SNAPSHOT),
            refs: known.optional("refs")?.unwrap_or_default(),
            snapshots: array("snapshots")?.to_owned(),
            snapshot_log: array("snapshot-log")?.to_owned(),
            metadata_log: known.optional("metadata-log")?.unwrap_or_default(),
            definition: Arc::new(Definition::from_members(&known, rest)?),
        })
    }

    /// The current snapshot.
    pub(crate) fn current_snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(current) = self.current_snapshot_id else {
            return Ok(None);
        };
        let snapshots = format!("[{}]", self.snapshots);
        // It is the last one, unless the table was rolled back.
        for text in elements(&snapshots)?.into_iter().rev() {
            let snapshot: Snapshot =
                serde_json::from_str(text).context(ErrorKind::InvalidMetadata, "bad snapshot")?;
            if snapshot.snapshot_id == current {
                return Ok(Some(snapshot));
            }
        }
        let message = format!("the current snapshot {current} is not among the table's snapshots");
        Err(Error::new(ErrorKind::InvalidMetadata, message))
    }

    /// The next version: `snapshot` is added and becomes the current one. `previous_location` is
    /// where this version is stored, none if it never was.
    pub(crate) fn with_snapshot(
        &self,
        snapshot: &Snapshot,
        previous_location: Option<&str>,
    ) -> Result<Self> {
        let Snapshot {
            snapshot_id,
            timestamp_ms,
            ..
        } = *snapshot;
        let mut next = self.clone();
        let text = serde_json::to_string(snapshot)
            .context(ErrorKind::Internal, "could not serialise the snapshot")?;
        push_element(&mut next.snapshots, &text);
        let log_entry = json!({"snapshot-id": snapshot_id, "timestamp-ms": timestamp_ms});
        push_element(&mut next.snapshot_log, &log_entry.to_string());
        if let Some(location) = previous_location {
            next.push_metadata_log(location);
        }
        match next.refs.get_mut("main").and_then(Value::as_object_mut) {
            // Keeps the branch's retention settings.
            Some(main) => {
                main.insert("snapshot-id".into(), snapshot_id.into());
            }
            None => {
                let main = json!({"snapshot-id": snapshot_id, "type": "branch"});
                next.refs.insert("main".into(), main);
            }
        }
        next.current_snapshot_id = Some(snapshot_id);
        next.last_sequence_number = snapshot.sequence_number;
        next.last_updated_ms = timestamp_ms;
        Ok(next)
    }

    fn push_metadata_log(&mut self, location: &str) {
        self.metadata_log.push(MetadataLogEntry {
            timestamp_ms: self.last_updated_ms,
            metadata_file: location.to_owned(),
        });
        let excess = self
            .metadata_log
            .len()
            .saturating_sub(self.definition.previous_versions_max);
        self.metadata_log.drain(..excess);
    }

    /// The bytes of the file.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let serialised = |value: serde_json::Result<String>| {
            value.context(ErrorKind::Internal, "could not serialise the metadata")
        };
        let growing = self.snapshots.len() + self.snapshot_log.len();
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
        for (key, content) in [
            ("snapshots", &self.snapshots),
            ("snapshot-log", &self.snapshot_log),
        ] {
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
        let partition_spec = known
            .required::<Vec<PartitionSpec>>("partition-specs")?
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
            schema: Arc::new(schema),
            partition_spec: Arc::new(partition_spec),
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

/// Appends `element` to the text of a comma-separated list.
fn push_element(list: &mut String, element: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(element);
}
