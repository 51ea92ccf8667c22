//! Where encoded rows go: one sink becomes one data file.

use crate::error::Result;
use crate::guc;
use crate::pgduck::result::PgResult;
use crate::write::csv_file_writer::CsvFileWriter;
use crate::write::csv_stream_writer::CsvStreamWriter;
use crate::write::data_file_copy::DataFileCopy;

/// Takes the encoded rows of one data file.
///
/// A sink that is dropped unfinished leaves nothing behind: no data file, no temporary file, no connection in use.
pub trait RowSink {
    /// Takes a block of whole rows.
    fn write(&mut self, block: &[u8]) -> Result<()>;

    /// Ends the file; returns the statistics that DuckDB's COPY reports (RETURN_STATS). The file is durable then.
    fn finish(self: Box<Self>) -> Result<PgResult>;
}

/// Opens a sink of the kind that `pg_lake_engine.streaming_writes` asks for.
pub fn open(copy: DataFileCopy) -> Result<Box<dyn RowSink>> {
    Ok(if guc::streaming_writes() {
        Box::new(CsvStreamWriter::open(&copy)?)
    } else {
        Box::new(CsvFileWriter::create(copy)?)
    })
}
