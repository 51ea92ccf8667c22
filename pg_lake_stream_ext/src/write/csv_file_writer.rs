//! The sink for a shared file system: rows go to a temporary file of PostgreSQL, which the server then reads by its path.

use pgrx::PgSqlErrorCode;

use crate::error::Result;
use crate::pg::temp_file::TempFile;
use crate::pgduck::pool;
use crate::pgduck::result::PgResult;
use crate::write::data_file_copy::DataFileCopy;
use crate::write::row_sink::RowSink;

/// A CSV file under `pgsql_tmp`; removed when dropped.
pub struct CsvFileWriter {
    file: TempFile,
    copy: DataFileCopy,
}

impl CsvFileWriter {
    /// Creates the temporary file.
    pub fn create(copy: DataFileCopy) -> Result<Self> {
        Ok(Self {
            file: TempFile::create(),
            copy,
        })
    }
}

impl RowSink for CsvFileWriter {
    fn write(&mut self, block: &[u8]) -> Result<()> {
        self.file.write(block)
    }

    fn finish(self: Box<Self>) -> Result<PgResult> {
        let statement = self.copy.file_statement(&self.file.path());
        pool::acquire()?.simple_query(&statement).map_err(|error| match error.code() {
            PgSqlErrorCode::ERRCODE_UNDEFINED_FILE | PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE => error.hint(
                "pgduck_server must be able to read PostgreSQL's temporary files. If it cannot, set \
                 pg_lake_engine.streaming_writes to on.",
            ),
            _ => error,
        })
    }
}
