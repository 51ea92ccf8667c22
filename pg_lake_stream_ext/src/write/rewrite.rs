//! Data files that the server writes anew from others: no row passes through PostgreSQL.

use lake_iceberg::{DataFile, TableSchema, quote_identifier};

use crate::catalog::files::LiveFile;
use crate::catalog::lake_table::LakeTable;
use crate::error::Result;
use crate::live_rows::{LiveRows, POSITION_COLUMN, Selection};
use crate::pgduck::pool;
use crate::write::csv_copy::CsvCopy;
use crate::write::data_file_copy::{new_file_path, to_data_file, written_file};
use crate::write::position_deletes::{positions_csv, send_positions};
use crate::write::positions::Positions;
use crate::write::row_sink;

/// Writes the live rows of a file but those at `positions` to a new file.
pub fn without_positions(
    table: &LakeTable,
    file: &LiveFile,
    positions: &Positions,
) -> Result<DataFile> {
    let schema = table.schema();
    let path = new_file_path(&table.location)?;
    let columns = column_list(&schema);
    let live = LiveRows::of([file]).select(Selection {
        list: &columns,
        with_positions: true,
        condition: "",
    });
    let copy = CsvCopy {
        head: format!(
            "COPY (SELECT {columns} FROM ({live}) AS f ANTI JOIN (SELECT c1 AS _lake_removed FROM read_csv("
        ),
        tail: format!(
            ", {})) AS r ON f.{POSITION_COLUMN} = r._lake_removed) {}",
            positions_csv(),
            to_data_file(&schema, &path)
        ),
    };
    let mut sink = row_sink::open(&copy)?;
    send_positions(&mut *sink, positions.iter().map(|position| (0, position)))?;
    sink.end()?;
    let mut written = written_file(&schema, &path, &sink.finish()?)?;
    vouch_for_floats(&mut written, &[file], &[]);
    Ok(written)
}

/// Writes the live rows of a file but those that meet a condition to a new file.
pub fn without_matching(table: &LakeTable, file: &LiveFile, condition: &str) -> Result<DataFile> {
    write_selected(table, &[file], &format!("({condition}) IS NOT TRUE"))
}

/// Writes the live rows of some files to one new file, in their order.
pub fn compact(table: &LakeTable, files: &[&LiveFile]) -> Result<DataFile> {
    write_selected(table, files, "")
}

fn write_selected(table: &LakeTable, files: &[&LiveFile], condition: &str) -> Result<DataFile> {
    let schema = table.schema();
    let path = new_file_path(&table.location)?;
    let rows = LiveRows::of(files.iter().copied()).select(Selection {
        list: &column_list(&schema),
        with_positions: false,
        condition,
    });
    let statement = format!("COPY ({rows}) {}", to_data_file(&schema, &path));
    let result = pool::acquire()?.simple_query(&statement)?;
    let mut written = written_file(&schema, &path, &result)?;
    vouch_for_floats(&mut written, files, &[]);
    Ok(written)
}

/// The table's columns, quoted.
fn column_list(schema: &TableSchema) -> String {
    let names: Vec<String> = schema
        .columns
        .iter()
        .map(|column| quote_identifier(&column.name))
        .collect();
    names.join(", ")
}

/// A float column that has no NaN in any of the old files has none in the new one, unless it has got new values.
pub fn vouch_for_floats(written: &mut DataFile, from: &[&LiveFile], assigned_fields: &[i32]) {
    let field_ids: Vec<i32> = written
        .columns
        .iter()
        .map(|column| column.field_id)
        .filter(|field_id| !assigned_fields.contains(field_id))
        .collect();
    for field_id in field_ids {
        let is_clean = |file: &&LiveFile| {
            file.data
                .column_stats
                .iter()
                .any(|column| column.field_id == field_id && column.has_nan == Some(false))
        };
        if from.iter().all(is_clean) {
            written.confirm_no_nan(field_id);
        }
    }
}
