//! SQL functions that remove what nothing refers to any more: `lake_engine.flush_deletion_queue`,
//! `lake_engine.flush_in_progress_queue`.

use std::ffi::CStr;

use pgrx::iter::SetOfIterator;
use pgrx::{pg_extern, pg_sys};

use crate::error::OrRaise;
use crate::maintenance::{deletion_queue, in_progress};

/// Removes the objects of a table that have been in the deletion queue for long enough; with 0, those of dropped tables.
#[pg_extern]
fn flush_deletion_queue(table_name: pg_sys::Oid) -> SetOfIterator<'static, String> {
    refuse_on_standby(c"flush_deletion_queue()");
    let relid = (table_name != pg_sys::InvalidOid).then_some(table_name);
    SetOfIterator::new(deletion_queue::flush(relid).or_raise())
}

/// Removes the objects of transactions that rolled back or died.
#[pg_extern]
fn flush_in_progress_queue() -> SetOfIterator<'static, String> {
    refuse_on_standby(c"flush_in_progress_queue()");
    SetOfIterator::new(in_progress::flush().or_raise())
}

fn refuse_on_standby(function: &CStr) {
    // SAFETY: a C string; raises during recovery.
    unsafe { pg_sys::PreventCommandDuringRecovery(function.as_ptr()) };
}
