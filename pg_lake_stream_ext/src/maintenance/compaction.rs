//! Compaction: small data files become one, and rows that position deletes hide are gone for good.
//!
//! Files are taken from the smallest on, as long as the next one is not much larger than all before it together. So a large
//! file waits until there is enough to add to it, and a row is written a logarithmic number of times, however often
//! compaction runs (the idea of log-structured merge trees).

use pgrx::pg_sys;

use crate::catalog::files::{self, LiveFile};
use crate::catalog::lake_table::LakeTable;
use crate::catalog::tables;
use crate::commit::transaction;
use crate::error::Result;
use crate::guc;
use crate::pg::spi::Visibility;
use crate::write::rewrite;

/// How much is done for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// By the background worker: what is worth it, where nobody is in the way.
    Background,
    /// `VACUUM`: what is worth it.
    Usual,
    /// `VACUUM (FULL)`: all that can be done.
    Full,
}

/// A file is added to smaller ones of together at least its size divided by this.
const GROWTH: u64 = 2;
/// Files of position deletes per data file from which on it is written anew.
const MAX_DELETE_FILES: usize = 8;

/// Writes some files of a table anew, if that is worth it. Returns how many have become one: none if another transaction is
/// changing the table and [`Thoroughness::Background`] does not wait for it.
pub fn compact_once(relid: pg_sys::Oid, thoroughness: Thoroughness) -> Result<usize> {
    if thoroughness != Thoroughness::Background {
        tables::lock_for_changes(relid);
    } else if !tables::try_lock_for_changes(relid) {
        return Ok(0);
    }
    let is_full = thoroughness == Thoroughness::Full;
    let files = files::live(relid, Visibility::Latest)?;
    let chosen = choose(&files, is_full);
    if chosen.is_empty() {
        return Ok(0);
    }
    transaction::mark_changed(relid);
    transaction::mark_rewrite();
    let table = LakeTable::open(relid)?;
    let live: Vec<&LiveFile> = chosen
        .iter()
        .copied()
        .filter(|file| file.live_rows() > 0)
        .collect();
    if !live.is_empty() {
        let written = rewrite::compact(&table, &live)?;
        files::insert_data(relid, &[written])?;
    }
    let ids: Vec<i64> = chosen
        .iter()
        .flat_map(|file| std::iter::once(&file.data).chain(&file.deletes))
        .map(|file| file.id)
        .collect();
    files::remove(relid, &ids)?;
    Ok(chosen.len())
}

/// The files to write anew as one.
fn choose(files: &[LiveFile], is_full: bool) -> Vec<&LiveFile> {
    let target = guc::target_file_bytes();
    let min_files = match is_full {
        true => 2,
        false => guc::vacuum_compact_min_input_files(),
    };
    let mut small: Vec<&LiveFile> = files
        .iter()
        .filter(|file| file.data.file_size < target / 2)
        .collect();
    small.sort_by_key(|file| file.data.file_size);
    let mut chosen = Vec::new();
    let mut bytes = 0;
    for file in small {
        let size = file.data.file_size;
        let fits = bytes + size <= target;
        let is_near =
            is_full || size <= bytes.saturating_mul(GROWTH) || chosen.len() + 1 < min_files;
        if !fits || !is_near {
            break;
        }
        bytes += size;
        chosen.push(file);
    }
    if chosen.len() >= min_files {
        // The file's own order: rows that came together stay together.
        chosen.sort_by_key(|file| file.data.id);
        return chosen;
    }
    let has_many_deletes = |file: &&LiveFile| {
        let deleted = file.deleted_rows();
        deleted > 0
            && (is_full
                || file.deletes.len() > MAX_DELETE_FILES
                || guc::is_copied_on_write(deleted, file.data.row_count, 0))
    };
    files.iter().find(has_many_deletes).into_iter().collect()
}
