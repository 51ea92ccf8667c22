//! `pgduck_server`: DuckDB behind the PostgreSQL protocol, with `RECEIVE` and `TRANSMIT`.
//!
//! # Layout
//!
//! | module | what |
//! |---|---|
//! | [`cli`], [`server`], [`listener`] | command line, shared state, sockets |
//! | [`startup`], [`session_thread`], [`session`] | from the first byte to the message loop |
//! | [`execution`], [`result_rows`], [`output`] | runs statements, encodes their rows, sends them |
//! | [`extended_query`], [`parameters`] | prepared statements, portals, values |
//! | [`receive_pipeline`], [`receive_query`], [`copy_in`], [`receive_input`], [`receive_quota`] | `RECEIVE`: a query fed by the client |
//! | [`query_control`], [`cancel`] | ending a query early, without losing an interrupt |
//! | [`copy_target`] | local targets of `COPY … TO`: directories, durability, no leftovers |
//! | [`statement_text`], [`command_tag`], [`session_settings`] | what the SQL text tells |
//! | [`errors`] | SQLSTATEs |
//! | [`wire`] | the protocol's bytes |
//! | [`encode`] | DuckDB's columns to PostgreSQL's rows |
//! | [`duck`], [`sys`] | DuckDB's C interface and system calls, as safe types; the only `unsafe` |

mod cancel;
mod cli;
mod command_tag;
mod copy_in;
mod copy_target;
mod duck;
mod encode;
mod errors;
mod execution;
mod extended_query;
mod listener;
mod output;
mod parameters;
mod query_control;
mod receive_input;
mod receive_pipeline;
mod receive_query;
mod receive_quota;
mod result_rows;
mod server;
mod session;
mod session_settings;
mod session_thread;
mod startup;
mod statement_text;
mod sys;
mod wire;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Config;
use crate::listener::Listeners;
use crate::query_control::AbortReason;
use crate::server::Server;

/// How long running queries are waited for after they were interrupted.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// How often the server looks for clients that have gone away while their query runs.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let config = match Config::from_command_line(std::env::args()) {
        Ok(config) => config,
        Err(error) => error.exit(),
    };
    if config.check_cli_params_only {
        return ExitCode::SUCCESS;
    }
    start_log(&config);
    // What the server writes is for its owner only.
    sys::set_umask(0o077);
    sys::raise_open_file_limit();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tracing::error!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error.
fn start_log(config: &Config) {
    let level = match (config.debug, config.verbose) {
        (true, _) => "debug",
        (false, true) => "info",
        (false, false) => "pgduck_server=info,warn",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

/// Opens everything, serves, and closes everything.
fn run(config: Config) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A session that feeds a query by a stream, or sends a large result, holds a thread of this pool besides its
        // own. All have to advance, so the pool must not be smaller than the number of clients.
        .max_blocking_threads(config.max_clients.saturating_add(64))
        .build()
        .map_err(|error| format!("could not start: {error}"))?;
    let pidfile = config.pidfile.clone();
    let served = runtime.block_on(serve(config));
    if let Some(path) = &pidfile {
        let _ = std::fs::remove_file(path);
    }
    // Threads that did not end in time are left behind: the process ends.
    runtime.shutdown_timeout(Duration::from_millis(100));
    served
}

/// Serves until a signal comes.
async fn serve(config: Config) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let server = Arc::new(Server::open(config)?);
    let listeners = Listeners::open(&server.config).await?;
    if let Some(path) = &server.config.pidfile {
        std::fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|error| format!("could not write \"{}\": {error}", path.display()))?;
    }
    tracing::info!(
        duckdb = duck::library_version(),
        places = listeners.places().join(", "),
        "ready to accept connections"
    );
    let mut lost = server.shutdown_signal();
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("received SIGTERM, shutting down"),
            _ = interrupt.recv() => tracing::info!("received SIGINT, shutting down"),
            _ = lost.wait_for(|stop| *stop) => {}
        }
        server.begin_shutdown();
    };
    let watch = tokio::spawn(watch_clients(Arc::clone(&server)));
    tokio::join!(listeners.accept_clients(&server), stop);
    let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
    while server.sessions.count() > 0 && Instant::now() < deadline {
        // Repeated, since a session may have started another query in between.
        server.sessions.abort_all(&AbortReason::Shutdown);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watch.abort();
    Ok(())
}

/// Ends the queries of clients that have gone away.
async fn watch_clients(server: Arc<Server>) {
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        server.sessions.abort_abandoned();
    }
}
