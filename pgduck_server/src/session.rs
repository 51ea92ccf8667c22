//! A session: the message loop. Each session has a thread of its own, on which its queries run as well: a small query
//! does not wait for threads to wake each other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::watch;

use crate::cancel::{CurrentQuery, Registration};
use crate::duck::Connection;
use crate::errors::{ServerError, sqlstate};
use crate::execution::{self, ScriptEnd, Style};
use crate::extended_query::Statements;
use crate::output::Output;
use crate::query_control::{AbortReason, QueryControl, shutting_down};
use crate::server::Server;
use crate::session_settings;
use crate::wire::backend::{self, TransactionStatus};
use crate::wire::client_socket::ClientSocket;
use crate::wire::frontend::Message;
use crate::wire::reader::{MessageReader, ReadError};
use crate::wire::transport::Transport;

/// Responses are sent when this much has gathered, or when the client waits for them.
const FLUSH_BYTES: usize = 64 << 10;

/// How a session ends.
#[derive(Debug)]
pub enum SessionEnd {
    /// The client said goodbye, or is gone.
    Client,
    /// With an error that the client is told.
    Fatal(ServerError),
}

impl From<ReadError> for SessionEnd {
    fn from(error: ReadError) -> SessionEnd {
        match error {
            ReadError::Socket(_) => SessionEnd::Client,
            ReadError::Protocol(error) => SessionEnd::Fatal(error),
        }
    }
}

/// One client's session.
pub struct Session {
    pub(crate) server: Arc<Server>,
    pub(crate) reader: MessageReader,
    writer: WriteHalf<Transport>,
    socket: Arc<ClientSocket>,
    /// Encoded messages that have not been sent.
    pub(crate) out: Vec<u8>,
    pub(crate) connection: Connection,
    pub(crate) status: TransactionStatus,
    pub(crate) statements: Statements,
    pub(crate) current: Arc<CurrentQuery>,
    pub(crate) shutdown: watch::Receiver<bool>,
    /// After an error in the extended protocol: everything up to Sync is ignored.
    skip_to_sync: bool,
    /// Keeps the session's place among those that can be cancelled.
    registration: Registration,
}

impl Session {
    /// A session after a successful start-up.
    pub fn new(
        server: Arc<Server>,
        reader: MessageReader,
        writer: WriteHalf<Transport>,
        socket: Arc<ClientSocket>,
        connection: Connection,
        current: Arc<CurrentQuery>,
        registration: Registration,
    ) -> Session {
        let shutdown = server.shutdown_signal();
        Session {
            server,
            reader,
            writer,
            socket,
            out: Vec::new(),
            connection,
            status: TransactionStatus::Idle,
            statements: Statements::default(),
            current,
            shutdown,
            skip_to_sync: false,
            registration,
        }
    }

    /// Appends what a client is told at the start.
    pub fn welcome(&mut self, server_version: &str, application_name: &str) {
        let key = self.registration.key;
        backend::authentication_ok(&mut self.out);
        for (name, value) in [
            ("server_version", server_version),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("application_name", application_name),
            ("DateStyle", "ISO, MDY"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "UTC"),
            ("integer_datetimes", "on"),
            ("standard_conforming_strings", "on"),
            ("extra_float_digits", "1"),
        ] {
            backend::parameter_status(&mut self.out, name, value);
        }
        backend::backend_key_data(&mut self.out, key.pid, key.secret);
        self.ready();
    }

    /// Runs the session to its end.
    pub async fn run(mut self) {
        let end = self.message_loop().await;
        if let SessionEnd::Fatal(error) = end {
            backend::error_response(&mut self.out, &error);
            // The session ends either way; a client that does not read is not waited for.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), self.flush()).await;
        }
        let _ = self.writer.shutdown().await;
    }

    /// Answers messages until the session ends.
    async fn message_loop(&mut self) -> SessionEnd {
        loop {
            match self.next_message().await {
                Ok(message) => {
                    if let Err(end) = self.answer(message).await {
                        return end;
                    }
                }
                Err(end) => return end,
            }
        }
    }

    /// The next message; responses are sent before the session waits for the client.
    async fn next_message(&mut self) -> Result<Result<Message, ServerError>, SessionEnd> {
        let raw = match self.reader.buffered_message().map_err(SessionEnd::Fatal)? {
            Some(raw) => raw,
            None => {
                self.flush().await?;
                if *self.shutdown.borrow() {
                    return Err(SessionEnd::Fatal(shutting_down()));
                }
                tokio::select! {
                    message = self.reader.message() => message?.ok_or(SessionEnd::Client)?,
                    _ = self.shutdown.changed() => return Err(SessionEnd::Fatal(shutting_down())),
                }
            }
        };
        Ok(Message::decode(raw))
    }

    /// Answers one message.
    async fn answer(&mut self, message: Result<Message, ServerError>) -> Result<(), SessionEnd> {
        let message = match message {
            Ok(message) => message,
            Err(error) if error.is_fatal() => return Err(SessionEnd::Fatal(error)),
            Err(error) => {
                // Text that is not UTF-8: the message was whole, the session can go on.
                self.fail(&error)?;
                self.ready();
                return Ok(());
            }
        };
        if self.out.len() >= FLUSH_BYTES {
            self.flush().await?;
        }
        if self.skip_to_sync && !matches!(message, Message::Sync | Message::Terminate) {
            return Ok(());
        }
        let answered = match message {
            Message::Query(sql) => {
                self.simple_query(sql).await?;
                return Ok(());
            }
            Message::Parse {
                name,
                query,
                parameter_oids,
            } => self.parse(name, query, parameter_oids)?,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(target) => self.describe(target)?,
            Message::Execute { portal, max_rows } => self.execute(&portal, max_rows)?,
            Message::Close(target) => {
                self.close(&target);
                Ok(())
            }
            Message::Flush => {
                self.flush().await?;
                Ok(())
            }
            Message::Sync => {
                self.skip_to_sync = false;
                self.statements.sync();
                if self.status == TransactionStatus::Idle {
                    self.statements.drop_portals();
                }
                self.ready();
                Ok(())
            }
            Message::Terminate => return Err(SessionEnd::Client),
            // What is left of a COPY stream that has failed.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(()),
            Message::FunctionCall => {
                let error = ServerError::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "function calls of the fast-path protocol are not supported",
                );
                self.fail(&error)?;
                self.ready();
                return Ok(());
            }
            Message::Password => Err(ServerError::protocol("unexpected password message")),
        };
        if let Err(error) = answered {
            self.skip_to_sync = true;
            self.fail(&error)?;
        }
        Ok(())
    }

    /// Tells the client about an error; a fatal one ends the session.
    pub(crate) fn fail(&mut self, error: &ServerError) -> Result<(), SessionEnd> {
        if error.engine_is_lost {
            self.server.engine_lost(error);
        }
        if error.is_fatal() {
            return Err(SessionEnd::Fatal(error.clone()));
        }
        backend::error_response(&mut self.out, error);
        Ok(())
    }

    /// Appends `ReadyForQuery`.
    pub(crate) fn ready(&mut self) {
        backend::ready_for_query(&mut self.out, self.status);
    }

    /// Runs a simple query.
    async fn simple_query(&mut self, query: String) -> Result<(), SessionEnd> {
        self.statements.forget_unnamed();
        let command = pgduck_protocol::command::parse(&query);
        let style = if command.transmit {
            Style::Transmit
        } else {
            Style::Rows
        };
        if command.receive {
            return self.receive(command.sql, style).await;
        }
        if session_settings::is_client_setting(command.sql) {
            backend::command_complete(&mut self.out, "SET");
            self.ready();
            return Ok(());
        }
        self.keep_suspended_portals()?;
        let (connection, status) = (self.connection.clone(), self.status);
        let control = QueryControl::new(connection.interrupter());
        let end = self.drive(&control, |output| {
            execution::run_script(&connection, &control, output, command.sql, &style, status)
        })?;
        self.finish_simple(end)
    }

    /// Ends a simple query: the error, if there was one, and `ReadyForQuery`.
    pub(crate) fn finish_simple(&mut self, end: ScriptEnd) -> Result<(), SessionEnd> {
        self.status = end.status;
        if let Some(error) = end.error {
            self.fail(&error)?;
        }
        self.ready();
        Ok(())
    }

    /// Sends all that is encoded.
    pub(crate) async fn flush(&mut self) -> Result<(), SessionEnd> {
        if !self.out.is_empty() {
            self.writer
                .write_all(&self.out)
                .await
                .map_err(|_| SessionEnd::Client)?;
            self.out.clear();
            if self.out.capacity() > 4 * FLUSH_BYTES {
                self.out = Vec::new();
            }
        }
        Ok(())
    }

    /// Runs `work` on this thread, which is the session's own. A cancel, a shutdown and a client that goes away reach
    /// the query through `control`, from other threads; see [`crate::cancel::Sessions`].
    pub(crate) fn drive<R>(
        &mut self,
        control: &Arc<QueryControl>,
        work: impl FnOnce(&mut Output) -> R,
    ) -> Result<R, SessionEnd> {
        self.current.set(Some(Arc::clone(control)));
        if *self.shutdown.borrow() {
            control.abort(AbortReason::Shutdown);
        }
        let mut output = Output::to_client(
            std::mem::take(&mut self.out),
            Arc::clone(&self.socket),
            self.server.threads.clone(),
        );
        let connection = self.connection.clone();
        let _query = connection.query();
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut output)));
        self.out = output.into_rest();
        self.current.set(None);
        if control.aborted() == Some(AbortReason::Disconnected) {
            return Err(SessionEnd::Client);
        }
        result.map_err(|_| query_has_panicked())
    }
}

/// The end of a session whose query has panicked; the panic itself is in the log.
pub(crate) fn query_has_panicked() -> SessionEnd {
    SessionEnd::Fatal(ServerError::fatal(
        sqlstate::INTERNAL_ERROR,
        "internal error in a query",
    ))
}
