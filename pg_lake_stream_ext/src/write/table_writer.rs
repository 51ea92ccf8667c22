//! Writes the rows of one statement into data files of one table.

use lake_iceberg::DataFile;

use crate::catalog::lake_table::LakeTable;
use crate::catalog::files;
use crate::commit::transaction;
use crate::error::Result;
use crate::guc;
use crate::pg::tuple::Row;
use crate::write::data_file_copy::{self, DataFileCopy};
use crate::write::row_encoder::{CsvEncoder, RowEncoder};
use crate::write::row_sink::{self, RowSink};

/// Rows are handed to the sink in blocks of about this size.
const BLOCK_BYTES: usize = 256 * 1024;
/// The longest CSV line that a file accepts unless a longer one comes: DuckDB's default.
const DEFAULT_MAX_LINE: usize = 2_000_000;

/// Encodes rows, cuts them into files, and enters the files in the catalog.
pub struct TableWriter {
    table: LakeTable,
    encoder: Box<dyn RowEncoder>,
    /// Encoded rows that the sink has not got yet.
    block: Vec<u8>,
    /// The open file; `None` before the first block and between two files.
    sink: Option<Box<dyn RowSink>>,
    /// Bytes that the open file has got, `block` not counted.
    file_bytes: u64,
    /// Longest line that the open file accepts.
    max_line: usize,
    rotation_bytes: u64,
    written: Vec<DataFile>,
}

impl TableWriter {
    /// Prepares to write; nothing is opened before the first rows are there.
    pub fn new(table: LakeTable) -> Result<Self> {
        Ok(Self {
            encoder: Box::new(CsvEncoder::new(&table)?),
            table,
            block: Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 4),
            sink: None,
            file_bytes: 0,
            max_line: DEFAULT_MAX_LINE,
            rotation_bytes: guc::rotation_bytes(),
            written: Vec::new(),
        })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// 22xxx for a value that Iceberg cannot hold; the sink's errors.
    pub fn write_row(&mut self, row: &Row<'_>) -> Result<()> {
        let start = self.block.len();
        self.encoder.encode(row, &mut self.block)?;
        let line = self.block.len() - start;
        if line > self.max_line {
            self.widen(start, line)?;
        }
        if self.block.len() >= BLOCK_BYTES {
            self.flush_block()?;
            if self.file_bytes >= self.rotation_bytes {
                self.end_file()?;
            }
        }
        Ok(())
    }

    /// Ends the last file and enters all files in the catalog; returns how many there are.
    pub fn finish(&mut self) -> Result<usize> {
        self.end_file()?;
        if !self.written.is_empty() {
            transaction::mark_changed(self.table.relid);
            files::insert(self.table.relid, &self.written)?;
        }
        Ok(std::mem::take(&mut self.written).len())
    }

    /// Makes room for a line longer than the open file's statement admits: the rows before it end that file.
    fn widen(&mut self, start: usize, line: usize) -> Result<()> {
        let wide_line = self.block.split_off(start);
        self.end_file()?;
        self.max_line = line.next_power_of_two();
        self.block = wide_line;
        Ok(())
    }

    fn flush_block(&mut self) -> Result<()> {
        if self.sink.is_none() {
            self.sink = Some(row_sink::open(DataFileCopy::new(&self.table, self.max_line))?);
        }
        if let Some(sink) = &mut self.sink {
            sink.write(&self.block)?;
        }
        self.file_bytes += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        if !self.block.is_empty() {
            self.flush_block()?;
        }
        if let Some(sink) = self.sink.take() {
            let result = sink.finish()?;
            self.written.extend(data_file_copy::written_files(&self.table.schema(), &result)?);
        }
        self.file_bytes = 0;
        Ok(())
    }
}
