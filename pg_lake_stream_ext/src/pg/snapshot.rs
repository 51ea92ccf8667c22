//! The active snapshot, for code that runs outside of any query.

use pgrx::pg_sys;

/// The transaction's snapshot as the active one, until dropped.
pub struct ActiveSnapshot;

impl ActiveSnapshot {
    /// Takes and pushes the snapshot (utils/time/snapmgr.c).
    pub fn push() -> Self {
        // SAFETY: called in a transaction.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        Self
    }
}

impl Drop for ActiveSnapshot {
    fn drop(&mut self) {
        // After an ERROR the transaction's abort pops it.
        if !std::thread::panicking() {
            // SAFETY: pushed by `push`; snapshots nest strictly.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
    }
}

/// Runs `work` with an active snapshot: the one there is, or the transaction's.
pub fn with_active<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: a plain read.
    let _pushed = (!unsafe { pg_sys::ActiveSnapshotSet() }).then(ActiveSnapshot::push);
    work()
}
