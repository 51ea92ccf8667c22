//! Where encoded rows go: one sink is the input of one COPY on the server.

use crate::error::Result;
use crate::guc;
use crate::pgduck::result::PgResult;
use crate::write::csv_copy::CsvCopy;
use crate::write::csv_file_writer::CsvFileWriter;
use crate::write::csv_stream_writer::CsvStreamWriter;

/// Takes the encoded rows of one COPY.
///
/// A sink that is dropped unfinished leaves nothing behind: no file, no temporary file, no connection in use.
pub trait RowSink {
    /// Takes a block of whole rows.
    fn write(&mut self, block: &[u8]) -> Result<()>;

    /// Says that all rows have come, and does not wait for what the server makes of them: other sinks can be ended
    /// meanwhile.
    fn end(&mut self) -> Result<()>;

    /// Waits for the server, after [`Self::end`]; returns the statistics that DuckDB's COPY reports (RETURN_STATS). What was
    /// written is durable then.
    fn finish(self: Box<Self>) -> Result<PgResult>;
}

/// Opens a sink of the kind that `pg_lake_engine.streaming_writes` asks for.
pub fn open(copy: &CsvCopy) -> Result<Box<dyn RowSink>> {
    Ok(if guc::streaming_writes() {
        Box::new(CsvStreamWriter::open(copy)?)
    } else {
        Box::new(CsvFileWriter::create(copy.clone())?)
    })
}
