//! Writes the rows of one statement into data files of one table.

use std::ops::Range;

use lake_iceberg::DataFile;
use pgduck_protocol::csv;

use crate::catalog::files;
use crate::catalog::lake_table::LakeTable;
use crate::commit::transaction;
use crate::error::Result;
use crate::guc;
use crate::pg::tuple::Row;
use crate::write::data_file_copy::DataFileCopy;
use crate::write::row_encoder::{CsvEncoder, RowEncoder};
use crate::write::row_sink::{self, RowSink};

/// Rows are handed to the sink in blocks of about this size.
const BLOCK_BYTES: usize = 256 * 1024;

/// Encodes rows, cuts them into files, and enters the files in the catalog.
pub struct TableWriter {
    table: LakeTable,
    /// Holds the encoded rows that the sink has not got yet.
    encoder: Box<dyn RowEncoder>,
    /// The open file; `None` before the first block and between two files.
    open: Option<OpenFile>,
    /// Bytes that the open file has got.
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
            open: None,
            file_bytes: 0,
            max_line: csv::DEFAULT_MAX_LINE_BYTES as usize,
            rotation_bytes: guc::rotation_bytes(),
            written: Vec::new(),
        })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// 22xxx for a value that Iceberg cannot hold; the sink's errors.
    pub fn write_row(&mut self, row: &Row<'_>) -> Result<()> {
        let start = self.encoder.encoded().len();
        self.encoder.encode(row)?;
        let end = self.encoder.encoded().len();
        if end - start > self.max_line {
            self.widen(start, end - start)?;
        }
        if self.encoder.encoded().len() >= BLOCK_BYTES {
            self.flush_block()?;
            if self.file_bytes >= self.rotation_bytes {
                self.end_file()?;
            }
        }
        Ok(())
    }

    /// Hands over the last rows and tells the server that the open file is complete, without waiting for it.
    /// [`Self::finish`] must follow.
    pub fn end(&mut self) -> Result<()> {
        self.flush_block()?;
        if let Some(file) = &mut self.open {
            file.end()?;
        }
        Ok(())
    }

    /// Ends the open file and enters all files in the catalog. More rows may follow, in new files.
    pub fn finish(&mut self) -> Result<()> {
        self.end_file()?;
        if !self.written.is_empty() {
            transaction::mark_changed(self.table.relid);
            files::insert_data(self.table.relid, &self.written)?;
            self.written.clear();
        }
        Ok(())
    }

    /// Makes room for a line longer than the open file's statement admits: the rows before it end that file.
    fn widen(&mut self, start: usize, line: usize) -> Result<()> {
        self.flush(0..start)?;
        self.close_file()?;
        self.max_line = line.next_power_of_two();
        self.flush(start..start + line)?;
        self.encoder.clear();
        Ok(())
    }

    fn flush_block(&mut self) -> Result<()> {
        self.flush(0..self.encoder.encoded().len())?;
        self.encoder.clear();
        Ok(())
    }

    /// Hands a range of the encoded bytes to the sink.
    fn flush(&mut self, range: Range<usize>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let file = match &mut self.open {
            Some(file) => file,
            None => self.open.insert(OpenFile::new(DataFileCopy::new(
                &self.table,
                self.max_line,
            )?)?),
        };
        file.sink.write(&self.encoder.encoded()[range.clone()])?;
        self.file_bytes += range.len() as u64;
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        self.flush_block()?;
        self.close_file()?;
        self.encoder.begin_file();
        Ok(())
    }

    fn close_file(&mut self) -> Result<()> {
        if let Some(mut file) = self.open.take() {
            file.end()?;
            let OpenFile { copy, sink, .. } = file;
            let mut file = copy.written_file(&self.table.schema(), &sink.finish()?)?;
            for field_id in self.encoder.fields_without_nan() {
                file.confirm_no_nan(field_id);
            }
            self.written.push(file);
        }
        self.file_bytes = 0;
        Ok(())
    }
}

/// A data file that is being written.
struct OpenFile {
    copy: DataFileCopy,
    sink: Box<dyn RowSink>,
    /// Whether the server knows that all rows have come.
    ended: bool,
}

impl OpenFile {
    fn new(copy: DataFileCopy) -> Result<Self> {
        let sink = row_sink::open(&copy.copy)?;
        Ok(Self {
            copy,
            sink,
            ended: false,
        })
    }

    fn end(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.ended, true) {
            self.sink.end()?;
        }
        Ok(())
    }
}
