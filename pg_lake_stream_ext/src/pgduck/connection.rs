//! One libpq connection to pgduck_server, driven without ever blocking the backend.
//!
//! libpq runs in non-blocking mode; every wait goes through [`wait_for_socket`], so an interrupt raises at once and the
//! unwinding drops the connection. Dropping closes the socket without waiting: the server takes a stream that ends
//! without CopyDone as failed (see `RECEIVE` in `docs/protocol.md`).

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;
use pq_sys as pq;

use crate::error::{LakeError, Result};
use crate::pg::wait::{Interest, wait_for_socket};
use crate::pgduck::result::PgResult;

/// How long connecting may take when the connection string has no `connect_timeout`.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Result columns come in PostgreSQL's `*_send` formats (`PQsendQueryParams`).
const BINARY_RESULT: c_int = 1;

/// An open connection. Not shared, not cloned; dropping it closes the socket.
pub struct Connection {
    raw: NonNull<pq::PGconn>,
}

impl Connection {
    /// Connects with a libpq connection string.
    ///
    /// # Errors
    /// 08001 when no server answers; the message is libpq's, which names hosts and ports and no secret.
    pub fn open(conninfo: &str) -> Result<Self> {
        let keywords = [c"dbname", c"fallback_application_name", c"client_encoding"];
        let conninfo = c_string(conninfo)?;
        let application_name = c_string(&format!("pg_lake_stream pid={}", std::process::id()))?;
        let values = [conninfo.as_c_str(), &application_name, c"UTF8"];
        let keyword_pointers: Vec<*const c_char> = keywords
            .iter()
            .map(|k| k.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        let value_pointers: Vec<*const c_char> = values
            .iter()
            .map(|v| v.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        // SAFETY: both arrays are null-terminated and live through the call. A `dbname` that holds a connection string is
        // expanded (expand_dbname = 1).
        let raw = unsafe {
            pq::PQconnectStartParams(keyword_pointers.as_ptr(), value_pointers.as_ptr(), 1)
        };
        let raw = NonNull::new(raw).ok_or_else(|| {
            LakeError::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
        })?;
        let connection = Self { raw };
        connection.finish_connecting()?;
        // SAFETY: the connection is open.
        if unsafe { pq::PQsetnonblocking(connection.raw.as_ptr(), 1) } != 0 {
            return Err(connection.cannot_connect());
        }
        Ok(connection)
    }

    fn finish_connecting(&self) -> Result<()> {
        let deadline = Instant::now() + DEFAULT_CONNECT_TIMEOUT;
        // SAFETY: the connection is live; so for every libpq call of this file.
        if unsafe { pq::PQstatus(self.raw.as_ptr()) } == pq::ConnStatusType::CONNECTION_BAD {
            return Err(self.cannot_connect());
        }
        let mut interest = Interest::Writable;
        loop {
            if !wait_for_socket(self.socket(), interest, Some(deadline)) {
                return Err(LakeError::new(
                    PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
                    "could not connect to pgduck_server: timeout expired",
                )
                .hint(CONNECT_HINT));
            }
            // SAFETY: as above.
            interest = match unsafe { pq::PQconnectPoll(self.raw.as_ptr()) } {
                pq::PostgresPollingStatusType::PGRES_POLLING_OK => return Ok(()),
                pq::PostgresPollingStatusType::PGRES_POLLING_READING => Interest::Readable,
                pq::PostgresPollingStatusType::PGRES_POLLING_WRITING => Interest::Writable,
                _ => return Err(self.cannot_connect()),
            };
        }
    }

    fn cannot_connect(&self) -> LakeError {
        LakeError::new(
            PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
            format!(
                "could not connect to pgduck_server: {}",
                self.libpq_message()
            ),
        )
        .hint(CONNECT_HINT)
    }

    /// Whether the connection can be used for a new statement: idle, open, and the server has not hung up meanwhile.
    pub fn is_reusable(&self) -> bool {
        // SAFETY: as above.
        unsafe {
            pq::PQtransactionStatus(self.raw.as_ptr()) == pq::PGTransactionStatusType::PQTRANS_IDLE
                && pq::PQisBusy(self.raw.as_ptr()) == 0
                && pq::PQconsumeInput(self.raw.as_ptr()) == 1
                && pq::PQstatus(self.raw.as_ptr()) == pq::ConnStatusType::CONNECTION_OK
        }
    }

    /// Runs one statement without parameters (simple protocol) and returns its result with all rows, as text.
    pub fn simple_query(&mut self, sql: &str) -> Result<PgResult> {
        self.send_simple(sql)?;
        self.last_result()
    }

    /// Runs one statement with text parameters (extended protocol) and returns its result with all rows, in binary.
    pub fn query(&mut self, sql: &str, params: &[Option<String>]) -> Result<PgResult> {
        self.send_query(sql, params)?;
        self.last_result()
    }

    /// Starts a statement whose rows, in binary, are then taken one by one with [`Self::next_row`].
    pub fn start_rows(&mut self, sql: &str, params: &[Option<String>]) -> Result<()> {
        self.send_query(sql, params)?;
        // SAFETY: a query has just been sent and no result was taken yet, as PQsetSingleRowMode demands.
        if unsafe { pq::PQsetSingleRowMode(self.raw.as_ptr()) } != 1 {
            return Err(self.lost());
        }
        Ok(())
    }

    /// The next row, or `None` after the last one; the connection is idle again then.
    pub fn next_row(&mut self) -> Result<Option<PgResult>> {
        loop {
            let Some(result) = self.next_result()? else {
                return Ok(None);
            };
            match result.status() {
                pq::ExecStatusType::PGRES_SINGLE_TUPLE => return Ok(Some(result)),
                _ => result.check()?,
            }
        }
    }

    /// Sends a statement by the simple protocol and returns without waiting for its result.
    pub fn send_simple(&mut self, sql: &str) -> Result<()> {
        let sql = c_string(sql)?;
        // SAFETY: as above.
        if unsafe { pq::PQsendQuery(self.raw.as_ptr(), sql.as_ptr()) } != 1 {
            return Err(self.lost());
        }
        self.flush()
    }

    fn send_query(&mut self, sql: &str, params: &[Option<String>]) -> Result<()> {
        let sql = c_string(sql)?;
        let params: Vec<Option<CString>> = params
            .iter()
            .map(|p| p.as_deref().map(c_string).transpose())
            .collect::<Result<_>>()?;
        let pointers: Vec<*const c_char> = params
            .iter()
            .map(|p| p.as_ref().map_or(std::ptr::null(), |p| p.as_ptr()))
            .collect();
        // SAFETY: `pointers` holds as many C strings as announced, all alive during the call; null types, lengths and formats
        // mean "unspecified", "text" and "text".
        let sent = unsafe {
            pq::PQsendQueryParams(
                self.raw.as_ptr(),
                sql.as_ptr(),
                pointers.len() as c_int,
                std::ptr::null(),
                pointers.as_ptr(),
                std::ptr::null(),
                std::ptr::null(),
                BINARY_RESULT,
            )
        };
        if sent != 1 {
            return Err(self.lost());
        }
        self.flush()
    }

    /// Waits for the server's CopyInResponse to a `RECEIVE` that was sent with [`Self::send_simple`].
    pub fn wait_for_copy_in(&mut self) -> Result<()> {
        match self.next_result()? {
            Some(result) if result.status() == pq::ExecStatusType::PGRES_COPY_IN => Ok(()),
            Some(result) => {
                result.check()?;
                Err(LakeError::new(
                    PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION,
                    "pgduck_server did not ask for the data of a RECEIVE",
                )
                .hint("Is the server at pg_lake_engine.host a pgduck_server that knows RECEIVE?"))
            }
            None => Err(self.lost()),
        }
    }

    /// Sends one block of COPY data. If the server has already failed, ends the COPY and returns the server's error.
    pub fn put_copy_data(&mut self, block: &[u8]) -> Result<()> {
        // SAFETY: `block` is valid for its length; libpq copies it.
        let queued = unsafe {
            pq::PQputCopyData(
                self.raw.as_ptr(),
                block.as_ptr().cast(),
                block.len() as c_int,
            )
        };
        if queued != 1 {
            return Err(self.lost());
        }
        loop {
            // SAFETY: as above.
            match unsafe { pq::PQflush(self.raw.as_ptr()) } {
                0 => return Ok(()),
                1 => {
                    wait_for_socket(self.socket(), Interest::ReadableOrWritable, None);
                    if self.server_spoke()? {
                        return Err(self.failure_of_copy());
                    }
                }
                _ => return Err(self.lost()),
            }
        }
    }

    /// Whether the server has sent something while we are in COPY-IN, where the protocol has only an error to say.
    fn server_spoke(&mut self) -> Result<bool> {
        let mut poll = libc_pollfd(self.socket());
        // SAFETY: one valid pollfd; a timeout of zero does not wait.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) };
        Ok(ready > 0 && poll.revents & (libc::POLLIN | libc::POLLERR | libc::POLLHUP) != 0)
    }

    /// Ends a COPY that the server has given up, and fetches its error.
    fn failure_of_copy(&mut self) -> LakeError {
        // SAFETY: as above; a message makes it a CopyFail.
        let ended =
            unsafe { pq::PQputCopyEnd(self.raw.as_ptr(), c"the server has failed".as_ptr()) };
        if ended != 1 {
            return self.lost();
        }
        match self.last_result() {
            Err(error) => error,
            Ok(_) => LakeError::new(
                PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION,
                "pgduck_server answered a RECEIVE before its data had ended",
            ),
        }
    }

    /// Sends CopyDone and returns without waiting for the result.
    pub fn end_copy(&mut self) -> Result<()> {
        // SAFETY: as above; a null message makes it a CopyDone.
        if unsafe { pq::PQputCopyEnd(self.raw.as_ptr(), std::ptr::null()) } != 1 {
            return Err(self.lost());
        }
        self.flush()
    }

    /// Waits for the end of the running statement and returns its last result, or its first error.
    pub fn last_result(&mut self) -> Result<PgResult> {
        let mut last = None;
        let mut failure = None;
        while let Some(result) = self.next_result()? {
            if let Err(error) = result.check() {
                failure.get_or_insert(error);
            }
            last = Some(result);
        }
        match (failure, last) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => Ok(result),
            (None, None) => Err(self.lost()),
        }
    }

    fn next_result(&mut self) -> Result<Option<PgResult>> {
        // SAFETY: as above.
        while unsafe { pq::PQisBusy(self.raw.as_ptr()) } != 0 {
            wait_for_socket(self.socket(), Interest::Readable, None);
            // SAFETY: as above.
            if unsafe { pq::PQconsumeInput(self.raw.as_ptr()) } != 1 {
                return Err(self.lost());
            }
        }
        // SAFETY: not busy, so this does not block.
        let result = NonNull::new(unsafe { pq::PQgetResult(self.raw.as_ptr()) });
        Ok(result.map(PgResult::new))
    }

    fn flush(&mut self) -> Result<()> {
        loop {
            // SAFETY: as above.
            match unsafe { pq::PQflush(self.raw.as_ptr()) } {
                0 => return Ok(()),
                1 => {
                    wait_for_socket(self.socket(), Interest::ReadableOrWritable, None);
                    // SAFETY: as above. Reading keeps a server that answers early from blocking us both.
                    if unsafe { pq::PQconsumeInput(self.raw.as_ptr()) } != 1 {
                        return Err(self.lost());
                    }
                }
                _ => return Err(self.lost()),
            }
        }
    }

    fn socket(&self) -> c_int {
        // SAFETY: as above.
        unsafe { pq::PQsocket(self.raw.as_ptr()) }
    }

    fn lost(&self) -> LakeError {
        LakeError::connection_lost(format!(
            "lost the connection to pgduck_server: {}",
            self.libpq_message()
        ))
    }

    /// libpq's error text on one line.
    fn libpq_message(&self) -> String {
        // SAFETY: libpq returns a C string that lives until the next call.
        let text =
            unsafe { CStr::from_ptr(pq::PQerrorMessage(self.raw.as_ptr())) }.to_string_lossy();
        let line = text.trim().replace('\n', " ");
        if line.is_empty() {
            "no message".to_owned()
        } else {
            line
        }
    }
}

impl Connection {
    /// Makes closing a reset: a server that has stopped reading would find an orderly end only behind all unread bytes.
    fn reset_on_close(&self) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the socket is open, the option's value is valid for the call. It has no effect on Unix sockets; a failure
        // leaves the orderly end.
        unsafe {
            libc::setsockopt(
                self.socket(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            );
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the pointer is live.
        let busy = unsafe { pq::PQtransactionStatus(self.raw.as_ptr()) }
            == pq::PGTransactionStatusType::PQTRANS_ACTIVE;
        if busy {
            self.reset_on_close();
        }
        // SAFETY: the pointer is live and not used again. In non-blocking mode PQfinish does not wait for the peer.
        unsafe { pq::PQfinish(self.raw.as_ptr()) };
    }
}

const CONNECT_HINT: &str =
    "Is pgduck_server running, and does pg_lake_engine.host name its host and port?";

fn libc_pollfd(fd: c_int) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        LakeError::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "text with a zero byte cannot be sent",
        )
    })
}
