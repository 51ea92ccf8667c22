//! What all sessions share: configuration, database, the list of sessions, and the signal to stop.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::cancel::Sessions;
use crate::cli::Config;
use crate::duck::{Connection, Database, EngineError};
use crate::errors::ServerError;
use crate::receive_quota::ReceiveLimits;

/// The server's shared state.
pub struct Server {
    /// The command line.
    pub config: Config,
    /// All sessions.
    pub sessions: Arc<Sessions>,
    /// One permit for each client that may come.
    pub clients: Arc<Semaphore>,
    /// Threads that work for a session besides its own: for queries that it feeds, and for sending large results.
    pub threads: Handle,
    /// Limits of RECEIVE streams.
    pub receive_limits: Arc<ReceiveLimits>,
    database: Arc<Database>,
    shutdown: watch::Sender<bool>,
}

impl Server {
    /// Opens the database and makes it ready. Called within the runtime.
    pub fn open(config: Config) -> Result<Server, String> {
        let threads = config.threads.to_string();
        let memory_limit = memory_limit(&config.memory_limit)?;
        let mut options = vec![
            ("memory_limit", memory_limit.as_str()),
            ("preserve_insertion_order", "true"),
            ("default_null_order", "nulls_last"),
            ("enable_external_file_cache", "false"),
        ];
        if config.threads > 0 {
            options.push(("threads", &threads));
        }
        if config.no_extension_install {
            options.push(("autoinstall_known_extensions", "false"));
        }
        let database = Database::open(&config.duckdb_database_file_path, &options)
            .map_err(|error| format!("could not open the database: {error}"))?;
        let connection = database.connect().map_err(|error| error.to_string())?;
        connection
            .run("SET GLOBAL TimeZone = 'UTC'")
            .map_err(|error| format!("could not set the time zone: {error}"))?;
        connection
            .register_remove_file()
            .and_then(|()| connection.register_write_file())
            .map_err(|error| error.to_string())?;
        load_extensions(&connection, &config)?;
        if let Some(path) = &config.init_file_path {
            let sql = std::fs::read_to_string(path)
                .map_err(|error| format!("could not read \"{}\": {error}", path.display()))?;
            connection
                .run(&sql)
                .map_err(|error| format!("could not run \"{}\": {error}", path.display()))?;
        }
        database
            .take_over_threads()
            .map_err(|error| format!("could not start threads: {error}"))?;
        Ok(Server {
            clients: Arc::new(Semaphore::new(config.max_clients)),
            sessions: Arc::default(),
            threads: Handle::current(),
            receive_limits: ReceiveLimits::new(config.recv_max_bytes, config.recv_total_max_bytes),
            database,
            shutdown: watch::Sender::new(false),
            config,
        })
    }

    /// A connection for a new session.
    pub fn connect(&self) -> Result<Connection, EngineError> {
        self.database.connect()
    }

    /// Tells when the server is to stop.
    pub fn shutdown_signal(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    /// Asks everyone to stop.
    pub fn begin_shutdown(&self) {
        self.shutdown.send_replace(true);
    }

    /// DuckDB has met an error after which it answers nothing any more. The process has to be started anew.
    pub fn engine_lost(&self, error: &ServerError) {
        tracing::error!(%error, "DuckDB cannot go on, the server stops");
        self.begin_shutdown();
    }
}

/// DuckDB's notation of the memory limit; a percentage is taken of the machine's memory, or the control group's.
fn memory_limit(text: &str) -> Result<String, String> {
    let Some(percent) = text.trim().strip_suffix('%') else {
        return Ok(text.to_owned());
    };
    let percent: u64 = match percent.trim().parse() {
        Ok(percent @ 1..=100) => percent,
        _ => return Err(format!("invalid memory limit: \"{text}\"")),
    };
    let total = available_memory().ok_or("could not find out how much memory there is")?;
    Ok(format!("{}KiB", total / 1024 * percent / 100))
}

/// Bytes of memory that this process may use.
fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024;
    let limit = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .iter()
    .find_map(|path| {
        std::fs::read_to_string(path)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    });
    Some(limit.map_or(total, |limit| total.min(limit)))
}

/// Loads all extension files of a directory. Some need others, so failures are retried after the rest.
fn load_extensions(connection: &Connection, config: &Config) -> Result<(), String> {
    let Some(directory) = &config.extensions_dir else {
        return Ok(());
    };
    let entries = std::fs::read_dir(directory)
        .map_err(|error| format!("could not read \"{}\": {error}", directory.display()))?;
    let mut open: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "duckdb_extension")
        })
        .collect();
    open.sort();
    while !open.is_empty() {
        let mut failed = Vec::new();
        for path in &open {
            let literal = pgduck_protocol::sql::quote_literal(&path.to_string_lossy());
            match connection.run(&format!("LOAD {literal}")) {
                Ok(()) => tracing::info!(extension = %path.display(), "loaded"),
                Err(error) => failed.push((path.clone(), error)),
            }
        }
        if let Some((path, error)) = failed.first()
            && failed.len() == open.len()
        {
            return Err(format!("could not load \"{}\": {error}", path.display()));
        }
        open = failed.into_iter().map(|(path, _)| path).collect();
    }
    Ok(())
}
