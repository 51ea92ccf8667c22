//! What the server sends, appended to a buffer.

use crate::encode::Column;
use crate::errors::ServerError;

/// State of the session's transaction, in `ReadyForQuery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction is open.
    Idle,
    /// A transaction is open.
    Open,
    /// A transaction is open and has failed.
    Failed,
}

/// Appends a message: type, length, and what `body` writes.
fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a NUL-terminated string; a NUL inside would end it early and is left out.
fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|&b| b != 0));
    out.push(0);
}

/// `AuthenticationOk`.
pub fn authentication_ok(out: &mut Vec<u8>) {
    message(out, b'R', |out| out.extend_from_slice(&0u32.to_be_bytes()));
}

/// `ParameterStatus`.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        text(out, name);
        text(out, value);
    });
}

/// `BackendKeyData`.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, secret: [u8; 4]) {
    message(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(&secret);
    });
}

/// `NegotiateProtocolVersion`: the newest minor version we speak, and the options we do not know.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u32, unknown: &[String]) {
    message(out, b'v', |out| {
        out.extend_from_slice(&((3u32 << 16) | minor).to_be_bytes());
        out.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
        for name in unknown {
            text(out, name);
        }
    });
}

/// `ReadyForQuery`.
pub fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    message(out, b'Z', |out| {
        out.push(match status {
            TransactionStatus::Idle => b'I',
            TransactionStatus::Open => b'T',
            TransactionStatus::Failed => b'E',
        });
    });
}

/// `ErrorResponse`.
pub fn error_response(out: &mut Vec<u8>, error: &ServerError) {
    message(out, b'E', |out| {
        let mut field = |kind: u8, value: &str| {
            out.push(kind);
            text(out, value);
        };
        field(b'S', error.severity);
        field(b'V', error.severity);
        field(b'C', error.code);
        field(b'M', &error.message);
        if let Some(detail) = &error.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &error.hint {
            field(b'H', hint);
        }
        out.push(0);
    });
}

/// `CommandComplete`.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| text(out, tag));
}

/// `EmptyQueryResponse`.
pub fn empty_query_response(out: &mut Vec<u8>) {
    message(out, b'I', |_| {});
}

/// `RowDescription`.
pub fn row_description(out: &mut Vec<u8>, columns: &[Column]) {
    message(out, b'T', |out| {
        out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for column in columns {
            text(out, &column.name);
            // Neither a table nor an attribute number: the columns are not a table's of this server.
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&column.pg.oid.to_be_bytes());
            out.extend_from_slice(&column.pg.length.to_be_bytes());
            out.extend_from_slice(&column.pg.modifier.to_be_bytes());
            out.extend_from_slice(&column.format.code().to_be_bytes());
        }
    });
}

/// `NoData`.
pub fn no_data(out: &mut Vec<u8>) {
    message(out, b'n', |_| {});
}

/// `ParameterDescription`.
pub fn parameter_description(out: &mut Vec<u8>, oids: &[u32]) {
    message(out, b't', |out| {
        out.extend_from_slice(&(oids.len() as u16).to_be_bytes());
        for oid in oids {
            out.extend_from_slice(&oid.to_be_bytes());
        }
    });
}

/// `ParseComplete`.
pub fn parse_complete(out: &mut Vec<u8>) {
    message(out, b'1', |_| {});
}

/// `BindComplete`.
pub fn bind_complete(out: &mut Vec<u8>) {
    message(out, b'2', |_| {});
}

/// `CloseComplete`.
pub fn close_complete(out: &mut Vec<u8>) {
    message(out, b'3', |_| {});
}

/// `PortalSuspended`.
pub fn portal_suspended(out: &mut Vec<u8>) {
    message(out, b's', |_| {});
}

/// `CopyInResponse`: text, no columns.
pub fn copy_in_response(out: &mut Vec<u8>) {
    message(out, b'G', |out| out.extend_from_slice(&[0, 0, 0]));
}

/// `CopyOutResponse`: text, with a number of columns that are all text.
pub fn copy_out_response(out: &mut Vec<u8>, columns: usize) {
    message(out, b'H', |out| {
        out.push(0);
        out.extend_from_slice(&(columns as u16).to_be_bytes());
        out.resize(out.len() + 2 * columns, 0);
    });
}

/// `CopyData` around what `body` writes.
pub fn copy_data(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    message(out, b'd', body);
}

/// `CopyDone`.
pub fn copy_done(out: &mut Vec<u8>) {
    message(out, b'c', |_| {});
}
