//! The background worker that vacuums the lake tables of one database.

use pgrx::bgworkers::BackgroundWorker;
use pgrx::{PgLogLevel, PgSqlErrorCode, PgTryBuilder, ereport, pg_guard, pg_sys};

use crate::error::{OrRaise, Result};
use crate::fdw::options;
use crate::maintenance::compaction::Thoroughness;
use crate::maintenance::launcher::{EXTENSION, die, get_extension_oid};
use crate::maintenance::{own_transaction, vacuum};

unsafe extern "C-unwind" {
    /// port/pqsignal.c.
    fn pqsignal(
        signal: std::ffi::c_int,
        handler: Option<unsafe extern "C-unwind" fn(std::ffi::c_int)>,
    );
}

/// The worker's main function; its argument is the database.
///
/// # Safety
/// Called by the postmaster in a new process.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn lake_autovacuum_worker_main(database: pg_sys::Datum) {
    // SAFETY: signals are blocked until the worker is ready for them (postmaster/bgworker.c).
    unsafe {
        pqsignal(libc::SIGTERM, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
    let database = pg_sys::Oid::from(database.value() as u32);
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(database), None);
    let tables = own_transaction::run(|| {
        // SAFETY: a look-up.
        match unsafe { get_extension_oid(EXTENSION.as_ptr(), true) } {
            pg_sys::InvalidOid => Ok(None),
            _ => vacuum::all_tables().map(Some),
        }
    });
    let Some(tables) = tables.or_raise() else {
        return;
    };
    for relid in tables {
        attempt(|| vacuum_if_enabled(relid));
    }
    attempt(vacuum::clean_up);
}

fn vacuum_if_enabled(relid: pg_sys::Oid) -> Result<()> {
    let is_enabled = own_transaction::run(|| {
        // SAFETY: a look-up; the table may have been dropped meanwhile.
        let exists = unsafe { pg_sys::get_rel_relkind(relid) } != 0;
        Ok(exists && options::of_table(relid)?.autovacuum_enabled != Some(false))
    })?;
    match is_enabled {
        true => vacuum::vacuum_table(relid, Thoroughness::Background),
        false => Ok(()),
    }
}

/// Runs a piece of work; an error is logged and ends this piece only.
fn attempt(work: impl FnOnce() -> Result<()> + std::panic::UnwindSafe) {
    PgTryBuilder::new(|| work().or_raise())
        .catch_others(|error| {
            let (code, message) = match &error {
                pg_sys::panic::CaughtError::PostgresError(report)
                | pg_sys::panic::CaughtError::ErrorReport(report)
                | pg_sys::panic::CaughtError::RustPanic {
                    ereport: report, ..
                } => (report.sql_error_code(), report.message().to_owned()),
            };
            // Cancelled or terminated: not a failure, and not to be gone on after.
            if code == PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN {
                error.rethrow();
            }
            ereport!(
                PgLogLevel::LOG,
                PgSqlErrorCode::ERRCODE_WARNING,
                format!("background vacuum of Iceberg tables: {message}")
            );
            // SAFETY: the error has left a transaction that is to be aborted, as in a session's main loop.
            unsafe { pg_sys::AbortCurrentTransaction() };
        })
        .execute();
}
