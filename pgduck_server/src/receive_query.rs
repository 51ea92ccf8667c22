//! The query of a `RECEIVE`: checked before any data is asked for, run when the data comes.

use std::sync::Arc;

use pgduck_protocol::placeholder::Placeholder;

use crate::duck::{Connection, Kind, Prepared};
use crate::errors::{ServerError, sqlstate};
use crate::execution::{self, Plan, ScriptEnd, Style};
use crate::output::Output;
use crate::query_control::QueryControl;
use crate::statement_text::StatementTexts;
use crate::wire::backend;

/// How the query gets a stream that is longer than the first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Through a pipe, while it runs.
    Pipe,
    /// As a file, before it runs.
    File,
}

/// A query that has been checked.
pub struct Checked {
    /// The plan, if it holds whatever the stream contains.
    prepared: Option<Prepared>,
    /// How it gets a long stream.
    pub feed: Feed,
}

/// Checks a query before any data is asked for; `query` is `sql` with the input's path in place.
pub fn check(connection: &Connection, sql: &str, query: &str) -> Result<Checked, ServerError> {
    let script = connection.parse(query)?;
    if script.len() != 1 {
        return Err(ServerError::new(
            sqlstate::SYNTAX_ERROR,
            "RECEIVE needs a query string of exactly one statement",
        ));
    }
    let placeholder = Placeholder::find(sql).ok();
    let function = placeholder.as_ref().and_then(Placeholder::function);
    let fixed_dialect = placeholder.is_some_and(|found| found.has_argument("auto_detect", "false"));
    let reads_csv = matches!(function.as_deref(), Some("read_csv" | "read_csv_auto"));
    let reads_whole = matches!(function.as_deref(), Some("read_blob" | "read_text"));
    // A plan that was made without a look at the data holds for any data.
    let blind = reads_whole || reads_csv && fixed_dialect;
    let prepared = match script.prepare(0) {
        Ok(prepared) => Some(prepared),
        Err(error) if blind => return Err(error.into()),
        Err(error) => {
            // The data itself may be what is missing: sniffers find nothing in an empty file.
            let error = ServerError::from(error);
            if error.code.starts_with("42") {
                return Err(error);
            }
            None
        }
    };
    let kind = prepared.as_ref().map(Prepared::kind);
    // Rows that come out while data still goes in would have to wait for CopyDone, which would wait for them.
    let feed = match kind {
        Some(Kind::Copy) if reads_csv && fixed_dialect => Feed::Pipe,
        _ => Feed::File,
    };
    Ok(Checked {
        prepared: prepared.filter(|_| blind),
        feed,
    })
}

/// A checked query and what it needs to run.
pub struct Run {
    /// Where it runs.
    pub connection: Connection,
    /// The query, checked.
    pub checked: Checked,
    /// Its text, with the input's path in place.
    pub query: String,
    /// How its result goes to the client.
    pub style: Style,
    /// State of the transaction before it.
    pub status: backend::TransactionStatus,
}

impl Run {
    /// Runs the query.
    pub fn run(self, control: &Arc<QueryControl>, output: &mut Output) -> ScriptEnd {
        let mut status = self.status;
        let _query = self.connection.query();
        let run = || -> Result<(), ServerError> {
            let prepared = match self.checked.prepared {
                Some(prepared) => prepared,
                None => self.connection.parse(&self.query)?.prepare(0)?,
            };
            let text = StatementTexts::of(&self.query).next_of(prepared.kind());
            let tag = execution::run_to_end(
                &self.connection,
                (&prepared, Plan::Fresh),
                text,
                control,
                output,
                &self.style,
                &mut status,
            )?;
            backend::command_complete(output.buffer(), &tag);
            Ok(())
        };
        let error = run().err().map(|error| execution::explain(error, control));
        if error.is_some() {
            status = execution::status_after_error(&self.connection, status);
        }
        ScriptEnd { status, error }
    }
}
