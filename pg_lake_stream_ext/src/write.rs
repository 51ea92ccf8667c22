//! The way of a row into a data file: [`table_writer`] → [`row_encoder`] → [`row_sink`].
//!
//! INSERT, COPY FROM and CREATE TABLE AS all write through one [`table_writer::TableWriter`]. It encodes rows into blocks,
//! hands the blocks to a sink, ends a file when it is large enough and begins the next one. The sink is a stream to the
//! server ([`csv_stream_writer`]) or a file that the server reads ([`csv_file_writer`]); the bytes are the same.

pub mod csv_file_writer;
pub mod csv_stream_writer;
pub mod data_file_copy;
pub mod row_encoder;
pub mod row_sink;
pub mod table_writer;
