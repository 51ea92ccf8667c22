//! The executor's finish hook: AFTER triggers see what their statement has changed.
//!
//! PostgreSQL fires them in `ExecutorFinish`, before the foreign-data wrapper is told that the statement is over
//! (`EndForeignModify`, in `ExecutorEnd`). Tables with such triggers are therefore written out first.

use std::sync::OnceLock;

use pgrx::{pg_guard, pg_sys};

use crate::error::OrRaise;
use crate::fdw::open_changes;

static PREVIOUS: OnceLock<pg_sys::ExecutorFinish_hook_type> = OnceLock::new();

/// Puts this hook before the others.
pub fn install() {
    // SAFETY: hooks are installed while the library is loaded, by the backend's only thread.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::ExecutorFinish_hook);
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
    }
}

unsafe extern "C-unwind" {
    /// executor/execMain.c, declared without pgrx's guard.
    fn standard_ExecutorFinish(query: *mut pg_sys::QueryDesc);
}

unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    // SAFETY: PostgreSQL's argument, passed on as it is.
    unsafe {
        if open_changes::any() {
            write_out((*query).estate);
        }
        match PREVIOUS.get() {
            Some(Some(previous)) => previous(query),
            _ => standard_ExecutorFinish(query),
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn write_out(estate: *mut pg_sys::EState) {
    open_changes::write_out(estate).or_raise();
}
