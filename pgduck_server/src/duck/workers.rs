//! The threads that help queries which take longer than a moment.
//!
//! A query runs on the thread of its session. DuckDB's own workers are woken for every task of it, at once: a small
//! query then spends more time on waking threads than on its work. So DuckDB gets no threads of its own, and these help
//! instead: while queries run, one thread looks now and then whether tasks wait, and only then wakes the others.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use libduckdb_sys as ffi;

use super::EngineError;
use crate::sys::Timer;

// Implemented in task_queue.cpp.
unsafe extern "C" {
    fn pgduck_waiting_tasks(client_context: *mut c_void) -> usize;
}

/// How long a query runs alone.
const FIRST_LOOK: Duration = Duration::from_millis(3);

/// Time from look to look while there are tasks that wait, and the most that it grows to when there are none.
const NEXT_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(4);

/// How long a helper without work stays awake, in steps.
const IDLE_STEP: Duration = Duration::from_micros(100);
const IDLE_STEPS: usize = 50;

/// How many tasks a helper takes before it looks whether it is to stop.
const TASKS_AT_ONCE: u64 = 16;

/// The threads; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: TaskQueue,
    /// How many queries run.
    running: AtomicUsize,
    timer: Timer,
    helpers: Mutex<Helpers>,
    wanted: Condvar,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Helpers {
    asleep: usize,
    wanted: usize,
}

impl Workers {
    /// Starts threads that help queries of an open database.
    ///
    /// # Safety
    /// The database stays open until what is returned is dropped.
    pub(super) unsafe fn start(
        database: ffi::duckdb_database,
        helpers: usize,
    ) -> Result<Workers, EngineError> {
        let failed = |error: std::io::Error| EngineError(format!("IO Error: {error}"));
        let shared = Arc::new(Shared {
            // SAFETY: the database is open by this function's contract.
            queue: unsafe { TaskQueue::open(database)? },
            running: AtomicUsize::new(0),
            timer: Timer::new().map_err(failed)?,
            helpers: Mutex::default(),
            wanted: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let mut workers = Workers {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        let mut spawn = |run: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("helper".to_owned());
            thread
                .spawn(move || run(&shared))
                .map(|thread| workers.threads.push(thread))
        };
        spawn(Shared::look).map_err(failed)?;
        for _ in 0..helpers {
            spawn(Shared::help).map_err(failed)?;
        }
        Ok(workers)
    }

    /// A query begins; it ends when what is returned is dropped.
    pub(super) fn query(&self) -> RunningQuery<'_> {
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.shared.timer.set(FIRST_LOOK);
        }
        RunningQuery(&self.shared)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.timer.set(Duration::from_nanos(1));
        drop(self.shared.lock());
        self.shared.wanted.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A query that runs.
#[derive(Debug)]
pub struct RunningQuery<'a>(&'a Shared);

impl Drop for RunningQuery<'_> {
    fn drop(&mut self) {
        // A query that begins just now has set the timer already, and must not lose it.
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.timer.clear();
            if self.0.running.load(Ordering::SeqCst) > 0 {
                self.0.timer.set(FIRST_LOOK);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Helpers> {
        // Two numbers, which are always consistent.
        self.helpers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that looks for waiting tasks.
    fn look(&self) {
        let mut pause = NEXT_LOOK;
        loop {
            self.timer.wait();
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let waiting = self.queue.waiting();
            if waiting > 0 {
                pause = NEXT_LOOK;
                let mut helpers = self.lock();
                helpers.wanted = waiting.min(helpers.asleep);
                for _ in 0..helpers.wanted {
                    self.wanted.notify_one();
                }
            } else {
                pause = (2 * pause).min(LAST_LOOK);
            }
            if self.running.load(Ordering::SeqCst) > 0 {
                self.timer.set(pause);
            } else {
                pause = NEXT_LOOK;
            }
        }
    }

    /// A thread that helps.
    fn help(&self) {
        loop {
            let mut helpers = self.lock();
            helpers.asleep += 1;
            while helpers.wanted == 0 && !self.stop.load(Ordering::SeqCst) {
                helpers = self
                    .wanted
                    .wait(helpers)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            helpers.asleep -= 1;
            helpers.wanted = helpers.wanted.saturating_sub(1);
            drop(helpers);
            let mut idle = 0;
            while idle < IDLE_STEPS {
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                if self.queue.execute() {
                    idle = 0;
                } else {
                    idle += 1;
                    std::thread::sleep(IDLE_STEP);
                }
            }
        }
    }
}

/// DuckDB's queue of tasks.
#[derive(Debug)]
struct TaskQueue {
    connection: ffi::duckdb_connection,
    context: ffi::duckdb_client_context,
    state: ffi::duckdb_task_state,
}

// SAFETY: the queue is made for many threads ("duckdb_execute_n_tasks_state" in duckdb.h); the handles never change.
unsafe impl Send for TaskQueue {}
// SAFETY: as above.
unsafe impl Sync for TaskQueue {}

impl TaskQueue {
    /// Opens the queue of a database.
    ///
    /// # Safety
    /// The database stays open as long as what is returned lives.
    unsafe fn open(database: ffi::duckdb_database) -> Result<TaskQueue, EngineError> {
        let mut queue = TaskQueue {
            connection: ptr::null_mut(),
            context: ptr::null_mut(),
            state: ptr::null_mut(),
        };
        // SAFETY: the database is open by this function's contract; the handles are valid for writing, and destroyed
        // with the queue.
        unsafe {
            if ffi::duckdb_connect(database, &mut queue.connection) == ffi::DuckDBSuccess {
                ffi::duckdb_connection_get_client_context(queue.connection, &mut queue.context);
                queue.state = ffi::duckdb_create_task_state(database);
            }
        }
        if queue.context.is_null() || queue.state.is_null() {
            return Err(EngineError(
                "Connection Error: could not open a connection".to_owned(),
            ));
        }
        Ok(queue)
    }

    /// How many tasks wait for a thread.
    fn waiting(&self) -> usize {
        // SAFETY: the context is alive as long as `self`.
        unsafe { pgduck_waiting_tasks(self.context.cast()) }
    }

    /// Executes some tasks; whether there were any.
    fn execute(&self) -> bool {
        // SAFETY: the state is alive as long as `self`.
        unsafe { ffi::duckdb_execute_n_tasks_state(self.state, TASKS_AT_ONCE) > 0 }
    }
}

impl Drop for TaskQueue {
    fn drop(&mut self) {
        // SAFETY: created by `open` and destroyed only here, the context before its connection; null is allowed.
        unsafe {
            ffi::duckdb_destroy_task_state(self.state);
            ffi::duckdb_destroy_client_context(&mut self.context);
            ffi::duckdb_disconnect(&mut self.connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Database;

    fn helpers_asleep(database: &Database) -> usize {
        database.workers().unwrap().shared.lock().asleep
    }

    #[test]
    fn long_queries_are_helped_and_small_ones_are_not() {
        let database = Database::open(":memory:", &[("threads", "3")]).unwrap();
        database.take_over_threads().unwrap();
        let connection = database.connect().unwrap();
        connection
            .run("CREATE TABLE t AS SELECT range AS i FROM range(2000000)")
            .unwrap();
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        while helpers_asleep(&database) < 2 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        let observer = std::sync::Arc::clone(&database);
        let observed = std::thread::spawn(move || {
            let mut least = 2;
            while least > 0 && Instant::now() < deadline {
                least = helpers_asleep(&observer).min(least);
            }
            least
        });
        let _query = connection.query();
        while !observed.is_finished() {
            connection
                .run("SELECT count(*) FROM t WHERE md5(i::VARCHAR) LIKE 'a%'")
                .unwrap();
        }
        assert_eq!(observed.join().unwrap(), 0, "both help");
    }

    #[test]
    fn a_database_closes_although_helpers_wait() {
        let database = Database::open(":memory:", &[("threads", "4")]).unwrap();
        database.take_over_threads().unwrap();
        database.connect().unwrap().run("SELECT 1").unwrap();
    }
}
