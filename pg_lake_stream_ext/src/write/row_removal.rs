//! How rows that a statement has deleted leave the table.
//!
//! Per data file, whichever is cheapest to live with: a file without live rows is taken out of the table; one that has lost
//! a large part is written anew without them (copy-on-write), by the server; for the others, positions are written to files
//! of position deletes, one a data file (Iceberg spec, "Position Delete Files"), all in one stream.

use std::collections::{BTreeMap, HashMap};

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::catalog::files::{self, LiveFile, WrittenDeletes};
use crate::catalog::lake_table::LakeTable;
use crate::commit::transaction;
use crate::error::{LakeError, Result};
use crate::guc;
use crate::pg::spi::Visibility;
use crate::write::position_deletes::PositionDeletes;
use crate::write::positions::Positions;
use crate::write::rewrite;

/// Position deletes of at most so many positions have them in the catalog, and grow when more rows are deleted: the old file
/// is replaced by one with old and new positions.
pub const MAX_KNOWN_POSITIONS: u64 = 512;

/// The rows of one table that one statement has deleted.
pub struct RowRemoval {
    /// The table's files as the statement sees them.
    files: Vec<LiveFile>,
    /// What is removed from each of them.
    removed: BTreeMap<usize, Removed>,
}

/// Rows that are removed from one data file.
#[derive(Debug)]
pub enum Removed {
    /// Those at these positions.
    Positions(Positions),
    /// So many rows, those that meet a condition.
    Matching(u64),
    /// All that are left.
    All,
}

/// What is done to one data file.
enum Way {
    /// It has no live rows left.
    Drop,
    /// It is written anew without these rows.
    Rewrite(Removed),
    /// These rows are deleted by a file of position deletes; those with the given numbers are replaced by it.
    Delete(Removed, Vec<i64>),
}

impl RowRemoval {
    /// For a statement that sees these files.
    pub fn new(files: Vec<LiveFile>) -> Self {
        Self {
            files,
            removed: BTreeMap::new(),
        }
    }

    /// The table's files as the statement sees them.
    pub fn files(&self) -> &[LiveFile] {
        &self.files
    }

    /// Removes a row; false if the statement has removed it before.
    pub fn remove(&mut self, file: usize, position: u64) -> bool {
        let removed = self
            .removed
            .entry(file)
            .or_insert_with(|| Removed::Positions(Positions::default()));
        match removed {
            Removed::Positions(positions) => positions.insert(position),
            Removed::Matching(_) | Removed::All => false,
        }
    }

    /// Removes rows of a file, of which nothing was removed before.
    pub fn remove_from(&mut self, file: usize, removed: Removed) {
        self.removed.insert(file, removed);
    }

    /// Begins to write what is to be written; [`PendingRemoval::finish`] waits for it. `condition` is that of
    /// [`Removed::Matching`].
    pub fn end(&mut self, table: &LakeTable, condition: &str) -> Result<Option<PendingRemoval>> {
        let removed = std::mem::take(&mut self.removed);
        if removed.is_empty() {
            return Ok(None);
        }
        transaction::mark_changed(table.relid);
        let latest = files::live(table.relid, Visibility::Latest)?;
        let places: HashMap<i64, &LiveFile> =
            latest.iter().map(|file| (file.data.id, file)).collect();
        let deleted: u64 = latest.iter().map(LiveFile::deleted_rows).sum();
        let mut pending = PendingRemoval::default();
        let mut rewritten = Vec::new();
        let mut at_positions = Vec::new();
        let mut matching = Vec::new();
        for (file, removed) in removed {
            let seen = &self.files[file];
            let now = places.get(&seen.data.id).copied().ok_or_else(conflict)?;
            check_unchanged(seen, now, &removed)?;
            match choose(now, removed, deleted) {
                Way::Drop => pending.take_out(now),
                Way::Rewrite(removed) => {
                    pending.take_out(now);
                    rewritten.push((now, removed));
                }
                Way::Delete(Removed::Positions(positions), replaced) => {
                    pending.taken_out.extend(replaced);
                    at_positions.push((now, positions));
                }
                Way::Delete(Removed::Matching(count), _) => matching.push((now, count)),
                Way::Delete(Removed::All, _) => pending.take_out(now),
            }
        }
        if !at_positions.is_empty() {
            pending
                .deletes
                .push(PositionDeletes::at_positions(table, &at_positions)?);
        }
        if !matching.is_empty() {
            pending
                .deletes
                .push(PositionDeletes::matching(table, &matching, condition)?);
        }
        for (file, removed) in rewritten {
            pending.rewritten.push(match removed {
                Removed::Positions(positions) => {
                    rewrite::without_positions(table, file, &positions)?
                }
                _ => rewrite::without_matching(table, file, condition)?,
            });
        }
        Ok(Some(pending))
    }
}

/// What [`RowRemoval::end`] has begun.
#[derive(Default)]
pub struct PendingRemoval {
    /// Files that are no longer part of the table.
    taken_out: Vec<i64>,
    /// Data files that take the place of some of them.
    rewritten: Vec<lake_iceberg::DataFile>,
    deletes: Vec<PositionDeletes>,
}

impl PendingRemoval {
    fn take_out(&mut self, file: &LiveFile) {
        self.taken_out.push(file.data.id);
        self.taken_out
            .extend(file.deletes.iter().map(|deletes| deletes.id));
    }

    /// Waits until all is written, and enters it in the catalog.
    pub fn finish(self, relid: pg_sys::Oid) -> Result<()> {
        let mut deletes: Vec<WrittenDeletes> = Vec::new();
        for pending in self.deletes {
            deletes.extend(pending.finish(MAX_KNOWN_POSITIONS)?);
        }
        files::remove(relid, &self.taken_out)?;
        files::insert_data(relid, &self.rewritten)?;
        files::insert_deletes(relid, &deletes)
    }
}

/// How a data file loses these rows. `deleted` is the number of rows in the table that position deletes hide by now.
fn choose(file: &LiveFile, removed: Removed, deleted: u64) -> Way {
    let rows = file.data.row_count;
    let count = match &removed {
        Removed::Positions(positions) => positions.len(),
        Removed::Matching(count) => *count,
        Removed::All => return Way::Drop,
    };
    let gone = file.deleted_rows() + count;
    if gone >= rows {
        return Way::Drop;
    }
    if guc::is_copied_on_write(gone, rows, deleted + count) {
        return Way::Rewrite(removed);
    }
    let Removed::Positions(mut positions) = removed else {
        return Way::Delete(removed, Vec::new());
    };
    let mut replaced = Vec::new();
    let mut room = MAX_KNOWN_POSITIONS.saturating_sub(positions.len());
    for deletes in &file.deletes {
        let Some(known) = deletes
            .positions
            .as_deref()
            .filter(|_| deletes.row_count <= room)
        else {
            continue;
        };
        room -= deletes.row_count;
        replaced.push(deletes.id);
        known.iter().for_each(|position| {
            positions.insert(*position);
        });
    }
    Way::Delete(Removed::Positions(positions), replaced)
}

/// Makes sure that nobody has changed the rows since the statement has seen them: another transaction, which a statement
/// of REPEATABLE READ does not see, or a command that the statement itself has caused (a trigger, a function).
fn check_unchanged(seen: &LiveFile, now: &LiveFile, removed: &Removed) -> Result<()> {
    let is_seen = |id: i64| seen.deletes.iter().any(|deletes| deletes.id == id);
    if now.deletes.iter().all(|deletes| is_seen(deletes.id)) {
        return Ok(());
    }
    // The new deletes would be seen together with the statement's own, the rows that replace the deleted ones would not.
    let Removed::Positions(positions) = removed else {
        return Err(conflict());
    };
    if is_isolated() {
        return Err(conflict());
    }
    let mut known = Positions::default();
    for deletes in &seen.deletes {
        // What is not known cannot have been replaced: only what is known grows.
        deletes.positions.iter().flatten().for_each(|position| {
            known.insert(*position);
        });
    }
    for deletes in now.deletes.iter().filter(|deletes| !is_seen(deletes.id)) {
        let unknown = deletes.positions.is_none();
        let overlap = deletes
            .positions
            .iter()
            .flatten()
            .any(|position| !known.contains(*position) && positions.contains(*position));
        if unknown || overlap {
            return Err(conflict());
        }
    }
    Ok(())
}

/// The error for rows that have changed since the statement has seen them.
fn conflict() -> LakeError {
    if is_isolated() {
        return LakeError::new(
            PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            "could not serialize access due to concurrent update",
        );
    }
    LakeError::new(
        PgSqlErrorCode::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
        "tuple to be updated was already modified by an operation triggered by the current command",
    )
    .hint("Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows.")
}

/// Whether the transaction keeps its snapshot.
fn is_isolated() -> bool {
    // SAFETY: a plain read of the transaction's isolation level.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}
