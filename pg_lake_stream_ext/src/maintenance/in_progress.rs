//! Finds and removes the objects of operations that have ended without anything that refers to them.

use std::collections::{BTreeMap, HashSet};

use crate::catalog::in_progress;
use crate::error::{LakeError, Result};
use crate::pg::spi::{self, Arg, Visibility, columns, number, value};
use crate::pgduck::object;

/// Removes the objects that operations which have ended (see [`in_progress`]) have left behind, and the records of these
/// operations. Returns what was removed.
pub fn flush() -> Result<Vec<String>> {
    let mut ended: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in spi::run(
        "SELECT path, operation_id FROM lake_engine.in_progress_files",
        &[],
        Visibility::Latest,
    )? {
        let [path, operation_id] = columns(row)?;
        let operation_id = number(operation_id)?;
        if in_progress::lock_if_ended(operation_id) {
            ended.entry(value(path)?).or_default().push(operation_id);
        }
    }
    let mut removed = Vec::new();
    for (location, operations) in ended {
        removed.extend(clean(&location, &operations)?);
        for operation_id in operations {
            spi::run(
                "DELETE FROM lake_engine.in_progress_files WHERE path = $1 AND operation_id = $2",
                &[Arg::Text(&location), Arg::Int8(operation_id)],
                Visibility::Latest,
            )?;
        }
    }
    Ok(removed)
}

/// Removes the objects below a location that some operations have written and nothing refers to.
fn clean(location: &str, operations: &[i64]) -> Result<Vec<String>> {
    if is_dropped(location)? {
        // The deletion queue has the whole location.
        return Ok(Vec::new());
    }
    let prefixes: HashSet<String> = operations
        .iter()
        .map(|operation| in_progress::name_prefix(*operation))
        .collect();
    let is_theirs = |name: &str| {
        // <uuid>.parquet, <uuid>-m0.avro, snap-<id>-1-<uuid>.avro, 00001-<uuid>.metadata.json
        prefixes.iter().any(|prefix| name.contains(prefix.as_str()))
    };
    let candidates: Vec<String> = object::list(location)?
        .into_iter()
        .filter(|path| is_theirs(path.strip_prefix(location).unwrap_or(path)))
        .collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let referenced = referenced_names(location)?;
    let garbage: Vec<String> = candidates
        .into_iter()
        .filter(|path| !referenced.contains(name(path)))
        .collect();
    object::remove(&garbage)
}

/// Whether a table that was dropped has lived at a location.
fn is_dropped(location: &str) -> Result<bool> {
    let rows = spi::run(
        "SELECT FROM lake_engine.deletion_queue WHERE path = $1 AND is_prefix",
        &[Arg::Text(location)],
        Visibility::Latest,
    )?;
    Ok(!rows.is_empty())
}

/// The names, unique by their UUIDs, of all objects below a location that the catalogs or a table's metadata refer to.
fn referenced_names(location: &str) -> Result<HashSet<String>> {
    // One statement, so one snapshot: what moves from one catalog to another meanwhile is in one of them.
    let rows = spi::run(
        "SELECT f.path, false FROM lake_table.files f JOIN lake_iceberg.tables_internal t USING (table_name) WHERE t.location = $1 \
         UNION ALL SELECT r.path, false FROM lake_table.removed_files r JOIN lake_iceberg.tables_internal t USING (table_name) \
             WHERE t.location = $1 \
         UNION ALL SELECT path, false FROM lake_engine.deletion_queue \
         UNION ALL SELECT metadata_location, true FROM lake_iceberg.tables_internal \
             WHERE location = $1 AND metadata_location IS NOT NULL",
        &[Arg::Text(location)],
        Visibility::Latest,
    )?;
    let mut names = HashSet::new();
    for row in rows {
        let [path, is_metadata] = columns(row)?;
        let path = value(path)?;
        names.insert(name(&path).to_owned());
        if is_metadata.as_deref() == Some("t") {
            add_metadata_names(&path, &mut names)?;
        }
    }
    Ok(names)
}

/// Adds the names of all metadata that a metadata.json refers to.
fn add_metadata_names(metadata_location: &str, names: &mut HashSet<String>) -> Result<()> {
    let metadata = object::read(metadata_location)?;
    let document: serde_json::Value = serde_json::from_slice(&metadata)
        .map_err(|e| LakeError::internal(format!("{metadata_location}: {e}")))?;
    let log = document["metadata-log"].as_array();
    names.extend(
        log.into_iter()
            .flatten()
            .filter_map(|entry| entry["metadata-file"].as_str())
            .map(|path| name(path).to_owned()),
    );
    let lists: Vec<String> = lake_iceberg::list_snapshots(&metadata)?
        .into_iter()
        .map(|snapshot| snapshot.manifest_list)
        .collect();
    names.extend(lists.iter().map(|list| name(list).to_owned()));
    for list in object::read_all(&lists)?.values() {
        for manifest in lake_iceberg::list_manifests(list)? {
            names.insert(name(&manifest.manifest_path).to_owned());
        }
    }
    Ok(())
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
