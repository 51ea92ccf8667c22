//! The crate's error: a kind, which callers map to an SQLSTATE, and a message for people.

use std::fmt;

/// What went wrong, in the terms a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The table definition cannot be written as an Iceberg schema.
    InvalidSchema,
    /// Metadata, a manifest list or a manifest that was read is damaged or not what it should be.
    InvalidMetadata,
    /// The statistics of a written file cannot be understood.
    InvalidStatistics,
    /// Valid Iceberg that this crate does not handle.
    Unsupported,
    /// The caller asked for something that makes no sense, such as an append of no files.
    InvalidInput,
    /// Writing failed where it should not have: a defect.
    Internal,
}

/// An error with its kind, what was being done, and the cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// One line for the user, in lower case and without a full stop.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Adds kind and context to an error of a library below.
pub(crate) trait Context<T> {
    /// `context` says what was being done, such as "could not read manifest list s3://…".
    fn context(self, kind: ErrorKind, context: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, kind: ErrorKind, context: impl fmt::Display) -> Result<T> {
        self.map_err(|cause| Error::new(kind, format!("{context}: {cause}")))
    }
}
