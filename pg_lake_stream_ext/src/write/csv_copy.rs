//! A COPY on the server whose input is rows as CSV, from a stream or from a file.

use pgduck_protocol::placeholder::PLACEHOLDER_LITERAL;
use pgduck_protocol::sql::quote_literal;

/// The statement, with a place for its input.
#[derive(Debug, Clone)]
pub struct CsvCopy {
    /// Text before and after the literal that names the input.
    pub head: String,
    /// See above.
    pub tail: String,
}

impl CsvCopy {
    /// The statement for rows that are streamed.
    pub fn receive_statement(&self) -> String {
        format!("RECEIVE {}{PLACEHOLDER_LITERAL}{}", self.head, self.tail)
    }

    /// The statement for rows in a file that the server can read.
    pub fn file_statement(&self, csv_path: &str) -> String {
        format!("{}{}{}", self.head, quote_literal(csv_path), self.tail)
    }
}
