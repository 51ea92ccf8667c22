//! `RECEIVE`: a query whose input is streamed by the client.
//!
//! 1. The query is checked: one statement, the placeholder once, and it must prepare. Then CopyInResponse.
//! 2. The first block is gathered. A stream that ends within it is a file in memory.
//! 3. A longer stream is fed to the running query through a pipe, as fast as the query reads. The socket is read no
//!    faster than that: backpressure is the socket's.
//! 4. CopyDone closes the pipe, which is the query's end of input. Nothing else ever does while the query runs: a
//!    stream that is cut at a row's end must not become a shorter, successful file. After a failure the query is
//!    interrupted, and the pipe is kept filled until the query has ended.

use std::sync::Arc;

use pgduck_protocol::FIRST_BLOCK_BYTES;
use pgduck_protocol::placeholder::Placeholder;
use tokio::net::unix::pipe;

use crate::copy_in::{CopyEvent, CopyIn};
use crate::errors::{ServerError, sqlstate};
use crate::execution::{self, ScriptEnd, Style};
use crate::output::Output;
use crate::query_control::{AbortReason, Phase, QueryControl};
use crate::receive_input::ReceiveInput;
use crate::receive_query::{Feed, Run, check};
use crate::receive_quota::ReceiveShare;
use crate::session::{Session, SessionEnd, query_has_panicked};
use crate::wire::backend;

/// Payload that is gathered before it is written to the pipe.
const BLOCK_BYTES: usize = 256 << 10;

/// What is written into the pipe of a query that is being aborted, to wake a thread that waits for data.
/// No dialect of ours accepts such a line, and the end of the input never follows.
const FILLER: &[u8] = &{
    let mut filler = [0xff_u8; 16 << 10];
    let mut at = 63;
    while at < filler.len() {
        filler[at] = b'\n';
        at += 64;
    }
    filler
};

/// The client's stream.
struct Stream {
    copy: CopyIn,
    share: ReceiveShare,
}

/// How the client's stream has ended.
enum StreamEnd {
    /// With CopyDone.
    Complete,
    /// In any other way.
    Failed(AbortReason),
    /// Nobody wants the rest: the query has failed.
    Unwanted,
}

impl Session {
    /// Runs a RECEIVE query.
    pub(crate) async fn receive(&mut self, sql: &str, style: Style) -> Result<(), SessionEnd> {
        self.keep_suspended_portals()?;
        let mut input = match ReceiveInput::new() {
            Ok(input) => input,
            Err(error) => return self.refuse(input_error("create a file in memory", &error)),
        };
        let query = match Placeholder::find(sql) {
            Ok(found) => found.replace(&input.path()),
            Err(error) => {
                let error = ServerError::new(sqlstate::SYNTAX_ERROR, error.to_string()).with_hint(
                    "The string literal '@@PG_LAKE_RECV@@' stands for the streamed input, once.",
                );
                return self.refuse(error);
            }
        };
        let connection = self.connection.clone();
        let control = QueryControl::with_open_input(connection.interrupter());
        let checked = self.drive(&control, |_| check(&connection, sql, &query))?;
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => return self.refuse(execution::explain(error, &control)),
        };
        backend::copy_in_response(&mut self.out);
        self.flush().await?;

        self.current.set(Some(Arc::clone(&control)));
        let mut stream = Stream {
            copy: CopyIn::default(),
            share: self.server.receive_limits.open_stream(),
        };
        let mut first = Vec::new();
        let end = self
            .gather(&control, &mut stream, &mut first, FIRST_BLOCK_BYTES)
            .await;
        let run = Run {
            connection: self.connection.clone(),
            checked,
            query,
            style,
            status: self.status,
        };
        let end = match end? {
            Some(StreamEnd::Failed(reason)) => Err(reason),
            Some(StreamEnd::Complete | StreamEnd::Unwanted) => match input.append(&first) {
                Ok(()) => Ok(self.run_complete(&control, run)?),
                Err(error) => Err(AbortReason::Input(input_error(
                    "write the input in memory",
                    &error,
                ))),
            },
            None if run.checked.feed == Feed::Pipe => match input.become_pipe() {
                Ok(pipe) => Ok(self
                    .run_piped(&control, run, &mut stream, first, pipe)
                    .await?),
                Err(error) => Err(AbortReason::Input(input_error("create a pipe", &error))),
            },
            None => match self
                .gather_file(&control, &mut stream, first, &mut input)
                .await?
            {
                StreamEnd::Complete | StreamEnd::Unwanted => Ok(self.run_complete(&control, run)?),
                StreamEnd::Failed(reason) => Err(reason),
            },
        };
        self.current.set(None);
        drop(input);
        self.reader.skip(stream.copy.unfinished());
        match end {
            Ok(end) => self.finish_simple(end),
            Err(reason) => self.refuse(reason.error()),
        }
    }

    /// Ends a RECEIVE that has not run.
    fn refuse(&mut self, error: ServerError) -> Result<(), SessionEnd> {
        self.fail(&error)?;
        self.ready();
        Ok(())
    }

    /// Takes payload from the client until `block` holds `limit` bytes (`None`) or the stream ends.
    async fn gather(
        &mut self,
        control: &QueryControl,
        stream: &mut Stream,
        block: &mut Vec<u8>,
        limit: usize,
    ) -> Result<Option<StreamEnd>, SessionEnd> {
        loop {
            if let Some(end) = self.take_payload(stream, block, limit) {
                return match end {
                    StreamEnd::Failed(AbortReason::Disconnected) => Err(SessionEnd::Client),
                    end => Ok(Some(end)),
                };
            }
            if block.len() >= limit {
                return Ok(None);
            }
            tokio::select! {
                more = self.reader.fill() => {
                    if !matches!(more, Ok(true)) {
                        return Err(SessionEnd::Client);
                    }
                }
                () = control.wait_until(|control| control.aborted().is_some()) => {}
                _ = self.shutdown.changed() => control.abort(AbortReason::Shutdown),
            }
            if let Some(reason) = control.aborted() {
                return Ok(Some(StreamEnd::Failed(reason)));
            }
        }
    }

    /// De-frames what has come. An end of the stream is returned.
    fn take_payload(
        &mut self,
        stream: &mut Stream,
        block: &mut Vec<u8>,
        limit: usize,
    ) -> Option<StreamEnd> {
        let Stream { copy, share } = stream;
        let taken = copy.take(self.reader.pending(), block, limit);
        let failed = |error| Some(StreamEnd::Failed(AbortReason::Input(error)));
        let (used, event) = match taken {
            Ok(taken) => taken,
            Err(error) => return failed(error),
        };
        self.reader.consume(used);
        if let Err(error) = share.grow_to(copy.total()) {
            return failed(error);
        }
        match event {
            CopyEvent::More => None,
            CopyEvent::Done => Some(StreamEnd::Complete),
            CopyEvent::Failed(message) => failed(ServerError::new(
                sqlstate::QUERY_CANCELED,
                format!("COPY from stdin failed: {message}"),
            )),
            CopyEvent::Unexpected(kind) => failed(ServerError::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!("unexpected message type 0x{kind:02X} during COPY from stdin"),
            )),
            CopyEvent::Terminated => Some(StreamEnd::Failed(AbortReason::Disconnected)),
        }
    }

    /// Takes the rest of a stream into a file without a name.
    async fn gather_file(
        &mut self,
        control: &QueryControl,
        stream: &mut Stream,
        first: Vec<u8>,
        input: &mut ReceiveInput,
    ) -> Result<StreamEnd, SessionEnd> {
        let failed = |error: &std::io::Error| {
            let directory = &self.server.config.recv_dir;
            Ok(StreamEnd::Failed(AbortReason::Input(ServerError::io(
                "write a RECEIVE stream in",
                directory,
                error,
            ))))
        };
        if let Err(error) = input.become_file(&self.server.config.recv_dir) {
            return failed(&error);
        }
        let mut block = first;
        loop {
            // The page cache takes these writes at memory speed.
            if let Err(error) = input.append(&block) {
                let directory = self.server.config.recv_dir.clone();
                return Ok(StreamEnd::Failed(AbortReason::Input(ServerError::io(
                    "write a RECEIVE stream in",
                    &directory,
                    &error,
                ))));
            }
            block.clear();
            if let Some(end) = self
                .gather(control, stream, &mut block, FIRST_BLOCK_BYTES)
                .await?
            {
                if let Err(error) = input.append(&block) {
                    return Ok(StreamEnd::Failed(AbortReason::Input(input_error(
                        "write a RECEIVE stream",
                        &error,
                    ))));
                }
                return Ok(end);
            }
        }
    }

    /// Runs the query on a stream that is complete.
    fn run_complete(
        &mut self,
        control: &Arc<QueryControl>,
        run: Run,
    ) -> Result<ScriptEnd, SessionEnd> {
        control.input_complete();
        self.drive(control, |output| run.run(control, output))
    }

    /// Runs the query while the stream comes in.
    async fn run_piped(
        &mut self,
        control: &Arc<QueryControl>,
        run: Run,
        stream: &mut Stream,
        first: Vec<u8>,
        pipe: pipe::Sender,
    ) -> Result<ScriptEnd, SessionEnd> {
        let shared = Arc::clone(control);
        let mut task = self.server.threads.spawn_blocking(move || {
            // The result is small, and goes to the client when the stream is over.
            let mut output = Output::kept();
            let end = run.run(&shared, &mut output);
            shared.leave_running(Phase::Ended);
            (end, output.into_rest())
        });
        let lost = match self.feed(control, stream, first, &pipe).await {
            Ok(StreamEnd::Complete | StreamEnd::Unwanted) => {
                control.input_complete();
                drop(pipe);
                false
            }
            Ok(StreamEnd::Failed(reason)) => {
                let lost = reason == AbortReason::Disconnected;
                control.abort(reason);
                fill_until_ended(control, &pipe).await;
                lost
            }
            Err(_) => {
                control.abort(AbortReason::Disconnected);
                fill_until_ended(control, &pipe).await;
                true
            }
        };
        // The stream is over. What the query still does takes its time, and the client may leave or cancel.
        let finished = loop {
            tokio::select! {
                biased;
                result = &mut task => break result,
                more = self.reader.fill(), if self.reader.may_read_ahead() && !lost => {
                    if !matches!(more, Ok(true)) {
                        control.abort(AbortReason::Disconnected);
                    }
                }
            }
        };
        if lost || control.aborted() == Some(AbortReason::Disconnected) {
            return Err(SessionEnd::Client);
        }
        match finished {
            Ok((end, rest)) => {
                self.out.extend_from_slice(&rest);
                Ok(end)
            }
            Err(_) => Err(query_has_panicked()),
        }
    }

    /// Moves the stream from the socket to the pipe until it ends. If the query fails first, the rest of the stream is
    /// left to the message loop, which drops it; if it has its result first, the rest is read and dropped here, since
    /// only CopyDone makes the result final.
    async fn feed(
        &mut self,
        control: &QueryControl,
        stream: &mut Stream,
        first: Vec<u8>,
        pipe: &pipe::Sender,
    ) -> Result<StreamEnd, SessionEnd> {
        let mut block = first;
        let mut written = 0;
        let mut complete = false;
        loop {
            if let Some(reason) = control.aborted() {
                return Ok(StreamEnd::Failed(reason));
            }
            let phase = control.phase();
            match phase {
                Phase::Ended => return Ok(StreamEnd::Unwanted),
                Phase::Waiting => written = block.len(),
                _ => {}
            }
            if written == block.len() {
                if complete {
                    return Ok(StreamEnd::Complete);
                }
                block.clear();
                written = 0;
                match self.take_payload(stream, &mut block, BLOCK_BYTES) {
                    Some(StreamEnd::Complete) => complete = true,
                    Some(end) => return Ok(end),
                    None => {}
                }
                if complete || !block.is_empty() {
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = pipe_is_writable(pipe), if written < block.len() => {
                    match pipe.try_write(&block[written..]) {
                        Ok(bytes) => written += bytes,
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(error) => return Ok(StreamEnd::Failed(AbortReason::Input(
                            input_error("write to a pipe", &error),
                        ))),
                    }
                }
                more = self.reader.fill(),
                    if !complete && (block.is_empty() || self.reader.may_read_ahead()) =>
                {
                    if !matches!(more, Ok(true)) {
                        return Ok(StreamEnd::Failed(AbortReason::Disconnected));
                    }
                }
                () = control.wait_until(|control| {
                    control.aborted().is_some() || control.phase() > phase
                }) => {}
            }
        }
    }
}

/// Resolves when the pipe takes data; an error counts, the write reports it.
async fn pipe_is_writable(pipe: &pipe::Sender) {
    let _ = pipe.writable().await;
}

/// Keeps an aborted query from waiting for data, without ever letting it see the end of its input.
async fn fill_until_ended(control: &QueryControl, pipe: &pipe::Sender) {
    while control.phase() != Phase::Ended {
        if let Some(reason) = control.aborted() {
            control.abort(reason);
        }
        tokio::select! {
            () = control.wait_until(|control| control.phase() == Phase::Ended) => {}
            () = pipe_is_writable(pipe) => {
                if pipe.try_write(FILLER).is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
            // A busy query does not read: interrupt it again, it may have started only now.
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
        }
    }
}

/// An error on the way of the input.
fn input_error(what: &str, error: &std::io::Error) -> ServerError {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull => sqlstate::DISK_FULL,
        std::io::ErrorKind::OutOfMemory => sqlstate::OUT_OF_MEMORY,
        _ => sqlstate::IO_ERROR,
    };
    ServerError::new(code, format!("could not {what}: {error}"))
}
