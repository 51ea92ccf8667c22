//! Pieces of work that are each a transaction, inside a command that may not run in a transaction block.

use pgrx::pg_sys;

use crate::error::Result;

/// Runs `work` in a transaction of its own, with an active snapshot. None may be running.
///
/// After an error the transaction is still there; the caller raises, or aborts it.
pub fn run<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: the caller is between transactions (as commands/vacuum.c is between tables).
    unsafe {
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = work()?;
        if pg_sys::ActiveSnapshotSet() {
            pg_sys::PopActiveSnapshot();
        }
        pg_sys::CommitTransactionCommand();
        Ok(result)
    }
}
