//! The background worker that starts a vacuum worker in each database from time to time, and at once in a database that
//! asks for it.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags,
};
use pgrx::{PgAtomic, pg_guard, pg_shmem_init, pg_sys};

use crate::guc;

/// Shortest time between two rounds, however many ask for one.
const SHORTEST_NAP: Duration = Duration::from_secs(1);
/// The launcher starts again so long after a failure.
const RESTART_TIME: Duration = Duration::from_secs(10);

/// The launcher's latch, as the address of its `PGPROC.procLatch`, which is the same in all processes; 0 if it does not run.
static LATCH: PgAtomic<AtomicU64> =
    // SAFETY: no other shared memory has this name.
    unsafe { PgAtomic::new(c"pg_lake_stream launcher latch") };
/// A database that asks for a round; 0 if none does. Of several that ask at once one is served, the others ask again.
static WANTED: PgAtomic<AtomicU32> =
    // SAFETY: as above.
    unsafe { PgAtomic::new(c"pg_lake_stream wanted database") };

/// Registers the launcher and its shared memory; called once from `_PG_init`.
pub fn register() {
    request_latch();
    request_wanted();
    BackgroundWorkerBuilder::new("pg_lake_iceberg autovacuum launcher")
        .set_type("pg_lake_iceberg autovacuum launcher")
        .set_library("pg_lake_stream_ext")
        .set_function("lake_autovacuum_launcher_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(RESTART_TIME))
        .load();
}

#[allow(unexpected_cfgs, reason = "the macro names versions that are not ours")]
fn request_latch() {
    pg_shmem_init!(LATCH);
}

#[allow(unexpected_cfgs, reason = "as above")]
fn request_wanted() {
    pg_shmem_init!(WANTED);
}

/// Asks for a round in this database soon.
pub fn request_round() {
    if !guc::autovacuum() {
        return;
    }
    // SAFETY: a plain read; the latch lies in shared memory that lives as long as the server, and setting the latch of a
    // process that has ended does no harm.
    unsafe {
        WANTED
            .get()
            .store(pg_sys::MyDatabaseId.to_u32(), Ordering::Relaxed);
        let latch = LATCH.get().load(Ordering::Acquire) as usize as *mut pg_sys::Latch;
        if !latch.is_null() {
            pg_sys::SetLatch(latch);
        }
    }
}

/// The launcher's main function.
///
/// # Safety
/// Called by the postmaster in a new process.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn lake_autovacuum_launcher_main(_arg: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    // Connected to no database, it can read those catalogs that all share.
    BackgroundWorker::connect_worker_to_spi(None, None);
    // SAFETY: this process's own latch.
    LATCH.get().store(
        unsafe { pg_sys::MyLatch } as usize as u64,
        Ordering::Release,
    );
    let mut round = Instant::now();
    loop {
        let nap = Duration::from_secs(guc::autovacuum_naptime_s());
        let rest = nap.saturating_sub(round.elapsed()).max(SHORTEST_NAP);
        if !BackgroundWorker::wait_latch(Some(rest)) {
            break;
        }
        if BackgroundWorker::sighup_received() {
            // SAFETY: between rounds, as postmaster.c does it.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        if !guc::autovacuum() {
            continue;
        }
        let wanted = WANTED.get().swap(0, Ordering::Relaxed);
        if round.elapsed() >= nap {
            round = Instant::now();
            databases().into_iter().for_each(vacuum_database);
        } else if wanted != 0 {
            vacuum_database(pg_sys::Oid::from(wanted));
        }
    }
    LATCH.get().store(0, Ordering::Release);
}

/// Runs a worker in a database and waits for its end.
fn vacuum_database(database: pg_sys::Oid) {
    let worker = BackgroundWorkerBuilder::new("pg_lake_iceberg autovacuum worker")
        .set_type("pg_lake_iceberg autovacuum worker")
        .set_library("pg_lake_stream_ext")
        .set_function("lake_autovacuum_worker_main")
        .enable_spi_access()
        .set_argument(Some(database.into()))
        // SAFETY: a plain read.
        .set_notify_pid(unsafe { pg_sys::MyProcPid })
        .load_dynamic();
    // Without a free place (max_worker_processes) the next round tries again.
    if let Ok(worker) = worker {
        let _ = worker.wait_for_shutdown();
    }
}

/// The databases that can be connected to.
fn databases() -> Vec<pg_sys::Oid> {
    let mut databases = Vec::new();
    // SAFETY: as the launcher of core's autovacuum reads pg_database (`get_database_list`, postmaster/autovacuum.c).
    unsafe {
        pg_sys::StartTransactionCommand();
        pg_sys::GetTransactionSnapshot();
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, lock);
        let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let header = (*tuple).t_data;
            let row: &pg_sys::FormData_pg_database =
                &*header.cast::<u8>().add((*header).t_hoff.into()).cast();
            if row.datallowconn {
                databases.push(row.oid);
            }
        }
        pg_sys::table_endscan(scan);
        pg_sys::table_close(relation, lock);
        pg_sys::CommitTransactionCommand();
    }
    databases
}

unsafe extern "C-unwind" {
    /// tcop/postgres.c: the handler that ends a session when it next looks (`CHECK_FOR_INTERRUPTS`).
    pub fn die(signal: c_int);
    /// commands/extension.c: whether an extension is there.
    pub fn get_extension_oid(name: *const std::ffi::c_char, missing_ok: bool) -> pg_sys::Oid;
}

/// The extension's name.
pub const EXTENSION: &CStr = c"pg_lake_stream_ext";
