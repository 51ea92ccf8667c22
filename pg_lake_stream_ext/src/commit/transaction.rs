//! Which tables the current transaction has changed, and the transaction callback that commits them.
//!
//! The set may name a table too many (a savepoint that was rolled back): what was changed is in the catalogs, the set only
//! says where to look.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::{c_int, c_void};

use pgrx::{pg_guard, pg_sys};

use crate::catalog::in_progress;
use crate::commit::pre_commit;
use crate::error::{LakeError, OrRaise};

thread_local! {
    static CHANGED: RefCell<BTreeSet<u32>> = const { RefCell::new(BTreeSet::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static REWRITE: Cell<bool> = const { Cell::new(false) };
}

/// Remembers that the transaction has changed a table.
pub fn mark_changed(relid: pg_sys::Oid) {
    watch();
    CHANGED.with_borrow_mut(|changed| changed.insert(relid.to_u32()));
}

/// Says that the transaction writes rows anew without changing them: compaction.
pub fn mark_rewrite() {
    REWRITE.set(true);
}

/// Whether [`mark_rewrite`] was called in this transaction.
pub fn is_rewrite() -> bool {
    REWRITE.get()
}

/// Makes sure that the ends of this backend's transactions are noticed.
pub fn watch() {
    if !REGISTERED.replace(true) {
        // SAFETY: the callbacks live as long as the library, which is never unloaded.
        unsafe {
            pg_sys::RegisterXactCallback(Some(at_transaction_event), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(at_subtransaction_event), std::ptr::null_mut());
        }
    }
}

/// Tells [`in_progress`] of savepoints that are rolled back.
#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    _own: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        in_progress::at_subtransaction_abort();
    }
}

/// Commits the changed tables at PRE_COMMIT, while an error can still abort the transaction.
#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_event(
    event: pg_sys::XactEvent::Type,
    _arg: *mut c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => {
            let changed = CHANGED.take();
            if !changed.is_empty() {
                let _timeout = StatementTimeout::resume();
                pre_commit::commit_tables(changed.into_iter().map(pg_sys::Oid::from)).or_raise();
            }
        }
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE
            if CHANGED.with_borrow(|changed| !changed.is_empty()) =>
        {
            LakeError::unsupported(
                "cannot prepare a transaction that has Iceberg metadata changes",
            )
            .raise();
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            REWRITE.set(false);
            in_progress::at_commit();
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            REWRITE.set(false);
            CHANGED.with_borrow_mut(BTreeSet::clear);
            in_progress::at_abort();
        }
        _ => {}
    }
}

unsafe extern "C-unwind" {
    // utils/misc/timeout.c; not in pgrx's bindings.
    fn enable_timeout_after(id: c_int, delay_ms: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
    fn get_timeout_active(id: c_int) -> bool;
}

/// `STATEMENT_TIMEOUT` of utils/timeout.h.
const STATEMENT_TIMEOUT: c_int = 3;

/// Keeps `statement_timeout` in force during PRE_COMMIT: PostgreSQL switches it off before it commits
/// (`finish_xact_command`, tcop/postgres.c), for its own commits do not wait for others.
struct StatementTimeout {
    enabled_here: bool,
}

impl StatementTimeout {
    fn resume() -> Self {
        // SAFETY: the timeout and its handler are registered in every backend that can run statements (InitPostgres).
        let enabled_here = unsafe {
            let enable = pg_sys::StatementTimeout > 0 && !get_timeout_active(STATEMENT_TIMEOUT);
            if enable {
                enable_timeout_after(STATEMENT_TIMEOUT, pg_sys::StatementTimeout);
            }
            enable
        };
        Self { enabled_here }
    }
}

impl Drop for StatementTimeout {
    fn drop(&mut self) {
        // After an error the indicator must stay: it tells that the cancel was a timeout.
        if self.enabled_here && !std::thread::panicking() {
            // SAFETY: as above.
            unsafe { disable_timeout(STATEMENT_TIMEOUT, false) };
        }
    }
}
