//! A session: the message loop, and the exchange of bytes with the client while a query runs.

use std::sync::Arc;

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{mpsc, watch};

use crate::cancel::{CurrentQuery, Registration};
use crate::duck::Connection;
use crate::errors::{ServerError, sqlstate};
use crate::execution::{self, BUFFERS_IN_FLIGHT, Output, ScriptEnd, Style};
use crate::extended_query::Statements;
use crate::query_control::{AbortReason, QueryControl, shutting_down};
use crate::server::Server;
use crate::session_settings;
use crate::wire::backend::{self, TransactionStatus};
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
        connection: Connection,
        current: Arc<CurrentQuery>,
        registration: Registration,
    ) -> Session {
        let shutdown = server.shutdown_signal();
        Session {
            server,
            reader,
            writer,
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
            } => self.parse(name, query, parameter_oids).await?,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(target) => self.describe(target).await?,
            Message::Execute { portal, max_rows } => self.execute(&portal, max_rows).await?,
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
        self.keep_suspended_portals().await?;
        let sql = command.sql.to_owned();
        let (connection, status) = (self.connection.clone(), self.status);
        let control = QueryControl::new(connection.interrupter());
        let end = self
            .drive(&control, {
                let control = Arc::clone(&control);
                move |output| {
                    execution::run_script(&connection, &control, output, &sql, &style, status)
                }
            })
            .await?;
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

    /// Runs `work` on a blocking thread and moves its output to the client meanwhile. A client that goes away, a
    /// cancel and a shutdown reach the query through `control`; the thread is always waited for.
    pub(crate) async fn drive<R: Send + 'static>(
        &mut self,
        control: &Arc<QueryControl>,
        work: impl FnOnce(&mut Output) -> R + Send + 'static,
    ) -> Result<R, SessionEnd> {
        self.current.set(Some(Arc::clone(control)));
        if *self.shutdown.borrow() {
            control.abort(AbortReason::Shutdown);
        }
        let (sender, mut receiver) = mpsc::channel(BUFFERS_IN_FLIGHT);
        let mut task = tokio::task::spawn_blocking(move || {
            let mut output = Output::new(sender);
            let result = work(&mut output);
            (result, output.into_rest())
        });
        let mut writing: Vec<u8> = Vec::new();
        let mut written = 0;
        let mut lost = false;
        let mut closed = false;
        let finished = loop {
            tokio::select! {
                biased;
                result = &mut task, if writing.is_empty() && receiver.is_empty() => break result,
                wrote = self.writer.write(&writing[written..]), if !writing.is_empty() => {
                    match wrote {
                        Ok(bytes) if bytes > 0 => written += bytes,
                        _ => {
                            lost = true;
                            control.abort(AbortReason::Disconnected);
                            written = writing.len();
                        }
                    }
                    if written == writing.len() {
                        writing.clear();
                        written = 0;
                    }
                }
                Some(buffer) = receiver.recv(), if writing.is_empty() => {
                    if !lost {
                        if self.out.is_empty() {
                            writing = buffer;
                        } else {
                            writing = std::mem::take(&mut self.out);
                            writing.extend_from_slice(&buffer);
                        }
                    }
                }
                more = self.reader.fill(), if !lost && self.reader.may_read_ahead() => {
                    if !matches!(more, Ok(true)) {
                        lost = true;
                        control.abort(AbortReason::Disconnected);
                        receiver.close();
                        closed = true;
                    }
                }
                () = control.wait_until(|control| control.aborted().is_some()), if !closed => {
                    // A thread that waits for room in the channel must hear of it too.
                    receiver.close();
                    closed = true;
                }
            }
        };
        self.current.set(None);
        while let Ok(buffer) = receiver.try_recv() {
            self.out.extend_from_slice(&buffer);
        }
        if lost {
            return Err(SessionEnd::Client);
        }
        match finished {
            Ok((result, rest)) => {
                self.out.extend_from_slice(&rest);
                Ok(result)
            }
            Err(error) => {
                tracing::error!(%error, "a query thread has panicked");
                Err(SessionEnd::Fatal(ServerError::fatal(
                    sqlstate::INTERNAL_ERROR,
                    "internal error in a query thread",
                )))
            }
        }
    }
}
