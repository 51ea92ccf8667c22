//! What a commit costs as a table's history grows: `cargo run --release --example commit_cost`.
//!
//! Every commit is one of a stream of changes: it adds a data file, and replaces the delete file of
//! an earlier data file by a larger one. The table keeps 100 snapshots, and merges manifests when
//! there are 100.
//!
//! Prints, at each of the given numbers of commits (10, 500 and 5000 if there are none), over the
//! commits since the number before: the mean, the middle and the longest time of a commit in
//! microseconds, and how many manifests had to be fetched; then of the last commit the bytes it
//! made and the number of manifests and snapshots; and the time that a process which did not write
//! the version needs to load it and then to commit.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lake_iceberg::{
    Changes, Column, ColumnStats, Commit, DataFile, DeleteFile, ExpireWhen, FileContent, LakeType,
    Policy, RemovedFile, Result, Retention, TableSchema, TableState, create_table, list_manifests,
    list_snapshots, prepare,
};

const LOCATION: &str = "s3://warehouse/prefix/database/public/table/123456";

/// Data files that have a delete file.
const DELETE_FILES: usize = 500;

const POLICY: Policy = Policy {
    manifest_min_count_to_merge: 100,
    target_manifest_bytes: 8 * 1024 * 1024,
    retention: Retention {
        max_snapshot_age_ms: i64::MAX,
        max_snapshots: 100,
        when: ExpireWhen::Excess,
    },
};

/// The table's objects that may have to be fetched again.
type Store = HashMap<String, Vec<u8>>;

fn main() -> Result<()> {
    let mut stops: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    if stops.is_empty() {
        stops = vec![10, 500, 5000];
    }
    let columns = (1..=10).map(|field_id| Column {
        field_id,
        name: format!("column_{field_id}"),
        ty: LakeType::Long,
        required: false,
    });
    let schema = TableSchema {
        columns: columns.collect(),
    };
    let mut state = create_table(LOCATION, &schema, Changes::default(), 0)?.state;
    let mut store = Store::new();
    let mut times = Vec::new();
    let mut fetched = 0;
    println!(
        "commits  mean  middle  longest  fetched  manifest_B  list_B  metadata_B  manifests  snapshots  load_us  first_us"
    );
    for number in 0..stops.iter().copied().max().unwrap_or(0) {
        let (commit, elapsed, loaded) = timed_commit(&state, number, &store)?;
        times.push(elapsed);
        fetched += loaded;
        for object in &commit.objects {
            store.insert(object.path.clone(), object.bytes.clone());
        }
        for path in &commit.expired_objects {
            store.remove(path);
        }
        state = commit.state.clone();
        if stops.contains(&(number + 1)) {
            report(number + 1, &mut times, fetched, &commit, &store)?;
            times.clear();
            fetched = 0;
        }
    }
    Ok(())
}

fn timed_commit(
    base: &TableState,
    number: usize,
    store: &Store,
) -> Result<(Commit, Duration, usize)> {
    let changes = changes(number);
    let started = Instant::now();
    let prepared = prepare(base, changes, &POLICY)?;
    let elapsed = started.elapsed();
    let fetch = |path: String| Some((path.clone(), store.get(&path)?.clone()));
    let loaded: HashMap<_, _> = prepared
        .manifests_to_load()
        .into_iter()
        .filter_map(fetch)
        .collect();
    let count = loaded.len();
    let started = Instant::now();
    let commit = prepared.finish(loaded, number as i64)?;
    Ok((commit, elapsed + started.elapsed(), count))
}

fn report(
    commits: usize,
    times: &mut [Duration],
    fetched: usize,
    commit: &Commit,
    store: &Store,
) -> Result<()> {
    times.sort_unstable();
    let sum: Duration = times.iter().sum();
    let longest = times.last().copied().unwrap_or_default();
    let [manifests @ .., list, metadata] = &commit.objects[..] else {
        return Ok(());
    };
    let started = Instant::now();
    let loaded = TableState::from_metadata(&metadata.path, &metadata.bytes)?
        .with_manifest_list(list.bytes.clone())?;
    let load = started.elapsed();
    let (_, first, _) = timed_commit(&loaded, commits, store)?;
    println!(
        "{commits:7}  {:4}  {:6}  {:7}  {fetched:7}  {:10}  {:6}  {:10}  {:9}  {:9}  {:7}  {:8}",
        sum.as_micros() / times.len() as u128,
        times[times.len() / 2].as_micros(),
        longest.as_micros(),
        manifests
            .iter()
            .map(|manifest| manifest.bytes.len())
            .sum::<usize>(),
        list.bytes.len(),
        metadata.bytes.len(),
        list_manifests(&list.bytes)?.len(),
        list_snapshots(&metadata.bytes)?.len(),
        load.as_micros(),
        first.as_micros(),
    );
    Ok(())
}

/// What commit `number` does; the commits before have the lower numbers.
fn changes(number: usize) -> Changes {
    let removed = number
        .checked_sub(DELETE_FILES)
        .map(|previous| RemovedFile {
            path: delete_file(previous).path,
            content: FileContent::PositionDeletes,
            sequence_number: previous as i64 + 1,
            record_count: 1,
            file_size: 1000,
        });
    Changes {
        added_data: vec![data_file(number)],
        added_deletes: vec![delete_file(number)],
        removed: removed.into_iter().collect(),
        is_rewrite: false,
    }
}

fn delete_file(number: usize) -> DeleteFile {
    let path = |number, kind| {
        format!(
            "{LOCATION}/data/{:02x}/{number:032x}{kind}.parquet",
            number % 256
        )
    };
    DeleteFile {
        path: path(number, "-deletes"),
        record_count: 1,
        file_size: 1000,
        data_file: path(number % DELETE_FILES, ""),
    }
}

fn data_file(number: usize) -> DataFile {
    let columns = (1..=10).map(|field_id| ColumnStats {
        field_id,
        value_count: Some(1),
        null_count: Some(0),
        column_size: Some(40),
        lower: Some(number.to_string()),
        upper: Some(number.to_string()),
        has_nan: None,
    });
    DataFile {
        path: format!("{LOCATION}/data/{:02x}/{number:032x}.parquet", number % 256),
        record_count: 1,
        file_size: 1000,
        columns: columns.collect(),
    }
}
