//! The way of a row into a data file, [`table_writer`] → [`row_encoder`] → [`row_sink`], and out of the table,
//! [`row_removal`] → [`position_deletes`].
//!
//! INSERT, UPDATE, COPY FROM and CREATE TABLE AS all write through one [`table_writer::TableWriter`]. It encodes rows into
//! blocks, hands the blocks to a sink, ends a file when it is large enough and begins the next one. The sink is a stream to
//! the server ([`csv_stream_writer`]) or a file that the server reads ([`csv_file_writer`]); the bytes are the same.
//! UPDATE and DELETE gather the positions of rows, which go to the server through the same sinks when the statement ends.

pub mod csv_copy;
pub mod csv_file_writer;
pub mod csv_stream_writer;
pub mod data_file_copy;
pub mod position_deletes;
pub mod positions;
pub mod rewrite;
pub mod row_encoder;
pub mod row_removal;
pub mod row_sink;
pub mod server_change;
pub mod table_changes;
pub mod table_writer;
