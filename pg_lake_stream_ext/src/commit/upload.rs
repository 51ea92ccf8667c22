//! Uploads of small objects (manifests, manifest lists, metadata.json): all of a commit in one RECEIVE.

use lake_iceberg::Object;
use pgduck_protocol::placeholder::PLACEHOLDER_LITERAL;
use pgduck_protocol::sql::quote_literal;

use crate::error::{LakeError, Result};
use crate::guc;
use crate::pgduck::pool;

/// Uploads all objects; when it returns, they are durable.
///
/// Their bytes travel one after the other in one stream, which the server cuts: one round trip, whatever their number. It
/// writes the objects of a stream side by side; after an error nothing refers to those that were written.
pub fn upload_all(objects: &[Object]) -> Result<()> {
    for round in objects.chunks(guc::max_parallel_file_uploads()) {
        let mut connection = pool::acquire()?;
        connection.send_simple(&receive_statement(round))?;
        connection.wait_for_copy_in()?;
        for object in round {
            connection.put_copy_data(&object.bytes)?;
        }
        connection.end_copy()?;
        let written: usize = connection.last_result()?.parse(0, 0)?;
        if written != round.len() {
            return Err(LakeError::internal(format!(
                "pgduck_server has written {written} objects instead of {}",
                round.len()
            )));
        }
    }
    Ok(())
}

fn receive_statement(objects: &[Object]) -> String {
    let mut first = 0;
    let places: Vec<String> = objects
        .iter()
        .map(|object| {
            let length = object.bytes.len();
            let place = format!("({}, {first}, {length})", quote_literal(&object.path));
            first += length;
            place
        })
        .collect();
    format!(
        "RECEIVE SELECT count(pg_lake_write_file(v.url, b.content, v.first, v.length)) \
         FROM read_blob({PLACEHOLDER_LITERAL}) AS b, (VALUES {}) AS v(url, first, length)",
        places.join(", ")
    )
}
