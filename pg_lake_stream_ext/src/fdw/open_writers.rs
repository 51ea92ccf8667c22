//! The writers of running statements whose tables have AFTER triggers.

use std::cell::RefCell;
use std::ptr::NonNull;

use pgrx::pg_sys;

use crate::error::Result;
use crate::write::table_writer::TableWriter;

thread_local! {
    static OPEN: RefCell<Vec<(*mut pg_sys::EState, NonNull<TableWriter>)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps a writer in the list of open ones; taken out when dropped.
pub struct Registration {
    writer: NonNull<TableWriter>,
}

impl Registration {
    /// Enters a writer of a statement.
    ///
    /// # Safety
    /// `writer` must stay where it is, and alive, until the registration is dropped, and must not be in use when
    /// [`write_out`] is called.
    pub unsafe fn new(estate: *mut pg_sys::EState, writer: NonNull<TableWriter>) -> Self {
        OPEN.with_borrow_mut(|open| open.push((estate, writer)));
        Self { writer }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| open.retain(|(_, writer)| *writer != self.writer));
    }
}

/// Whether there is any.
pub fn any() -> bool {
    OPEN.with_borrow(|open| !open.is_empty())
}

/// Ends the files of a statement's writers and enters them in the catalog, where the statement's triggers find them.
pub fn write_out(estate: *mut pg_sys::EState) -> Result<()> {
    let writers: Vec<_> = OPEN.with_borrow(|open| {
        open.iter()
            .filter(|(of, _)| *of == estate)
            .map(|(_, writer)| *writer)
            .collect()
    });
    for mut writer in writers {
        // SAFETY: registered, so alive; the executor is between two calls of the wrapper.
        unsafe { writer.as_mut() }.finish()?;
    }
    Ok(())
}
