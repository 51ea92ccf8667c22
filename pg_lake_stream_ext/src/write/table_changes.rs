//! What one statement does to one table: rows that it writes, and rows that it removes.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use pgrx::pg_sys;

use crate::catalog::files;
use crate::catalog::lake_table::LakeTable;
use crate::error::Result;
use crate::pg::spi::Visibility;
use crate::pg::tuple::Row;
use crate::write::row_removal::RowRemoval;
use crate::write::table_writer::TableWriter;

thread_local! {
    /// The removals of running statements, by statement and table: parts of one statement (CTEs) that change the same
    /// table share theirs, so that each row is changed once.
    static REMOVALS: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

/// A statement, a table and what it removes from it.
type Running = (*mut pg_sys::EState, pg_sys::Oid, Weak<RefCell<RowRemoval>>);

/// The changes of one part of a statement. Dropped unfinished, they have not happened.
pub struct TableChanges {
    table: LakeTable,
    writer: Option<TableWriter>,
    removal: Option<Rc<RefCell<RowRemoval>>>,
}

impl TableChanges {
    /// For a statement that only writes rows.
    pub fn insert(table: LakeTable) -> Result<Self> {
        Ok(Self {
            writer: Some(TableWriter::new(table.clone())?),
            table,
            removal: None,
        })
    }

    /// For a statement that removes rows, and writes others in their place if it is an UPDATE.
    pub fn remove(table: LakeTable, estate: *mut pg_sys::EState, is_update: bool) -> Result<Self> {
        let writer = match is_update {
            true => Some(TableWriter::new(table.clone())?),
            false => None,
        };
        Ok(Self {
            removal: Some(shared_removal(estate, table.relid)?),
            writer,
            table,
        })
    }

    /// Writes a row.
    pub fn write_row(&mut self, row: &Row<'_>) -> Result<()> {
        match &mut self.writer {
            Some(writer) => writer.write_row(row),
            None => Ok(()),
        }
    }

    /// Removes a row; false if the statement has removed it before.
    pub fn remove_row(&mut self, file: usize, position: u64) -> bool {
        self.removal
            .as_ref()
            .is_some_and(|removal| removal.borrow_mut().remove(file, position))
    }

    /// Number of files that rows can be removed from.
    pub fn files(&self) -> usize {
        self.removal
            .as_ref()
            .map_or(0, |removal| removal.borrow().files().len())
    }

    /// Writes all that is left, and enters it in the catalog. More changes may follow.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.end()?;
        }
        let removed = match &self.removal {
            Some(removal) => removal.borrow_mut().end(&self.table, "")?,
            None => None,
        };
        if let Some(writer) = &mut self.writer {
            writer.finish()?;
        }
        match removed {
            Some(removed) => removed.finish(self.table.relid),
            None => Ok(()),
        }
    }
}

/// The removal of this statement from this table.
fn shared_removal(
    estate: *mut pg_sys::EState,
    relid: pg_sys::Oid,
) -> Result<Rc<RefCell<RowRemoval>>> {
    let known = REMOVALS.with_borrow_mut(|removals| {
        removals.retain(|(_, _, removal)| removal.strong_count() > 0);
        removals
            .iter()
            .find(|(of, table, _)| *of == estate && *table == relid)
            .and_then(|(_, _, removal)| removal.upgrade())
    });
    if let Some(removal) = known {
        return Ok(removal);
    }
    let files = files::live(relid, Visibility::Query)?;
    let removal = Rc::new(RefCell::new(RowRemoval::new(files)));
    REMOVALS.with_borrow_mut(|removals| removals.push((estate, relid, Rc::downgrade(&removal))));
    Ok(removal)
}
