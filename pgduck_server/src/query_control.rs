//! The life of one running query, as seen by those who may end it early.
//!
//! A query runs on a thread; those who may abort it are on others. They meet here. The point that matters: an
//! interrupt must neither get lost nor come too late. DuckDB forgets an interrupt when a query starts, so an abort that
//! arrives between "not started yet" and "running" is remembered and delivered by the thread itself.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::duck::Interrupter;
use crate::errors::{ServerError, sqlstate};

/// Why a query is ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AbortReason {
    /// A CancelRequest.
    Canceled,
    /// The client is gone.
    Disconnected,
    /// The server is shutting down.
    Shutdown,
    /// The stream that feeds the query has failed.
    Input(ServerError),
}

impl AbortReason {
    /// The error that tells the client.
    pub fn error(&self) -> ServerError {
        match self {
            AbortReason::Canceled => ServerError::new(
                sqlstate::QUERY_CANCELED,
                "canceling statement due to user request",
            ),
            AbortReason::Disconnected => {
                ServerError::fatal(sqlstate::CONNECTION_FAILURE, "connection to client lost")
            }
            AbortReason::Shutdown => shutting_down(),
            AbortReason::Input(error) => error.clone(),
        }
    }
}

/// The error of a session that ends because the server does.
pub fn shutting_down() -> ServerError {
    ServerError::fatal(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    )
}

/// How far the query has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// DuckDB has not started it; an interrupt would be forgotten.
    Preparing,
    /// DuckDB is about to start it; an interrupt might be forgotten.
    Starting,
    /// DuckDB runs it; an interrupt reaches it.
    Running,
    /// DuckDB is done with it; its effect becomes final when its input is complete.
    Waiting,
    /// All is over.
    Ended,
}

/// Whether the stream that feeds the query is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// The query has no such stream, or all of it has come.
    Complete,
    /// More may come.
    Open,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    abort: Option<AbortReason>,
    input: Input,
}

/// Shared between the thread that runs a query and everyone who may abort it.
#[derive(Debug)]
pub struct QueryControl {
    state: Mutex<State>,
    /// Wakes the thread that waits for the end of the input.
    input_changed: Condvar,
    /// Wakes the session's task: aborted, or another phase.
    changed: Notify,
    interrupter: Interrupter,
}

impl QueryControl {
    /// For a query without an input stream.
    pub fn new(interrupter: Interrupter) -> Arc<QueryControl> {
        QueryControl::with_input(interrupter, Input::Complete)
    }

    /// For a query whose input stream is open.
    pub fn with_open_input(interrupter: Interrupter) -> Arc<QueryControl> {
        QueryControl::with_input(interrupter, Input::Open)
    }

    fn with_input(interrupter: Interrupter, input: Input) -> Arc<QueryControl> {
        Arc::new(QueryControl {
            state: Mutex::new(State {
                phase: Phase::Preparing,
                abort: None,
                input,
            }),
            input_changed: Condvar::new(),
            changed: Notify::new(),
            interrupter,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a few words that are always consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the query early. The first reason stays; later calls repeat the interrupt.
    pub fn abort(&self, reason: AbortReason) {
        let mut state = self.lock();
        state.abort.get_or_insert(reason);
        if state.phase == Phase::Running {
            self.interrupter.interrupt();
        }
        drop(state);
        self.input_changed.notify_all();
        self.changed.notify_waiters();
    }

    /// Why the query is to end early, if it is.
    pub fn aborted(&self) -> Option<AbortReason> {
        self.lock().abort.clone()
    }

    /// How far the query has come.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Whether the stream that feeds the query is still open.
    pub fn input_is_open(&self) -> bool {
        self.lock().input == Input::Open
    }

    /// The stream that feeds the query has come to its proper end.
    pub fn input_complete(&self) {
        self.lock().input = Input::Complete;
        self.input_changed.notify_all();
    }

    /// Resolves when the query is aborted or enters another phase, unless that happened before `is_due` is asked.
    pub async fn wait_until(&self, is_due: impl Fn(&QueryControl) -> bool) {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if is_due(self) {
                return;
            }
            notified.await;
        }
    }

    /// For the thread: DuckDB is about to start a statement.
    pub fn enter_starting(&self) -> Result<(), ServerError> {
        self.enter(Phase::Starting)
    }

    /// For the thread: DuckDB has started the statement. An abort that came meanwhile is delivered now.
    pub fn enter_running(&self) {
        let mut state = self.lock();
        state.phase = Phase::Running;
        if state.abort.is_some() {
            self.interrupter.interrupt();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// For the thread: DuckDB is done with the statement (another one may follow).
    pub fn leave_running(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.notify_waiters();
    }

    fn enter(&self, phase: Phase) -> Result<(), ServerError> {
        let mut state = self.lock();
        if let Some(reason) = &state.abort {
            return Err(reason.error());
        }
        state.phase = phase;
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// For the thread: waits until the input is complete. Only after that may the query's effect become final and
    /// its result be sent.
    pub fn wait_for_input(&self) -> Result<(), ServerError> {
        let mut state = self.lock();
        loop {
            if let Some(reason) = &state.abort {
                return Err(reason.error());
            }
            if state.input == Input::Complete {
                return Ok(());
            }
            state = self
                .input_changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
