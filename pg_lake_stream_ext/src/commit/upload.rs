//! Uploads of small objects (manifests, manifest lists, metadata.json) through RECEIVE, several at once.

use lake_iceberg::Object;
use pgduck_protocol::placeholder::PLACEHOLDER_LITERAL;

use crate::error::Result;
use crate::guc;
use crate::pgduck::pool;
use pgduck_protocol::sql::quote_literal;

/// Uploads all objects; when it returns, they are durable.
///
/// Every object of a round is under way before the first answer is awaited, so a round costs the time of its slowest
/// object. After an error the other uploads of the round are cut off.
pub fn upload_all(objects: &[Object]) -> Result<()> {
    for round in objects.chunks(guc::max_parallel_file_uploads()) {
        let mut connections = Vec::with_capacity(round.len());
        for object in round {
            let mut connection = pool::acquire()?;
            connection.send_simple(&format!(
                "RECEIVE COPY (SELECT content FROM read_blob({PLACEHOLDER_LITERAL})) TO {} (FORMAT BLOB)",
                quote_literal(&object.path)
            ))?;
            connections.push(connection);
        }
        for (connection, object) in connections.iter_mut().zip(round) {
            connection.wait_for_copy_in()?;
            connection.put_copy_data(&object.bytes)?;
            connection.end_copy()?;
        }
        for mut connection in connections {
            connection.last_result()?;
        }
    }
    Ok(())
}
