//! The sink for a shared file system: rows go to a temporary file of PostgreSQL, which the server then reads by its path.

use pgrx::PgSqlErrorCode;

use crate::error::{LakeError, Result};
use crate::pg::temp_file::TempFile;
use crate::pgduck::pool::{self, PooledConnection};
use crate::pgduck::result::PgResult;
use crate::write::csv_copy::CsvCopy;
use crate::write::row_sink::RowSink;

/// A CSV file under `pgsql_tmp`; removed when dropped.
pub struct CsvFileWriter {
    /// Declared first: the server has let go of the file before it is removed.
    running: Option<PooledConnection>,
    file: TempFile,
    copy: CsvCopy,
}

impl CsvFileWriter {
    /// Creates the temporary file.
    pub fn create(copy: CsvCopy) -> Result<Self> {
        Ok(Self {
            running: None,
            file: TempFile::create(),
            copy,
        })
    }
}

impl RowSink for CsvFileWriter {
    fn write(&mut self, block: &[u8]) -> Result<()> {
        self.file.write(block)
    }

    fn end(&mut self) -> Result<()> {
        let mut connection = pool::acquire()?;
        connection.send_simple(&self.copy.file_statement(&self.file.path()))?;
        self.running = Some(connection);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<PgResult> {
        let connection = self.running.as_mut();
        let connection = connection.ok_or_else(|| LakeError::internal("a sink was not ended"))?;
        connection.last_result().map_err(|error| match error.code() {
            PgSqlErrorCode::ERRCODE_UNDEFINED_FILE | PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE => error.hint(
                "pgduck_server must be able to read PostgreSQL's temporary files. If it cannot, set \
                 pg_lake_engine.streaming_writes to on.",
            ),
            _ => error,
        })
    }
}
