//! What a commit does to the manifests of one content: data files and delete files never share one.
//!
//! Which manifests must be read is known before any of them is at hand; which of them change only
//! afterwards. So there is a plan first, and then the manifests.

use std::collections::{BTreeSet, HashMap, HashSet};

use iceberg::spec::ManifestFile;

use crate::changes::{FileContent, RemovedFile};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Entry, Inherited, Manifest, in_own_form};
use crate::manifest_builder::ManifestBuilder;
use crate::manifest_list::{ListedManifest, MAX_KEPT_BYTES, ManifestList};
use crate::metadata_document::Definition;
use crate::policy::Policy;

/// A commit merges manifests of at most so many times the target size: if there are more, the next
/// ones go on.
const MERGED_TARGETS: u64 = 4;

/// A plan; places are those of manifests in the parent's list.
#[derive(Debug)]
pub(crate) struct ContentPlan {
    content: FileContent,
    /// The manifest of the files that the commit adds.
    fresh: Option<Vec<u8>>,
    /// Paths of the files that the commit removes.
    removed: HashSet<String>,
    policy: Policy,
    /// Smaller manifests are small, and as large are merged ones, in bytes.
    full_size: u64,
    /// Manifests of nothing but deleted files: they have told of them, and are no longer needed.
    dropped: Vec<usize>,
    /// Manifests to read, because they are merged or may list a removed file.
    opened: BTreeSet<usize>,
    /// Manifests to merge, if only with the added files.
    merged: HashSet<usize>,
}

/// What the manifests of a commit have in common.
pub(crate) struct NewSnapshot<'a> {
    pub(crate) snapshot_id: i64,
    pub(crate) sequence_number: i64,
    /// The manifests' locations without `-m0.avro`.
    pub(crate) path_prefix: String,
    pub(crate) definition: &'a Definition,
}

/// Manifests that become one, or several if they are too large for one.
struct Group<'a> {
    inputs: Vec<(&'a ManifestFile, &'a Manifest<'a>)>,
    partition_spec_id: i32,
    /// Whether they are small, so that others may join.
    is_small: bool,
    takes_fresh: bool,
}

impl ContentPlan {
    /// Plans for files of one content.
    pub(crate) fn new(
        content: FileContent,
        parent: &ManifestList,
        definition: &Definition,
        fresh: Option<Vec<u8>>,
        removed: Vec<&RemovedFile>,
        policy: &Policy,
    ) -> Result<Self> {
        let mut plan = Self {
            content,
            fresh,
            removed: HashSet::new(),
            policy: *policy,
            full_size: full_size(content, definition, policy),
            dropped: Vec::new(),
            opened: BTreeSet::new(),
            merged: HashSet::new(),
        };
        for file in &removed {
            if !plan.removed.insert(file.path.clone()) {
                return Err(plan.not_removable(&file.path, "is removed twice"));
            }
        }
        let manifest_content = content.manifest_content();
        let (live, dropped) = (0..parent.manifests.len())
            .filter(|place| parent.manifests[*place].file.content == manifest_content)
            .partition::<Vec<_>, _>(|place| {
                let file = &parent.manifests[*place].file;
                file.has_added_files() || file.has_existing_files()
            });
        plan.dropped = dropped;
        plan.opened = plan.may_list(removed, parent, &live)?;
        plan.merged = plan.choose_merged(parent, definition, &live);
        plan.opened.extend(&plan.merged);
        Ok(plan)
    }

    /// The manifests to read in order to find the files in `removed`. The later ones are tried
    /// first: what was added last is often the first to go.
    fn may_list(
        &self,
        removed: Vec<&RemovedFile>,
        parent: &ManifestList,
        live: &[usize],
    ) -> Result<BTreeSet<usize>> {
        let may_list = |listed: &ListedManifest, file: &&RemovedFile| {
            let range = listed.file.min_sequence_number..=listed.file.sequence_number;
            range.contains(&file.sequence_number)
        };
        let mut unfound: HashMap<&str, &RemovedFile> = removed
            .iter()
            .map(|file| (file.path.as_str(), *file))
            .collect();
        let mut opened = BTreeSet::new();
        for place in live.iter().rev() {
            let listed = &parent.manifests[*place];
            let Some(bytes) = listed.bytes() else {
                continue;
            };
            if !unfound.values().any(|file| may_list(listed, file)) {
                continue;
            }
            let own_form = in_own_form(bytes, &listed.file)?;
            let manifest = Manifest::parse(&own_form, (&listed.file).into())?;
            for entry in manifest.entries.iter().filter(|entry| self.removes(entry)) {
                unfound.remove(entry.path);
                opened.insert(*place);
            }
        }
        let unread = live
            .iter()
            .filter(|place| parent.manifests[**place].bytes().is_none());
        opened.extend(unread.filter(|place| {
            let listed = &parent.manifests[**place];
            unfound.values().any(|file| may_list(listed, file))
        }));
        Ok(opened)
    }

    /// See [`Policy::manifest_min_count_to_merge`].
    fn choose_merged(
        &self,
        parent: &ManifestList,
        definition: &Definition,
        live: &[usize],
    ) -> HashSet<usize> {
        let mut merged = HashSet::new();
        if !self.may_merge() {
            return merged;
        }
        let mut small: HashMap<i32, Vec<(u64, usize)>> = HashMap::new();
        for place in live {
            let file = &parent.manifests[*place].file;
            if self.is_small(file, definition) {
                let size = file.manifest_length as u64;
                let of_spec = small.entry(file.partition_spec_id).or_default();
                of_spec.push((size, *place));
            }
        }
        for (spec_id, mut manifests) in small {
            let fresh = self.small_fresh();
            let fresh = fresh.filter(|_| spec_id == definition.partition_spec.spec_id());
            // With a removal, the added files go into a manifest that is rewritten anyway.
            let is_additional = fresh.is_some() && self.removed.is_empty();
            let count = manifests.len() + usize::from(is_additional);
            if count < self.policy.manifest_min_count_to_merge {
                continue;
            }
            manifests.sort_unstable();
            let fresh_size = fresh.map_or(0, |fresh| fresh.len() as u64);
            let mut rest = fresh_size + manifests.iter().map(|(size, _)| size).sum::<u64>();
            while let Some((largest, _)) = manifests.last() {
                rest -= largest;
                if *largest <= rest.saturating_mul(2) {
                    break;
                }
                manifests.pop();
            }
            let target = self.policy.target_manifest_bytes;
            let limit = target.saturating_mul(MERGED_TARGETS);
            let mut size = 0;
            merged.extend(manifests.iter().map_while(|(next, place)| {
                size += next;
                (size <= limit).then_some(*place)
            }));
        }
        merged
    }

    /// The manifest of the added files, if other files may be added to it.
    fn small_fresh(&self) -> Option<&[u8]> {
        let fresh = self.fresh.as_deref()?;
        ((fresh.len() as u64) < self.full_size).then_some(fresh)
    }

    fn may_merge(&self) -> bool {
        self.policy.manifest_min_count_to_merge > 1
    }

    fn is_small(&self, file: &ManifestFile, definition: &Definition) -> bool {
        (file.manifest_length as u64) < self.full_size && self.is_combinable(file, definition)
    }

    /// Whether entries of other manifests can be added to one.
    fn is_combinable(&self, file: &ManifestFile, definition: &Definition) -> bool {
        file.key_metadata.is_none()
            && definition
                .unpartitioned_spec_ids
                .contains(&file.partition_spec_id)
    }

    fn removes(&self, entry: &Entry<'_>) -> bool {
        entry.content == self.content.code() && self.removed.contains(entry.path)
    }

    fn not_removable(&self, path: &str, why: &str) -> Error {
        let kind = match self.content {
            FileContent::Data => "data",
            FileContent::PositionDeletes => "delete",
        };
        Error::new(ErrorKind::InvalidInput, format!("{kind} file {path} {why}"))
    }

    /// Locations of the manifests that [`ContentPlan::write`] needs to be given.
    pub(crate) fn to_load(&self, parent: &ManifestList) -> impl Iterator<Item = String> {
        self.opened
            .iter()
            .map(|place| &parent.manifests[*place])
            .filter(|listed| listed.bytes().is_none())
            .map(|listed| listed.file.manifest_path.clone())
    }

    /// Adds the new manifests to `written`, and the places of those that they replace to `replaced`.
    pub(crate) fn write(
        &self,
        parent: &ManifestList,
        loaded: &HashMap<String, Vec<u8>>,
        new: &NewSnapshot<'_>,
        written: &mut Vec<(ManifestFile, Vec<u8>)>,
        replaced: &mut HashSet<usize>,
    ) -> Result<()> {
        replaced.extend(&self.dropped);
        let mut own_forms = Vec::new();
        for place in &self.opened {
            let listed = &parent.manifests[*place];
            let path = &listed.file.manifest_path;
            let loaded = || loaded.get(path).map(Vec::as_slice);
            let bytes = listed
                .bytes()
                .map(|bytes| &**bytes)
                .or_else(loaded)
                .ok_or_else(|| {
                    let message = format!("manifest {path} was not loaded");
                    Error::new(ErrorKind::InvalidInput, message)
                })?;
            own_forms.push((*place, &listed.file, in_own_form(bytes, &listed.file)?));
        }
        let mut unfound: HashSet<&str> = self.removed.iter().map(String::as_str).collect();
        let mut rewritten = Vec::new();
        for (place, file, own_form) in &own_forms {
            let manifest = Manifest::parse(own_form, (*file).into())?;
            let mut is_rewritten = self.merged.contains(place);
            for entry in manifest.entries.iter().filter(|entry| self.removes(entry)) {
                unfound.remove(entry.path);
                is_rewritten = true;
            }
            if is_rewritten {
                rewritten.push((*file, manifest));
                replaced.insert(*place);
            }
        }
        if let Some(path) = unfound.iter().min() {
            return Err(self.not_removable(path, "is not in the table's current snapshot"));
        }
        let inherited = Inherited {
            manifest_path: &new.path_prefix,
            snapshot_id: new.snapshot_id,
            sequence_number: new.sequence_number,
        };
        let fresh = self
            .fresh
            .as_deref()
            .map(|bytes| Manifest::parse(bytes, inherited));
        let fresh = fresh.transpose()?;
        for group in self.group(&rewritten, new.definition) {
            self.write_group(&group, fresh.as_ref(), new, written);
        }
        Ok(())
    }

    fn group<'a>(
        &self,
        rewritten: &'a [(&'a ManifestFile, Manifest<'a>)],
        definition: &Definition,
    ) -> Vec<Group<'a>> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        for (file, manifest) in rewritten {
            let partition_spec_id = file.partition_spec_id;
            let is_small = self.is_small(file, definition);
            let joins = |group: &&mut Group<'_>| {
                group.is_small && group.partition_spec_id == partition_spec_id
            };
            let mut joined = groups.iter_mut().filter(|_| is_small && self.may_merge());
            match joined.find(joins) {
                Some(group) => group.inputs.push((file, manifest)),
                None => groups.push(Group {
                    inputs: vec![(file, manifest)],
                    partition_spec_id,
                    is_small,
                    takes_fresh: false,
                }),
            }
        }
        if self.fresh.is_some() {
            let takers = groups
                .iter_mut()
                .filter(|group| self.may_take_fresh(group, definition));
            match takers.min_by_key(|group| group.size()) {
                Some(group) => group.takes_fresh = true,
                None => groups.push(Group {
                    inputs: Vec::new(),
                    partition_spec_id: definition.partition_spec.spec_id(),
                    is_small: true,
                    takes_fresh: true,
                }),
            }
        }
        groups
    }

    /// Whether the added files may go into manifests that are rewritten anyway.
    fn may_take_fresh(&self, group: &Group<'_>, definition: &Definition) -> bool {
        let fits = |(file, _): &(&ManifestFile, _)| {
            self.is_combinable(file, definition)
                && (file.manifest_length as u64) < self.policy.target_manifest_bytes
        };
        self.small_fresh().is_some()
            && group.partition_spec_id == definition.partition_spec.spec_id()
            && group.inputs.iter().all(fits)
    }

    fn write_group(
        &self,
        group: &Group<'_>,
        fresh: Option<&Manifest<'_>>,
        new: &NewSnapshot<'_>,
        written: &mut Vec<(ManifestFile, Vec<u8>)>,
    ) {
        let fresh = fresh.filter(|_| group.takes_fresh);
        // The newest one's header has the newest schema.
        let last = group.inputs.last().map(|(_, manifest)| *manifest);
        let Some(like) = fresh.or(last) else {
            return;
        };
        let partitions = match &group.inputs[..] {
            // Still true of the files that stay.
            [(file, _)] => file.partitions.clone(),
            _ => Some(Vec::new()),
        };
        let mut flush = |builder: &mut ManifestBuilder| {
            let full = std::mem::replace(builder, new.builder());
            let path = format!("{}-m{}.avro", new.path_prefix, written.len());
            let spec_id = group.partition_spec_id;
            let content = self.content.manifest_content();
            written.push(full.build(path, &like.container, content, spec_id, partitions.clone()));
        };
        let is_full = |builder: &ManifestBuilder| {
            let records = builder.size() as u64;
            let size = like.container.header_length() as u64 + records;
            // However large the header is, there are entries as well.
            size >= self.full_size && records >= self.full_size / 2 && !builder.is_empty()
        };
        let is_combined = group.inputs.len() + usize::from(fresh.is_some()) > 1;
        let mut builder = new.builder();
        for entry in group
            .inputs
            .iter()
            .flat_map(|(_, manifest)| &manifest.entries)
        {
            if is_combined && is_full(&builder) {
                flush(&mut builder);
            }
            match self.removes(entry) {
                true => builder.delete(entry),
                false => builder.keep(entry),
            }
        }
        if let Some(fresh) = fresh {
            builder.add_all(fresh);
        }
        if !builder.is_empty() {
            flush(&mut builder);
        }
    }
}

impl Group<'_> {
    /// The size of the inputs in bytes.
    fn size(&self) -> i64 {
        self.inputs
            .iter()
            .map(|(file, _)| file.manifest_length)
            .sum()
    }
}

/// From which size on a manifest is not merged any more. Entries of delete files are replaced over and
/// over, and a manifest is read and written again for each: so their manifests stay as small as those
/// that are kept in memory, unless the table's schema, which each of them repeats, leaves no room.
fn full_size(content: FileContent, definition: &Definition, policy: &Policy) -> u64 {
    let target = policy.target_manifest_bytes;
    match content {
        FileContent::Data => target,
        FileContent::PositionDeletes => {
            // Less, since a manifest is full when it has at least this size.
            let kept = MAX_KEPT_BYTES - MAX_KEPT_BYTES / 8;
            let with_schema = definition.schema_json.len() + MAX_KEPT_BYTES / 2;
            target.min(kept.max(with_schema) as u64)
        }
    }
}

impl NewSnapshot<'_> {
    fn builder(&self) -> ManifestBuilder {
        ManifestBuilder::new(self.snapshot_id, self.sequence_number)
    }
}
