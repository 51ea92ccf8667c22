//! Running statements: DuckDB's work and the encoding of its rows, on one thread, so that rows go from DuckDB's columns
//! to the bytes of the wire without a stop.

use std::sync::Arc;

use crate::command_tag;
use crate::copy_target::CopyTarget;
use crate::duck::{Chunk, Connection, Kind, Prepared, Produces, QueryResult};
use crate::encode::{self, Format};
use crate::errors::ServerError;
use crate::output::{BUFFER_BYTES, Output};
use crate::query_control::{Phase, QueryControl};
use crate::result_rows::{RowCounter, describe};
use crate::statement_text::{StatementText, StatementTexts};
use crate::wire::backend::{self, TransactionStatus};

/// How a result goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Style {
    /// `RowDescription` and `DataRow`, in text.
    Rows,
    /// `DataRow` only, in the formats that Bind asked for: the extended protocol describes elsewhere.
    Portal(Vec<Format>),
    /// `CopyOutResponse` and `CopyData`, in CSV.
    Transmit,
}

/// What a query string has come to: the transaction's state after it, and the error that ended it early.
#[derive(Debug)]
pub struct ScriptEnd {
    /// State of the transaction.
    pub status: TransactionStatus,
    /// The error, if there was one.
    pub error: Option<ServerError>,
}

/// Runs all statements of a query string; appends their results, and `EmptyQueryResponse` if there are none.
pub fn run_script(
    connection: &Connection,
    control: &Arc<QueryControl>,
    output: &mut Output,
    sql: &str,
    style: &Style,
    status: TransactionStatus,
) -> ScriptEnd {
    let mut status = status;
    let mut run = || -> Result<(), ServerError> {
        let script = connection.parse(sql)?;
        if script.len() == 0 {
            backend::empty_query_response(output.buffer());
            return Ok(());
        }
        let mut texts = StatementTexts::of(sql);
        for index in 0..script.len() {
            let prepared = script.prepare(index)?;
            let text = texts.next_of(prepared.kind());
            let tag = run_to_end(
                connection,
                (&prepared, Plan::Fresh),
                text,
                control,
                output,
                style,
                &mut status,
            )?;
            backend::command_complete(output.buffer(), &tag);
        }
        Ok(())
    };
    let error = run().err().map(|error| explain(error, control));
    if error.is_some() {
        status = status_after_error(connection, status);
    }
    ScriptEnd { status, error }
}

/// An abort explains every error that follows from it.
pub fn explain(error: ServerError, control: &QueryControl) -> ServerError {
    match control.aborted() {
        Some(reason) if !error.engine_is_lost => reason.error(),
        _ => error,
    }
}

/// The transaction's state after an error: DuckDB fails the transaction for some errors only, and tells when asked.
pub fn status_after_error(connection: &Connection, status: TransactionStatus) -> TransactionStatus {
    match status {
        TransactionStatus::Idle => TransactionStatus::Idle,
        _ if connection.run("SELECT 1").is_err() => TransactionStatus::Failed,
        _ => TransactionStatus::Open,
    }
}

/// Runs one statement to its end and returns its command tag.
pub fn run_to_end(
    connection: &Connection,
    (prepared, plan): (&Prepared, Plan),
    text: Option<StatementText>,
    control: &Arc<QueryControl>,
    output: &mut Output,
    style: &Style,
    status: &mut TransactionStatus,
) -> Result<String, ServerError> {
    let kind = prepared.kind();
    if let Some(tag) = end_failed_transaction(connection, text.as_ref(), status)? {
        return Ok(tag);
    }
    let target = match text.as_ref().and_then(|text| text.copy_to.as_deref()) {
        Some(target) => CopyTarget::prepare(target)?,
        None => None,
    };
    let outcome = execute(prepared, plan, control, output, style);
    control.leave_running(Phase::Preparing);
    let count = match (outcome, &target) {
        (Ok(count), None) => count,
        (Ok(count), Some(target)) => {
            target.sync().inspect_err(|_| target.remove_leftovers())?;
            count
        }
        (Err(error), target) => {
            if let Some(target) = target {
                target.remove_leftovers();
            }
            if kind == Kind::Transaction && is_end(text.as_ref()) {
                // A failed COMMIT has ended the transaction as well.
                *status = TransactionStatus::Idle;
            }
            return Err(error);
        }
    };
    if kind == Kind::Transaction {
        *status = match is_end(text.as_ref()) {
            true => TransactionStatus::Idle,
            false => TransactionStatus::Open,
        };
    }
    Ok(command_tag::of(kind, text.as_ref(), count))
}

/// Whether the statement ends a transaction.
fn is_end(text: Option<&StatementText>) -> bool {
    text.is_some_and(|text| matches!(text.verb.as_str(), "commit" | "end" | "rollback" | "abort"))
}

/// `COMMIT` of a failed transaction rolls it back, as in PostgreSQL.
pub fn end_failed_transaction(
    connection: &Connection,
    text: Option<&StatementText>,
    status: &mut TransactionStatus,
) -> Result<Option<String>, ServerError> {
    let commits = text.is_some_and(|text| matches!(text.verb.as_str(), "commit" | "end"));
    if !commits || *status != TransactionStatus::Failed {
        return Ok(None);
    }
    connection.run("ROLLBACK")?;
    *status = TransactionStatus::Idle;
    Ok(Some("ROLLBACK".to_owned()))
}

/// Which plan a statement runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// The one that was made when it was prepared, just now.
    Fresh,
    /// If it reads files, a new one.
    New,
}

/// Starts a statement in the way that keeps aborts from getting lost, and runs it until it has a result to read.
pub fn start(
    prepared: &Prepared,
    plan: Plan,
    control: &QueryControl,
) -> Result<QueryResult, ServerError> {
    control.enter_starting()?;
    let started = match plan {
        Plan::Fresh => prepared.start_fresh(),
        Plan::New => prepared.start(),
    };
    let pending = started.inspect_err(|_| control.leave_running(Phase::Preparing))?;
    control.enter_running();
    Ok(pending.execute()?)
}

/// Runs one statement and sends its rows; returns how many it returned or changed.
fn execute(
    prepared: &Prepared,
    plan: Plan,
    control: &Arc<QueryControl>,
    output: &mut Output,
    style: &Style,
) -> Result<u64, ServerError> {
    let streamed_input = control.input_is_open();
    let mut result = start(prepared, plan, control)?;
    let produces = result.produces();
    let mut early = Vec::new();
    if streamed_input {
        // The result is small (one row per file). It must not be sent, and the query's effect not be final,
        // before the client has said that its stream is complete.
        while let Some(chunk) = result.next_chunk()? {
            early.push(chunk);
        }
        control.leave_running(Phase::Waiting);
        control.wait_for_input()?;
    }
    let columns = result.columns();
    let mut chunks = Chunks {
        early: early.into_iter(),
        rest: (!streamed_input).then_some(result),
    };
    match produces {
        Produces::Nothing => {
            while chunks.next()?.is_some() {}
            Ok(0)
        }
        Produces::Count => {
            let mut count = 0;
            while let Some(chunk) = chunks.next()? {
                count += changed_rows(&chunk);
            }
            Ok(count)
        }
        Produces::Rows => {
            let formats = if let Style::Portal(formats) = style {
                formats.as_slice()
            } else {
                &[]
            };
            let columns = describe(columns, formats)?;
            let mut counter = RowCounter::new(prepared.kind(), &columns);
            match style {
                Style::Rows => backend::row_description(output.buffer(), &columns),
                Style::Portal(_) => {}
                Style::Transmit => backend::copy_out_response(output.buffer(), columns.len()),
            }
            while let Some(chunk) = chunks.next()? {
                counter.add(&chunk);
                let mut from = 0;
                while from < chunk.rows() {
                    let out = output.buffer();
                    match style {
                        Style::Rows | Style::Portal(_) => {
                            let to = chunk.rows();
                            from =
                                encode::data_rows(&chunk, from, to, &columns, BUFFER_BYTES, out)?;
                        }
                        Style::Transmit => backend::copy_data(out, |out| {
                            let limit = out.len() + BUFFER_BYTES;
                            from = encode::csv::lines(&chunk, from, &columns, limit, out);
                        }),
                    }
                    output.pass_on(control)?;
                }
            }
            if *style == Style::Transmit {
                backend::copy_done(output.buffer());
            }
            Ok(counter.count)
        }
    }
}

/// The chunks of a result, of which some may have been read before.
struct Chunks {
    early: std::vec::IntoIter<Chunk>,
    rest: Option<QueryResult>,
}

impl Chunks {
    /// The next chunk; `None` at the end.
    fn next(&mut self) -> Result<Option<Chunk>, ServerError> {
        match (self.early.next(), &mut self.rest) {
            (Some(chunk), _) => Ok(Some(chunk)),
            (None, Some(result)) => Ok(result.next_chunk()?),
            (None, None) => Ok(None),
        }
    }
}

/// The number in the one row of a statement that changes rows.
pub fn changed_rows(chunk: &Chunk) -> u64 {
    if chunk.rows() == 0 {
        0
    } else {
        chunk.column(0).value::<i64>(0).max(0) as u64
    }
}
