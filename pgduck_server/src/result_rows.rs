//! Rows of a result: their columns, their number, and portals that send them in pieces.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::duck::{Chunk, Kind, QueryResult, Type};
use crate::encode::{self, Column, Format};
use crate::errors::{ServerError, sqlstate};
use crate::output::{BUFFER_BYTES, Output};
use crate::query_control::QueryControl;

/// Counts what a command tag reports: rows, but for `COPY … (RETURN_STATS)` the rows that the files hold.
#[derive(Debug)]
pub struct RowCounter {
    count_column: Option<usize>,
    /// The number.
    pub count: u64,
}

impl RowCounter {
    /// A counter for a statement of this kind with these columns.
    pub fn new(kind: Kind, columns: &[Column]) -> RowCounter {
        let count_column = (kind == Kind::Copy)
            .then(|| {
                columns.iter().position(|column| {
                    column.name.eq_ignore_ascii_case("count")
                        && matches!(column.ty, Type::BigInt | Type::UBigInt)
                })
            })
            .flatten();
        RowCounter {
            count_column,
            count: 0,
        }
    }

    /// Counts a chunk.
    pub fn add(&mut self, chunk: &Chunk) {
        self.count += match self.count_column {
            Some(column) => {
                let column = chunk.column(column);
                (0..chunk.rows())
                    .filter(|&row| !column.is_null(row))
                    .map(|row| column.value::<u64>(row))
                    .sum()
            }
            None => chunk.rows() as u64,
        };
    }
}

/// The columns of a result, with the formats that the client asked for: none (text), one for all, or one each.
pub fn describe(
    columns: Vec<(String, Type)>,
    formats: &[Format],
) -> Result<Vec<Column>, ServerError> {
    if formats.len() > 1 && formats.len() != columns.len() {
        return Err(ServerError::protocol(format!(
            "bind message has {} result formats but query has {} columns",
            formats.len(),
            columns.len()
        )));
    }
    columns
        .into_iter()
        .enumerate()
        .map(|(index, (name, ty))| {
            let format = formats
                .get(index)
                .or(formats.first())
                .copied()
                .unwrap_or(Format::Text);
            if matches!(ty, Type::Unknown) {
                return Err(ServerError::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    format!("type of column \"{name}\" is not supported"),
                )
                .with_hint("Cast it to VARCHAR."));
            }
            Ok(Column::new(name, ty, format))
        })
        .collect()
}

/// Rows of a portal: a result that may be read in pieces.
#[derive(Debug)]
pub struct PortalRows {
    result: QueryResult,
    columns: Vec<Column>,
    /// Chunks that were read ahead because another statement needed the connection.
    kept: VecDeque<Chunk>,
    /// The chunk that is being sent, and its first row that has not been sent.
    current: Option<(Chunk, usize)>,
    drained: bool,
    counter: RowCounter,
}

impl PortalRows {
    /// Takes over a result with rows.
    pub fn new(
        mut result: QueryResult,
        kind: Kind,
        formats: &[Format],
    ) -> Result<PortalRows, ServerError> {
        let columns = describe(result.columns(), formats)?;
        let counter = RowCounter::new(kind, &columns);
        Ok(PortalRows {
            result,
            columns,
            kept: VecDeque::new(),
            current: None,
            drained: false,
            counter,
        })
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Rows sent so far, or what else the command tag reports.
    pub fn count(&self) -> u64 {
        self.counter.count
    }

    /// Sends up to `max_rows` rows (0: all); whether there may be more.
    pub fn send(
        &mut self,
        max_rows: u64,
        control: &Arc<QueryControl>,
        output: &mut Output,
    ) -> Result<bool, ServerError> {
        let mut left = if max_rows == 0 { u64::MAX } else { max_rows };
        while left > 0 {
            let Some((chunk, from)) = self.current.take().map_or_else(
                || Ok::<_, ServerError>(self.next_chunk()?.map(|chunk| (chunk, 0))),
                |current| Ok(Some(current)),
            )?
            else {
                return Ok(false);
            };
            if from == 0 {
                self.counter.add(&chunk);
            }
            let wanted = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(chunk.rows() - from);
            let out = output.buffer();
            let next = encode::data_rows(
                &chunk,
                from,
                from + wanted,
                &self.columns,
                BUFFER_BYTES,
                out,
            )?;
            output.pass_on(control)?;
            left -= (next - from) as u64;
            if next < chunk.rows() {
                self.current = Some((chunk, next));
            }
        }
        Ok(true)
    }

    /// Reads the rest into memory, so that the connection can run something else.
    pub fn keep_rest(&mut self) -> Result<(), ServerError> {
        while !self.drained {
            match self.result.next_chunk()? {
                Some(chunk) => self.kept.push_back(chunk),
                None => self.drained = true,
            }
        }
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>, ServerError> {
        if let Some(chunk) = self.kept.pop_front() {
            return Ok(Some(chunk));
        }
        if self.drained {
            return Ok(None);
        }
        let chunk = self.result.next_chunk()?;
        self.drained = chunk.is_none();
        Ok(chunk)
    }
}
