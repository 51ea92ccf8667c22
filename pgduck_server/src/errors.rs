//! Errors as clients see them, and the one table from DuckDB's error classes to SQLSTATEs.

use crate::duck::EngineError;

/// SQLSTATEs that the server uses. Source: PostgreSQL documentation, appendix A.
pub mod sqlstate {
    pub const CONNECTION_FAILURE: &str = "08006";
    pub const CANNOT_CONNECT: &str = "08001";
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub const CARDINALITY_VIOLATION: &str = "21000";
    pub const NUMERIC_OUT_OF_RANGE: &str = "22003";
    pub const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    pub const INVALID_TEXT_REPRESENTATION: &str = "22P02";
    pub const INVALID_BINARY_REPRESENTATION: &str = "22P03";
    pub const BAD_COPY_FILE_FORMAT: &str = "22P04";
    pub const CONSTRAINT_VIOLATION: &str = "23000";
    pub const NOT_NULL_VIOLATION: &str = "23502";
    pub const FOREIGN_KEY_VIOLATION: &str = "23503";
    pub const UNIQUE_VIOLATION: &str = "23505";
    pub const CHECK_VIOLATION: &str = "23514";
    pub const INVALID_STATEMENT_NAME: &str = "26000";
    pub const INVALID_PORTAL_NAME: &str = "34000";
    pub const ACTIVE_TRANSACTION: &str = "25001";
    pub const IN_FAILED_TRANSACTION: &str = "25P02";
    pub const SERIALIZATION_FAILURE: &str = "40001";
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub const SYNTAX_ERROR: &str = "42601";
    pub const UNDEFINED_COLUMN: &str = "42703";
    pub const UNDEFINED_OBJECT: &str = "42704";
    pub const UNDEFINED_FUNCTION: &str = "42883";
    pub const UNDEFINED_TABLE: &str = "42P01";
    pub const DUPLICATE_STATEMENT: &str = "42P05";
    pub const DUPLICATE_TABLE: &str = "42P07";
    pub const DUPLICATE_PORTAL: &str = "42P03";
    pub const DATATYPE_MISMATCH: &str = "42804";
    pub const DISK_FULL: &str = "53100";
    pub const OUT_OF_MEMORY: &str = "53200";
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    pub const CONFIGURATION_LIMIT_EXCEEDED: &str = "53400";
    pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
    pub const QUERY_CANCELED: &str = "57014";
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    pub const IO_ERROR: &str = "58030";
    pub const UNDEFINED_FILE: &str = "58P01";
    pub const DUPLICATE_FILE: &str = "58P02";
    pub const INTERNAL_ERROR: &str = "XX000";
}

/// An error for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub struct ServerError {
    /// `ERROR`, or `FATAL` if the session ends with it.
    pub severity: &'static str,
    /// SQLSTATE.
    pub code: &'static str,
    /// Primary message, one line.
    pub message: String,
    /// Detail, full sentences.
    pub detail: Option<String>,
    /// Hint, full sentences.
    pub hint: Option<String>,
    /// Whether DuckDB cannot go on in this process.
    pub engine_is_lost: bool,
}

impl ServerError {
    /// An error after which the session goes on.
    pub fn new(code: &'static str, message: impl Into<String>) -> ServerError {
        ServerError {
            severity: "ERROR",
            code,
            message: message.into(),
            detail: None,
            hint: None,
            engine_is_lost: false,
        }
    }

    /// An error that ends the session.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> ServerError {
        ServerError {
            severity: "FATAL",
            ..ServerError::new(code, message)
        }
    }

    /// A message that breaks the protocol.
    pub fn protocol(message: impl Into<String>) -> ServerError {
        ServerError::fatal(sqlstate::PROTOCOL_VIOLATION, message)
    }

    /// Adds a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> ServerError {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the session ends with this error.
    pub fn is_fatal(&self) -> bool {
        self.severity == "FATAL"
    }

    /// An operating system error on a file.
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> ServerError {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                sqlstate::DISK_FULL
            }
            std::io::ErrorKind::NotFound => sqlstate::UNDEFINED_FILE,
            std::io::ErrorKind::PermissionDenied => sqlstate::INSUFFICIENT_PRIVILEGE,
            _ => sqlstate::IO_ERROR,
        };
        ServerError::new(
            code,
            format!("could not {what} \"{}\": {error}", path.display()),
        )
    }
}

impl From<EngineError> for ServerError {
    fn from(error: EngineError) -> ServerError {
        from_engine(&error.0)
    }
}

/// The table: DuckDB's class (the words before "Error:"), what the message must contain, SQLSTATE.
/// The first line that matches wins. Classes: `ExceptionType` in DuckDB's `exception.cpp`.
const TABLE: &[(&str, &str, &str)] = &[
    ("Parser", "", sqlstate::SYNTAX_ERROR),
    ("Syntax", "", sqlstate::SYNTAX_ERROR),
    ("Catalog", "already exists", sqlstate::DUPLICATE_TABLE),
    (
        "Catalog",
        "Function with name",
        sqlstate::UNDEFINED_FUNCTION,
    ),
    ("Catalog", "Table with name", sqlstate::UNDEFINED_TABLE),
    ("Catalog", "", sqlstate::UNDEFINED_OBJECT),
    ("Binder", "Referenced column", sqlstate::UNDEFINED_COLUMN),
    (
        "Binder",
        "does not have a column named",
        sqlstate::UNDEFINED_COLUMN,
    ),
    ("Binder", "Referenced table", sqlstate::UNDEFINED_TABLE),
    (
        "Binder",
        "No function matches",
        sqlstate::UNDEFINED_FUNCTION,
    ),
    ("Binder", "Cannot compare", sqlstate::DATATYPE_MISMATCH),
    ("Binder", "", sqlstate::SYNTAX_ERROR),
    ("Conversion", "out of range", sqlstate::NUMERIC_OUT_OF_RANGE),
    ("Conversion", "", sqlstate::INVALID_TEXT_REPRESENTATION),
    ("Out of Range", "", sqlstate::NUMERIC_OUT_OF_RANGE),
    ("Mismatch Type", "", sqlstate::DATATYPE_MISMATCH),
    ("Constraint", "NOT NULL", sqlstate::NOT_NULL_VIOLATION),
    ("Constraint", "Duplicate key", sqlstate::UNIQUE_VIOLATION),
    ("Constraint", "foreign key", sqlstate::FOREIGN_KEY_VIOLATION),
    ("Constraint", "CHECK", sqlstate::CHECK_VIOLATION),
    ("Constraint", "", sqlstate::CONSTRAINT_VIOLATION),
    (
        "TransactionContext",
        "Conflict",
        sqlstate::SERIALIZATION_FAILURE,
    ),
    (
        "TransactionContext",
        "aborted",
        sqlstate::IN_FAILED_TRANSACTION,
    ),
    ("TransactionContext", "", sqlstate::ACTIVE_TRANSACTION),
    ("Out of Memory", "", sqlstate::OUT_OF_MEMORY),
    ("Interrupt", "", sqlstate::QUERY_CANCELED),
    ("INTERRUPT", "", sqlstate::QUERY_CANCELED),
    ("Not implemented", "", sqlstate::FEATURE_NOT_SUPPORTED),
    ("Permission", "", sqlstate::INSUFFICIENT_PRIVILEGE),
    (
        "HTTP",
        "Could not establish connection",
        sqlstate::CANNOT_CONNECT,
    ),
    ("HTTP", "Could not connect", sqlstate::CANNOT_CONNECT),
    ("HTTP", "403", sqlstate::INSUFFICIENT_PRIVILEGE),
    ("HTTP", "404", sqlstate::UNDEFINED_FILE),
    ("HTTP", "", sqlstate::IO_ERROR),
    ("IO", "No space left", sqlstate::DISK_FULL),
    ("IO", "No such file", sqlstate::UNDEFINED_FILE),
    ("IO", "No files found", sqlstate::UNDEFINED_FILE),
    ("IO", "File exists", sqlstate::DUPLICATE_FILE),
    ("IO", "Permission denied", sqlstate::INSUFFICIENT_PRIVILEGE),
    (
        "IO",
        "Could not establish connection",
        sqlstate::CANNOT_CONNECT,
    ),
    ("IO", "", sqlstate::IO_ERROR),
    ("Connection", "", sqlstate::CANNOT_CONNECT),
    ("Network", "", sqlstate::CANNOT_CONNECT),
    ("Invalid Input", "CSV Error", sqlstate::BAD_COPY_FILE_FORMAT),
    ("Invalid Input", "CSV", sqlstate::BAD_COPY_FILE_FORMAT),
    (
        "Invalid Input",
        "More than one row returned",
        sqlstate::CARDINALITY_VIOLATION,
    ),
    ("Invalid Input", "", sqlstate::INVALID_PARAMETER_VALUE),
    (
        "Invalid Configuration",
        "",
        sqlstate::INVALID_PARAMETER_VALUE,
    ),
    ("Settings", "", sqlstate::INVALID_PARAMETER_VALUE),
    (
        "Parameter Not Allowed",
        "",
        sqlstate::INVALID_PARAMETER_VALUE,
    ),
    (
        "Parameter Not Resolved",
        "",
        sqlstate::INVALID_PARAMETER_VALUE,
    ),
    ("Missing Extension", "", sqlstate::FEATURE_NOT_SUPPORTED),
    ("Dependency", "", "2BP01"),
    ("Sequence", "", "2200H"),
];

/// Turns a message of DuckDB into an error for a client.
fn from_engine(text: &str) -> ServerError {
    let (class, body) = split_class(inner_error(text));
    let code = TABLE
        .iter()
        .find(|(of, part, _)| *of == class && body.contains(part))
        .map_or(sqlstate::INTERNAL_ERROR, |(_, _, code)| code);
    let (first, rest) = body.split_once('\n').unwrap_or((body, ""));
    let (code, first) = if code == sqlstate::QUERY_CANCELED {
        (code, "canceling statement due to user request")
    } else {
        (code, first.trim())
    };
    // An error that a query raises itself keeps its words.
    let first = if class == "Invalid Input" {
        first.to_owned()
    } else {
        in_house_style(first)
    };
    let mut error = ServerError::new(
        code,
        if first.is_empty() {
            "unknown error".to_owned()
        } else {
            first
        },
    );
    let rest = rest.trim_matches(['\n', '\r']);
    if !rest.trim().is_empty() {
        error.detail = Some(rest.to_owned());
    }
    error.engine_is_lost = class == "FATAL" || text.contains("database has been invalidated");
    error
}

/// PostgreSQL's style of a primary message: begins in lower case, ends without a full stop.
fn in_house_style(message: &str) -> String {
    let message = message.trim_end_matches(['.', '!', ' ']);
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && !second.is_uppercase() => {
            format!("{}{}", first.to_ascii_lowercase(), &message[1..])
        }
        _ => message.to_owned(),
    }
}

/// The error inside an error: that of a function of ours, which DuckDB reports as "Invalid Input" whatever it is.
fn inner_error(text: &str) -> &str {
    match text.strip_prefix("Invalid Input Error: ") {
        Some(inner)
            if ["IO", "HTTP", "Out of Memory", "Permission"].contains(&split_class(inner).0) =>
        {
            inner
        }
        _ => text,
    }
}

/// Splits `Binder Error: text` into `Binder` and `text`.
fn split_class(text: &str) -> (&str, &str) {
    match text.split_once(':') {
        Some((head, body)) => match head
            .strip_suffix(" Error")
            .or(head.strip_suffix(" exception"))
        {
            Some(class) if class.len() < 40 => (class.trim(), body.trim_start()),
            _ => ("", text),
        },
        None => ("", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        from_engine(text).code
    }

    #[test]
    fn classes_become_sqlstates() {
        assert_eq!(code("Parser Error: syntax error at or near \"x\""), "42601");
        assert_eq!(
            code("Catalog Error: Table with name t does not exist!"),
            "42P01"
        );
        assert_eq!(
            code("Binder Error: Referenced column \"x\" not found"),
            "42703"
        );
        assert_eq!(
            code("Conversion Error: Could not convert string 'a' to INT32"),
            "22P02"
        );
        assert_eq!(code("Out of Range Error: Overflow in addition"), "22003");
        assert_eq!(
            code("IO Error: Could not write: No space left on device"),
            "53100"
        );
        assert_eq!(code("INTERRUPT Error: Interrupted!"), "57014");
        assert_eq!(code("Invalid Input Error: CSV Error on Line: 1"), "22P04");
        assert_eq!(
            code("Invalid Input Error: IO Error: Could not remove file \"x\": Permission denied"),
            "42501"
        );
        assert_eq!(
            code(
                "Invalid Input Error: IO Error: could not create file \"x\": File exists (os error 17)"
            ),
            "58P02"
        );
        assert_eq!(code("something else"), "XX000");
        assert!(from_engine("FATAL Error: gone").engine_is_lost);
    }

    #[test]
    fn the_first_line_is_the_message_and_the_rest_the_detail() {
        let error = from_engine("Binder Error: no\n\nLINE 1: SELECT x\n               ^");
        assert_eq!(error.message, "no");
        let plain = from_engine("Catalog Error: Table with name t does not exist!");
        assert_eq!(plain.message, "table with name t does not exist");
        let plain = from_engine("Conversion Error: CSV is bad");
        assert_eq!(plain.message, "CSV is bad");
        assert_eq!(
            error.detail.as_deref(),
            Some("LINE 1: SELECT x\n               ^")
        );
    }
}
