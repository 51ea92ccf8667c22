//! The in-process database, its connections, and the handle that interrupts them.

use std::ptr;
use std::sync::{Arc, OnceLock};

use libduckdb_sys as ffi;

use super::statement::Script;
use super::workers::{RunningQuery, Workers};
use super::{EngineError, borrowed_text, c_string, owned_text};

/// An open database. It closes when its last connection is gone.
#[derive(Debug)]
pub struct Database {
    raw: ffi::duckdb_database,
    workers: OnceLock<Workers>,
}

// SAFETY: a DuckDB database instance may be used by many threads at once ("Concurrency" in DuckDB's documentation);
// the handle itself is never changed after `open`.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// Opens a database file, or `:memory:`, with configuration options as `SET` knows them.
    pub fn open(path: &str, options: &[(&str, &str)]) -> Result<Arc<Database>, EngineError> {
        let path = c_string(path)?;
        let mut config = Config::new()?;
        for (name, value) in options {
            config.set(name, value)?;
        }
        let mut raw = ptr::null_mut();
        let mut error = ptr::null_mut();
        // SAFETY: all pointers are valid for the call; `error` is set to an owned string on failure.
        let state =
            unsafe { ffi::duckdb_open_ext(path.as_ptr(), &mut raw, config.raw, &mut error) };
        if state != ffi::DuckDBSuccess {
            // SAFETY: `duckdb_open_ext` documents that its error is to be freed with `duckdb_free`.
            return Err(EngineError(unsafe { owned_text(error) }));
        }
        Ok(Arc::new(Database {
            raw,
            workers: OnceLock::new(),
        }))
    }

    /// Runs with threads of our own from now on, as many as DuckDB has; see [`Workers`]. Queries that shall be helped
    /// then say so with [`Connection::query`].
    pub fn take_over_threads(self: &Arc<Database>) -> Result<(), EngineError> {
        let connection = self.connect()?;
        let threads = connection.number("SELECT current_setting('threads')::BIGINT")?;
        // The session's own thread is one of them.
        let helpers = usize::try_from(threads - 1).unwrap_or(0);
        if helpers == 0 || self.workers.get().is_some() {
            return Ok(());
        }
        // SAFETY: `drop` ends the workers before it closes the database.
        let workers = unsafe { Workers::start(self.raw, helpers)? };
        connection.run(&format!("SET GLOBAL external_threads = {threads}"))?;
        let _ = self.workers.set(workers);
        Ok(())
    }

    /// The threads of our own.
    pub(super) fn workers(&self) -> Option<&Workers> {
        self.workers.get()
    }

    /// Opens a connection.
    pub fn connect(self: &Arc<Database>) -> Result<Connection, EngineError> {
        let mut raw = ptr::null_mut();
        // SAFETY: the database is open, and `raw` is valid for writing.
        let state = unsafe { ffi::duckdb_connect(self.raw, &mut raw) };
        if state != ffi::DuckDBSuccess {
            return Err(EngineError(
                "Connection Error: could not open a connection".to_owned(),
            ));
        }
        Ok(Connection(Arc::new(RawConnection {
            raw,
            database: Arc::clone(self),
        })))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.workers.take());
        // SAFETY: opened by `open` and closed only here; connections keep the database alive by their `Arc`.
        unsafe { ffi::duckdb_close(&mut self.raw) };
    }
}

/// Options for opening a database.
struct Config {
    raw: ffi::duckdb_config,
}

impl Config {
    /// No options yet.
    fn new() -> Result<Config, EngineError> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is valid for writing.
        if unsafe { ffi::duckdb_create_config(&mut raw) } != ffi::DuckDBSuccess {
            return Err(EngineError(
                "Out of Memory Error: no configuration".to_owned(),
            ));
        }
        Ok(Config { raw })
    }

    /// Sets one option.
    fn set(&mut self, name: &str, value: &str) -> Result<(), EngineError> {
        let (c_name, c_value) = (c_string(name)?, c_string(value)?);
        // SAFETY: `raw` is a live configuration and both strings live during the call.
        let state = unsafe { ffi::duckdb_set_config(self.raw, c_name.as_ptr(), c_value.as_ptr()) };
        if state != ffi::DuckDBSuccess {
            return Err(EngineError(format!(
                "Invalid Input Error: \"{value}\" is not a value of the option \"{name}\""
            )));
        }
        Ok(())
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: created by `new` and destroyed only here.
        unsafe { ffi::duckdb_destroy_config(&mut self.raw) };
    }
}

/// A raw connection that closes with its last user.
#[derive(Debug)]
pub(super) struct RawConnection {
    pub(super) raw: ffi::duckdb_connection,
    database: Arc<Database>,
}

// SAFETY: every call on a connection takes the lock of its client context; `duckdb_interrupt` sets an atomic flag and
// is meant to be called from another thread. We never run two statements of a connection at the same time.
unsafe impl Send for RawConnection {}
// SAFETY: as above.
unsafe impl Sync for RawConnection {}

impl Drop for RawConnection {
    fn drop(&mut self) {
        // SAFETY: opened by `connect` and closed only here; statements and results hold an `Arc` of it.
        unsafe { ffi::duckdb_disconnect(&mut self.raw) };
    }
}

/// A connection: the state of one session.
#[derive(Debug, Clone)]
pub struct Connection(pub(super) Arc<RawConnection>);

impl Connection {
    /// Parses a query string into its statements.
    pub fn parse(&self, sql: &str) -> Result<Script, EngineError> {
        Script::parse(self, sql)
    }

    /// Runs all statements of a query string and throws their results away.
    pub fn run(&self, sql: &str) -> Result<(), EngineError> {
        let script = self.parse(sql)?;
        for index in 0..script.len() {
            let mut result = script.prepare(index)?.start_fresh()?.execute()?;
            while result.next_chunk()?.is_some() {}
        }
        Ok(())
    }

    /// The first number of a query's result.
    fn number(&self, sql: &str) -> Result<i64, EngineError> {
        let mut result = self.parse(sql)?.prepare(0)?.start_fresh()?.execute()?;
        match result.next_chunk()? {
            Some(chunk) if chunk.rows() > 0 => Ok(chunk.column(0).value(0)),
            _ => Err(EngineError("Invalid Input Error: no rows".to_owned())),
        }
    }

    /// Says that a query runs, until what is returned is dropped: if it takes longer than a moment, it is helped.
    pub fn query(&self) -> Option<RunningQuery<'_>> {
        self.0.database.workers().map(Workers::query)
    }

    /// A handle that interrupts what this connection runs.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::clone(&self.0))
    }
}

/// Interrupts a connection's running query, from any thread.
#[derive(Debug, Clone)]
pub struct Interrupter(Arc<RawConnection>);

impl Interrupter {
    /// Makes the running query fail soon. Without a running query this does nothing that lasts:
    /// DuckDB forgets an interrupt when the next query starts.
    pub fn interrupt(&self) {
        // SAFETY: the connection is open as long as the `Arc` lives; the call is thread-safe.
        unsafe { ffi::duckdb_interrupt(self.0.raw) };
    }
}

/// The version of the DuckDB library in use, such as `v1.5.5`.
pub fn library_version() -> String {
    // SAFETY: returns a static string.
    unsafe { borrowed_text(ffi::duckdb_library_version()) }
}
