//! The extension's one error type, and how it becomes a PostgreSQL `ERROR`.
//!
//! Code below the callbacks returns [`Result`]; the callback itself raises with [`OrRaise::or_raise`], which unwinds the
//! Rust frames (so that every connection and file is released) before PostgreSQL sees the error.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

/// Result of everything that can fail in the extension.
pub type Result<T> = std::result::Result<T, LakeError>;

/// What will be reported to the user: SQLSTATE, primary message, and optional detail and hint.
#[derive(Debug, Clone)]
pub struct LakeError {
    code: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl LakeError {
    /// An error with a SQLSTATE and a primary message (lower case, one line, no full stop).
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// A feature that does not exist: 0A000.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message)
    }

    /// Something that should be impossible: XX000.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
    }

    /// The connection to pgduck_server broke in the middle of something: 08006.
    pub fn connection_lost(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, message)
    }

    /// The SQLSTATE.
    pub fn code(&self) -> PgSqlErrorCode {
        self.code
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Adds a detail: full sentences.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a hint: full sentences, a suggestion.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error with a five-character SQLSTATE, as it came from a server. A malformed code becomes 58000.
    pub fn from_sqlstate(sqlstate: &str, message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::from(pack_sqlstate(sqlstate)), message)
    }

    /// Raises a PostgreSQL `ERROR`; Rust frames unwind up to the nearest `#[pg_guard]`.
    pub fn raise(self) -> ! {
        let mut report = ErrorReport::new(self.code, self.message, "pg_lake_stream_ext");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR report does not return")
    }
}

/// Packs a SQLSTATE as PostgreSQL's `MAKE_SQLSTATE` does (utils/elog.h): six bits a character.
fn pack_sqlstate(sqlstate: &str) -> i32 {
    let valid = sqlstate.len() == 5
        && sqlstate
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    let code = if valid { sqlstate } else { "58000" };
    code.bytes().enumerate().fold(0, |packed, (i, b)| {
        packed | (i32::from((b - b'0') & 0x3F) << (6 * i))
    })
}

impl From<lake_iceberg::Error> for LakeError {
    fn from(error: lake_iceberg::Error) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, error.to_string())
    }
}

/// Turns an `Err` into a PostgreSQL `ERROR`.
pub trait OrRaise<T> {
    /// The value, or an `ERROR` that unwinds.
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T> {
    fn or_raise(self) -> T {
        self.unwrap_or_else(|error| error.raise())
    }
}
