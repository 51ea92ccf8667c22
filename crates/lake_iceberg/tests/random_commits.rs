//! Several hundred commits at random, compared with a model of the table; what is told to be
//! unreachable is deleted at once, and nothing else is left over.

// The helpers of the tests may fail loudly, too.
#![allow(clippy::unwrap_used)]

mod stored_table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use lake_iceberg::{
    Changes, Commit, ExpireWhen, FileContent, Policy, RemovedFile, Retention, expire,
};
use stored_table::{
    LiveFile, StoredTable, data_file, delete_file, live_files, manifests, read_metadata,
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    fn policy(&mut self) -> Policy {
        Policy {
            manifest_min_count_to_merge: self.below(7) as usize,
            target_manifest_bytes: [1, 7_000, 9_000, 1_000_000][self.below(4) as usize],
            retention: Retention {
                max_snapshot_age_ms: [0, 5_000, i64::MAX, i64::MAX][self.below(4) as usize],
                max_snapshots: 1 + self.below(12) as usize,
                when: match self.one_in(3) {
                    true => ExpireWhen::Always,
                    false => ExpireWhen::Excess,
                },
            },
        }
    }
}

/// What the table should be.
#[derive(Default)]
struct Model {
    /// Live files by path.
    live: BTreeMap<String, LiveFile>,
    /// The delete file of a data file.
    deletes: BTreeMap<String, String>,
    /// The live files at a sequence number.
    history: BTreeMap<i64, BTreeMap<String, LiveFile>>,
    next_number: i64,
}

impl Model {
    fn number(&mut self) -> i64 {
        self.next_number += 1;
        self.next_number
    }

    fn data_files(&self) -> Vec<String> {
        let data = self
            .live
            .iter()
            .filter(|(_, file)| file.content == FileContent::Data);
        data.map(|(path, _)| path.clone()).collect()
    }

    fn removal(&self, path: &str) -> RemovedFile {
        self.live[path].removed(path)
    }

    /// Removes a data file and its deletes.
    fn remove_data(&mut self, path: &str, changes: &mut Changes) {
        changes.removed.push(self.removal(path));
        if let Some(deletes) = self.deletes.remove(path) {
            changes.removed.push(self.removal(&deletes));
        }
    }

    fn random_changes(&mut self, random: &mut Random) -> Changes {
        let mut changes = Changes::default();
        let mut data_files = self.data_files();
        let mut pick = |random: &mut Random| match data_files.len() as u64 {
            0 => None,
            count => Some(data_files.swap_remove(random.below(count) as usize)),
        };
        if random.one_in(50) {
            while let Some(path) = pick(random) {
                self.remove_data(&path, &mut changes);
            }
        } else if random.one_in(8) {
            for _ in 0..2 + random.below(15) {
                if let Some(path) = pick(random) {
                    self.remove_data(&path, &mut changes);
                }
            }
            changes.is_rewrite = true;
        } else {
            for _ in 0..random.below(3) {
                let Some(path) = pick(random) else { break };
                let mut added = delete_file(self.number());
                added.data_file = path.clone();
                if let Some(previous) = self.deletes.insert(path, added.path.clone()) {
                    changes.removed.push(self.removal(&previous));
                }
                changes.added_deletes.push(added);
            }
            if random.one_in(5)
                && let Some(path) = pick(random)
            {
                self.remove_data(&path, &mut changes);
            }
        }
        let added = match random.one_in(30) {
            true => 20 + random.below(40),
            false => random.below(3),
        };
        for _ in 0..added {
            changes.added_data.push(data_file(self.number()));
        }
        if changes.is_empty() {
            changes.added_data.push(data_file(self.number()));
        }
        changes
    }

    fn apply(&mut self, changes: &Changes, sequence_number: i64) {
        for file in &changes.removed {
            self.live.remove(&file.path).unwrap();
        }
        let added_data = changes.added_data.iter().map(|file| {
            let counts = (file.record_count, file.file_size);
            (&file.path, FileContent::Data, counts)
        });
        let added_deletes = changes.added_deletes.iter().map(|file| {
            let counts = (file.record_count, file.file_size);
            (&file.path, FileContent::PositionDeletes, counts)
        });
        for (path, content, (record_count, file_size)) in added_data.chain(added_deletes) {
            let file = LiveFile {
                content,
                sequence_number,
                record_count,
                file_size,
            };
            assert_eq!(self.live.insert(path.clone(), file), None);
        }
        self.history.insert(sequence_number, self.live.clone());
    }

    fn total(&self, content: FileContent, of: impl Fn(&LiveFile) -> u64) -> String {
        let files = self.live.values().filter(|file| file.content == content);
        files.map(of).sum::<u64>().to_string()
    }
}

/// The metadata objects that were stored and may go when a snapshot is as old as this.
#[derive(Default)]
struct Garbage {
    stored: BTreeSet<String>,
    replaced: Vec<(String, i64)>,
}

impl Garbage {
    /// Deletes what the commit says that nothing refers to any more.
    fn collect(&mut self, commit: Commit) {
        let state = commit.state;
        self.stored
            .extend(commit.objects.into_iter().map(|object| object.path));
        let replaced = commit.replaced_manifests.into_iter();
        self.replaced
            .extend(replaced.map(|path| (path, state.sequence_number())));
        let mut unreachable = commit.expired_objects;
        self.replaced.retain(|(path, sequence_number)| {
            let is_reachable = *sequence_number > state.oldest_sequence_number();
            if !is_reachable {
                unreachable.push(path.clone());
            }
            is_reachable
        });
        for path in unreachable {
            fs::remove_file(&path).unwrap();
            assert!(self.stored.remove(&path), "{path}");
        }
    }
}

/// All snapshots are as they were, and nothing that they do not refer to is left.
fn check_all_snapshots(table: &StoredTable, model: &Model, garbage: &Garbage) {
    let metadata = table.metadata();
    let mut reachable = BTreeSet::from([table.state.metadata_location().to_owned()]);
    let log = metadata.metadata_log().iter();
    reachable.extend(log.map(|entry| entry.metadata_file.clone()));
    for snapshot in metadata.snapshots() {
        assert_eq!(
            live_files(snapshot),
            model.history[&snapshot.sequence_number()]
        );
        reachable.insert(snapshot.manifest_list().to_owned());
        reachable.extend(
            manifests(snapshot)
                .into_iter()
                .map(|manifest| manifest.manifest_path),
        );
    }
    for log_entry in metadata.metadata_log() {
        read_metadata(&log_entry.metadata_file);
    }
    let awaiting = garbage.replaced.iter().map(|(path, _)| path.clone());
    let mut expected = reachable.clone();
    expected.extend(awaiting);
    assert_eq!(garbage.stored, expected);
}

fn run(seed: u64, commits: usize) {
    let mut random = Random(seed);
    let mut table = StoredTable::create(&format!("random-{seed}"));
    let mut model = Model::default();
    let mut garbage = Garbage::default();
    garbage
        .stored
        .insert(table.state.metadata_location().to_owned());
    table.policy = random.policy();
    for round in 0..commits {
        if random.one_in(20) {
            table.policy = random.policy();
        }
        if random.one_in(4) {
            table.reload();
        }
        let changes = model.random_changes(&mut random);
        model.apply(&changes, table.state.sequence_number() + 1);
        let commit = table.commit(changes);
        garbage.collect(commit);
        assert_eq!(table.live(), model.live, "commit {round}");
        let expected = [
            ("total-data-files", model.total(FileContent::Data, |_| 1)),
            (
                "total-records",
                model.total(FileContent::Data, |file| file.record_count),
            ),
            (
                "total-delete-files",
                model.total(FileContent::PositionDeletes, |_| 1),
            ),
            (
                "total-position-deletes",
                model.total(FileContent::PositionDeletes, |file| file.record_count),
            ),
        ];
        for (name, total) in expected {
            assert_eq!(table.summary(name).unwrap(), total, "{name}");
        }
        if random.one_in(15) {
            let retention = random.policy().retention;
            let expired = expire(&table.state, &retention, table.now_ms).unwrap();
            if let Some(commit) = expired {
                table.directory.store(&commit);
                table.state = commit.state.clone();
                garbage.collect(commit);
                assert_eq!(table.live(), model.live);
            }
        }
        if random.one_in(10) || round + 1 == commits {
            check_all_snapshots(&table, &model, &garbage);
        }
    }
}

#[test]
fn four_hundred_random_commits_leave_the_table_as_its_model() {
    run(1, 400);
}

#[test]
fn other_sequences_do_so_as_well() {
    for seed in 2..10 {
        run(seed, 60);
    }
}
