//! A commit in two steps: what can be told before the manifests that it needs are loaded, and the rest.

use std::collections::{HashMap, HashSet};

use crate::added_manifest::write_added;
use crate::changes::{Changes, FileContent};
use crate::commit::{Commit, Object, Stamp, next_metadata_location};
use crate::content_plan::{ContentPlan, NewSnapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest_list::{ListHeader, ManifestList};
use crate::policy::Policy;
use crate::snapshot::{Snapshot, new_snapshot_id};
use crate::summary::ChangeCounters;
use crate::table_state::TableState;

/// A commit that may still need to read manifests:
///
/// ```text
/// let prepared = prepare(&base, changes, &policy)?;
/// let loaded = fetch_all(prepared.manifests_to_load());
/// let commit = prepared.finish(loaded, stamp)?;
/// ```
#[derive(Debug)]
pub struct PreparedCommit {
    base: TableState,
    /// False if the table is created by this commit.
    base_is_stored: bool,
    manifest_list: ManifestList,
    policy: Policy,
    snapshot_id: i64,
    counters: ChangeCounters,
    plans: [ContentPlan; 2],
}

impl PreparedCommit {
    /// See [`crate::prepare`].
    pub(crate) fn new(base: &TableState, changes: Changes, policy: &Policy) -> Result<Self> {
        if changes.is_empty() {
            let message = "there is nothing to commit";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let definition = &base.document().definition;
        let spec_id = definition.partition_spec.spec_id();
        let manifest_list = base.manifest_list()?;
        let snapshot_id = new_snapshot_id();
        let data_files = changes.added_data.iter();
        let data_files = data_files.map(|file| file.to_iceberg(&definition.schema, spec_id));
        let delete_files = changes.added_deletes.iter();
        let delete_files = delete_files.map(|file| file.to_iceberg(spec_id));
        let added = [
            (FileContent::Data, data_files.collect::<Result<_>>()),
            (
                FileContent::PositionDeletes,
                delete_files.collect::<Result<_>>(),
            ),
        ];
        let [data, deletes] = added.map(|(content, files)| {
            let files: Vec<_> = files?;
            let fresh = write_added(content.manifest_content(), snapshot_id, definition, &files)?;
            let removed = changes
                .removed
                .iter()
                .filter(|file| file.content == content);
            ContentPlan::new(
                content,
                &manifest_list,
                definition,
                fresh,
                removed.collect(),
                policy,
            )
        });
        Ok(Self {
            base: base.clone(),
            base_is_stored: true,
            policy: *policy,
            snapshot_id,
            counters: ChangeCounters::of(&changes),
            plans: [data?, deletes?],
            manifest_list,
        })
    }

    /// The first commit of a table that is not stored yet; it becomes the table's first version.
    pub(crate) fn of_new_table(empty: &TableState, changes: Changes) -> Result<Self> {
        Ok(Self {
            base_is_stored: false,
            ..Self::new(empty, changes, &Policy::KEEP_EVERYTHING)?
        })
    }

    /// Locations of the manifests whose bytes the commit needs and does not have, for the caller to
    /// read all at once.
    pub fn manifests_to_load(&self) -> Vec<String> {
        let plans = self.plans.iter();
        plans
            .flat_map(|plan| plan.to_load(&self.manifest_list))
            .collect()
    }

    /// The commit. `loaded` has the bytes of [`PreparedCommit::manifests_to_load`] by location.
    ///
    /// Fails with [`ErrorKind::InvalidInput`] if a manifest is not there or a removed file is not in
    /// the current snapshot, [`ErrorKind::InvalidMetadata`] if a manifest is damaged, and
    /// [`ErrorKind::Unsupported`] if it is encrypted.
    pub fn finish(
        self,
        loaded: HashMap<String, Vec<u8>>,
        stamp: impl Into<Stamp>,
    ) -> Result<Commit> {
        let Stamp { object_id, now_ms } = stamp.into();
        let mut document = self.base.document().clone();
        let parent = self.base.current_snapshot();
        let directory = format!("{}/metadata", document.definition.location);
        let header = ListHeader {
            snapshot_id: self.snapshot_id,
            parent_snapshot_id: parent.map(|parent| parent.snapshot_id),
            sequence_number: document.last_sequence_number + 1,
        };
        let new = NewSnapshot {
            snapshot_id: self.snapshot_id,
            sequence_number: header.sequence_number,
            path_prefix: format!("{directory}/{object_id}"),
            definition: &self.base.document().definition,
        };
        let mut written = Vec::new();
        let mut replaced = HashSet::new();
        for plan in &self.plans {
            plan.write(
                &self.manifest_list,
                &loaded,
                &new,
                &mut written,
                &mut replaced,
            )?;
        }
        let mut objects: Vec<Object> = written
            .iter()
            .map(|(file, bytes)| Object {
                path: file.manifest_path.clone(),
                bytes: bytes.clone(),
            })
            .collect();

        let mut replaced_manifests = Vec::new();
        let mut kept = Vec::new();
        for (place, manifest) in self.manifest_list.manifests.iter().enumerate() {
            let path = &manifest.file.manifest_path;
            if replaced.contains(&place) {
                replaced_manifests.push(path.clone());
            } else {
                kept.push(match loaded.get(path) {
                    Some(bytes) => manifest.clone().with_bytes(bytes),
                    None => manifest.clone(),
                });
            }
        }
        let list_path = format!("{directory}/snap-{}-1-{object_id}.avro", self.snapshot_id);
        let (manifest_list, list_bytes) = ManifestList::write(&list_path, &header, kept, written)?;
        objects.push(Object {
            path: list_path.clone(),
            bytes: list_bytes,
        });

        let snapshot = Snapshot {
            snapshot_id: self.snapshot_id,
            parent_snapshot_id: header.parent_snapshot_id,
            sequence_number: header.sequence_number,
            // Clocks of two servers differ; time in the table's log does not run backwards.
            timestamp_ms: now_ms.max(document.last_updated_ms),
            manifest_list: list_path,
            summary: self.counters.summary(parent.map(|parent| &parent.summary)),
            schema_id: Some(document.definition.schema.schema_id()),
        };
        let mut expired_objects = Vec::new();
        let metadata_location = match self.base_is_stored {
            true => {
                expired_objects.extend(document.push_metadata_log(self.base.metadata_location()));
                next_metadata_location(&self.base, object_id)
            }
            false => self.base.metadata_location().to_owned(),
        };
        document.push_snapshot(&snapshot)?;
        document.last_updated_ms = snapshot.timestamp_ms;
        let expired = document.expire(&self.policy.retention, snapshot.timestamp_ms)?;
        expired_objects.extend(expired.unwrap_or_default());
        let state = TableState::new(
            &metadata_location,
            document,
            Some(snapshot),
            Some(manifest_list),
        );
        objects.push(state.metadata_object()?);
        Ok(Commit {
            objects,
            state,
            replaced_manifests,
            expired_objects,
        })
    }
}
