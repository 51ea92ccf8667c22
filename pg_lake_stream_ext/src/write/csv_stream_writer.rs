//! The streaming sink: rows travel inside COPY-IN to a `RECEIVE` on the server.

use crate::error::Result;
use crate::pgduck::pool::{self, PooledConnection};
use crate::pgduck::result::PgResult;
use crate::write::csv_copy::CsvCopy;
use crate::write::row_sink::RowSink;

/// A stream to the server. Dropped before [`RowSink::finish`] it closes its connection without CopyDone, and the server
/// discards what it has.
pub struct CsvStreamWriter {
    connection: PooledConnection,
}

impl CsvStreamWriter {
    /// Sends the RECEIVE and waits until the server asks for data.
    pub fn open(copy: &CsvCopy) -> Result<Self> {
        let mut connection = pool::acquire()?;
        connection.send_simple(&copy.receive_statement())?;
        connection.wait_for_copy_in()?;
        Ok(Self { connection })
    }
}

impl RowSink for CsvStreamWriter {
    fn write(&mut self, block: &[u8]) -> Result<()> {
        self.connection.put_copy_data(block)
    }

    fn end(&mut self) -> Result<()> {
        self.connection.end_copy()
    }

    fn finish(mut self: Box<Self>) -> Result<PgResult> {
        self.connection.last_result()
    }
}
