//! What an append costs as a table's history grows: `cargo run --release --example append_cost`.
//!
//! Prints, at each of the given numbers of commits (500 and 5000 if there are none), the mean time
//! of an append of one file over the last 20 commits, the bytes it makes, and the time a process
//! that did not write the version needs to load it.

use std::time::{Duration, Instant};

use lake_iceberg::{
    Column, ColumnStats, DataFile, LakeType, Result, TableSchema, TableState, append, create_table,
};

const AVERAGED: usize = 20;

fn main() -> Result<()> {
    let mut stops: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    if stops.is_empty() {
        stops = vec![AVERAGED, 500, 5000];
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
    let location = "s3://warehouse/prefix/database/public/table/123456";
    let mut state = create_table(location, &schema, &[], 0)?.state;
    let mut recent = Duration::ZERO;
    println!("commits  append_us  manifest_B     list_B  metadata_B  load_us");
    for commit_number in 1..=stops.iter().copied().max().unwrap_or(0) {
        let file = data_file(location, commit_number);
        let started = Instant::now();
        let commit = append(&state, &[file], 0)?;
        let elapsed = started.elapsed();
        state = commit.state;
        if stops
            .iter()
            .any(|stop| (stop - AVERAGED..*stop).contains(&(commit_number - 1)))
        {
            recent += elapsed;
        }
        if stops.contains(&commit_number) {
            let [manifest, list, metadata] = &commit.objects[..] else {
                continue;
            };
            let started = Instant::now();
            TableState::from_metadata(&metadata.path, &metadata.bytes)?
                .with_manifest_list(list.bytes.clone())?;
            println!(
                "{commit_number:7}  {:9}  {:10}  {:9}  {:10}  {:7}",
                recent.as_micros() / AVERAGED as u128,
                manifest.bytes.len(),
                list.bytes.len(),
                metadata.bytes.len(),
                started.elapsed().as_micros(),
            );
            recent = Duration::ZERO;
        }
    }
    Ok(())
}

fn data_file(location: &str, number: usize) -> DataFile {
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
        path: format!("{location}/data/{:02x}/{number:032x}.parquet", number % 256),
        record_count: 1,
        file_size: 1000,
        columns: columns.collect(),
    }
}
