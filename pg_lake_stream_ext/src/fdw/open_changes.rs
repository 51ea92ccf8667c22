//! The changes of running statements whose tables have AFTER triggers.

use std::cell::RefCell;
use std::ptr::NonNull;

use pgrx::pg_sys;

use crate::error::Result;
use crate::write::table_changes::TableChanges;

thread_local! {
    static OPEN: RefCell<Vec<(*mut pg_sys::EState, NonNull<TableChanges>)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps changes in the list of open ones; taken out when dropped.
pub struct Registration {
    changes: NonNull<TableChanges>,
}

impl Registration {
    /// Enters the changes of a statement.
    ///
    /// # Safety
    /// `changes` must stay where it is, and alive, until the registration is dropped, and must not be in use when
    /// [`write_out`] is called.
    pub unsafe fn new(estate: *mut pg_sys::EState, changes: NonNull<TableChanges>) -> Self {
        OPEN.with_borrow_mut(|open| open.push((estate, changes)));
        Self { changes }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| open.retain(|(_, changes)| *changes != self.changes));
    }
}

/// Whether there is any.
pub fn any() -> bool {
    OPEN.with_borrow(|open| !open.is_empty())
}

/// Writes a statement's changes and enters them in the catalog, where the statement's triggers find them.
pub fn write_out(estate: *mut pg_sys::EState) -> Result<()> {
    let changes: Vec<_> = OPEN.with_borrow(|open| {
        open.iter()
            .filter(|(of, _)| *of == estate)
            .map(|(_, changes)| *changes)
            .collect()
    });
    for mut changes in changes {
        // SAFETY: registered, so alive; the executor is between two calls of the wrapper.
        unsafe { changes.as_mut() }.finish()?;
    }
    Ok(())
}
