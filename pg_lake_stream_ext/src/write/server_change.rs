//! A DELETE or UPDATE of which the server finds the rows, and writes their deletes and new versions.

use std::collections::{BTreeMap, HashMap};

use lake_iceberg::DataFile;

use crate::catalog::files::{self, LiveFile};
use crate::catalog::lake_table::LakeTable;
use crate::commit::transaction;
use crate::error::{LakeError, Result};
use crate::live_rows::{FILE_COLUMN, LiveRows, POSITION_COLUMN, Selection};
use crate::pgduck::pool::{self, PooledConnection};
use crate::write::data_file_copy::{new_file_path, to_data_file, written_file};
use crate::write::positions::Positions;
use crate::write::rewrite;
use crate::write::row_removal::{MAX_KNOWN_POSITIONS, Removed, RowRemoval};

/// The change.
pub struct ServerChange<'a> {
    /// The table.
    pub table: LakeTable,
    /// Its files as the statement sees them.
    pub files: &'a [LiveFile],
    /// Places of the files in which some rows may be meant.
    pub undecided: &'a [usize],
    /// Places of the files in which all rows are meant.
    pub covered: &'a [usize],
    /// Which rows are meant; empty for all.
    pub condition: &'a str,
    /// Of an UPDATE: the new rows' columns, in the table's order.
    pub new_rows: Option<&'a str>,
    /// Field ids of the columns that the UPDATE assigns.
    pub assigned_fields: &'a [i32],
}

impl ServerChange<'_> {
    /// Does it; returns how many rows were meant.
    pub fn run(self) -> Result<u64> {
        let mut removal = RowRemoval::new(self.files.to_vec());
        let mut count = 0;
        let mut touched = Vec::new();
        for place in self.covered {
            count += self.files[*place].live_rows();
            removal.remove_from(*place, Removed::All);
            touched.push(*place);
        }
        for (place, matching, removed) in self.find()? {
            count += matching;
            removal.remove_from(place, removed);
            touched.push(place);
        }
        if count == 0 {
            return Ok(0);
        }
        let new_rows = self.start_new_rows(&touched)?;
        let removed = removal.end(&self.table, self.condition)?;
        if let Some(new_rows) = new_rows {
            let relid = self.table.relid;
            let file = self.finish_new_rows(new_rows, count, &touched)?;
            transaction::mark_changed(relid);
            files::insert_data(relid, &[file])?;
        }
        if let Some(removed) = removed {
            removed.finish(self.table.relid)?;
        }
        Ok(count)
    }

    /// The rows that are meant in the undecided files: place of the file, number, and the rows. Few come with their
    /// positions.
    fn find(&self) -> Result<Vec<(usize, u64, Removed)>> {
        if self.undecided.is_empty() {
            return Ok(Vec::new());
        }
        let rows = LiveRows::of(self.undecided.iter().map(|place| &self.files[*place]));
        let places: HashMap<i64, usize> = self
            .undecided
            .iter()
            .map(|place| (self.files[*place].data.id, *place))
            .collect();
        let place_of = |number: usize| {
            let file = rows.files().get(number);
            file.and_then(|file| places.get(&file.data.id).copied())
                .ok_or_else(unexpected)
        };
        let select = rows.select(Selection {
            list: "",
            with_positions: true,
            condition: self.condition,
        });
        if let Some(few) = find_few(&select)? {
            let mut found: BTreeMap<usize, Positions> = BTreeMap::new();
            for (number, position) in few {
                found.entry(place_of(number)?).or_default().insert(position);
            }
            return Ok(found
                .into_iter()
                .map(|(place, positions)| (place, positions.len(), Removed::Positions(positions)))
                .collect());
        }
        let sql = format!(
            "SELECT {FILE_COLUMN} AS f, count(*) AS n, min({POSITION_COLUMN}, {MAX_KNOWN_POSITIONS})::VARCHAR AS p \
             FROM ({select}) GROUP BY 1 ORDER BY 1"
        );
        let result = pool::acquire()?.simple_query(&sql)?;
        let mut found = Vec::with_capacity(result.rows());
        for row in 0..result.rows() {
            let place = place_of(result.parse(row, 0)?)?;
            let count: u64 = result.parse(row, 1)?;
            let removed = match count <= MAX_KNOWN_POSITIONS {
                true => Removed::Positions(parse_positions(result.text(row, 2)?)?),
                false => Removed::Matching(count),
            };
            found.push((place, count, removed));
        }
        Ok(found)
    }

    /// Has the server begin to write the new versions of the rows.
    fn start_new_rows(&self, touched: &[usize]) -> Result<Option<(PooledConnection, String)>> {
        let Some(list) = self.new_rows else {
            return Ok(None);
        };
        let rows = LiveRows::of(touched.iter().map(|place| &self.files[*place]));
        let select = rows.select(Selection {
            list,
            with_positions: false,
            condition: self.condition,
        });
        let path = new_file_path(&self.table.location)?;
        let mut connection = pool::acquire()?;
        connection.send_simple(&format!(
            "COPY ({select}) {}",
            to_data_file(&self.table.schema(), &path)
        ))?;
        Ok(Some((connection, path)))
    }

    fn finish_new_rows(
        &self,
        (mut connection, path): (PooledConnection, String),
        count: u64,
        touched: &[usize],
    ) -> Result<DataFile> {
        let result = connection.last_result()?;
        let mut file = written_file(&self.table.schema(), &path, &result)?;
        if file.record_count != count {
            return Err(LakeError::internal(format!(
                "pgduck_server has written {} new rows instead of {count}",
                file.record_count
            )));
        }
        let from: Vec<&LiveFile> = touched.iter().map(|place| &self.files[*place]).collect();
        rewrite::vouch_for_floats(&mut file, &from, self.assigned_fields);
        Ok(file)
    }
}

/// The rows of a SELECT of files' numbers and positions, if they are few; the server stops when it has found too many.
fn find_few(select: &str) -> Result<Option<Vec<(usize, u64)>>> {
    let sql = format!("FROM ({select}) LIMIT {}", MAX_KNOWN_POSITIONS + 1);
    let result = pool::acquire()?.simple_query(&sql)?;
    if result.rows() as u64 > MAX_KNOWN_POSITIONS {
        return Ok(None);
    }
    (0..result.rows())
        .map(|row| Ok((result.parse(row, 0)?, result.parse(row, 1)?)))
        .collect::<Result<_>>()
        .map(Some)
}

/// `[1, 5, 7]`
fn parse_positions(text: &str) -> Result<Positions> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or_else(unexpected)?;
    let mut positions = Positions::default();
    for number in inner.split(", ") {
        positions.insert(number.parse().map_err(|_| unexpected())?);
    }
    Ok(positions)
}

fn unexpected() -> LakeError {
    LakeError::internal("pgduck_server returned unexpected positions")
}
