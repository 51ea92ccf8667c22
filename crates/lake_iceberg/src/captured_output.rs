//! An output file of the iceberg crate whose bytes stay in memory.
//!
//! The crate's writers are asynchronous, but nothing in here ever waits: `block_on` polls once, on
//! the calling thread, and no runtime is started.

use futures::executor::block_on;
use iceberg::io::{FileIO, OutputFile};

use crate::error::{Context, ErrorKind, Result};

/// Lets `write` write the object `path`, and returns what `write` did and the object's bytes.
pub(crate) fn capture<T>(
    path: &str,
    write: impl AsyncFnOnce(OutputFile) -> iceberg::Result<T>,
) -> Result<(T, Vec<u8>)> {
    let captured = block_on(async {
        let memory = FileIO::new_with_memory();
        let result = write(memory.new_output(path)?).await?;
        let bytes = memory.new_input(path)?.read().await?;
        Ok::<_, iceberg::Error>((result, bytes.to_vec()))
    });
    captured.context(ErrorKind::Internal, format!("could not write {path}"))
}
