//! The file that a `RECEIVE` query reads its stream from: `/proc/self/fd/<n>`.
//!
//! The descriptor number is taken first, by an empty file in memory, so that the query can be checked before any data
//! is asked for. What stands behind the number is decided later:
//!
//! * a stream that ends within its first block is written into the file in memory;
//! * a longer one becomes a pipe, if the query can read one; parsing then overlaps with the transfer;
//! * else it goes to a file without a name in `--recv_dir`, which vanishes with its descriptor.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tokio::net::unix::pipe;

use crate::sys;

/// Capacity of the pipe; the kernel's limit for unprivileged users.
const PIPE_BYTES: usize = 1 << 20;

/// A descriptor number that a query reads from.
#[derive(Debug)]
pub struct ReceiveInput {
    file: File,
}

impl ReceiveInput {
    /// Takes a descriptor number.
    pub fn new() -> io::Result<ReceiveInput> {
        Ok(ReceiveInput {
            file: File::from(sys::memory_file("receive")?),
        })
    }

    /// The path under which DuckDB opens it.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// Appends to the file.
    pub fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)
    }

    /// Puts a pipe behind the number, and returns its write end.
    pub fn become_pipe(&mut self) -> io::Result<pipe::Sender> {
        let (read, write) = sys::pipe(PIPE_BYTES)?;
        self.replace(read)?;
        pipe::Sender::from_owned_fd(write)
    }

    /// Puts a file on disk behind the number.
    pub fn become_file(&mut self, directory: &Path) -> io::Result<()> {
        let file = nameless_file(directory)?;
        self.replace(file.into())
    }

    /// Puts another file behind the number.
    fn replace(&mut self, source: OwnedFd) -> io::Result<()> {
        sys::replace_descriptor(source, &self.file)
    }
}

/// Opens a file without a name.
fn nameless_file(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.custom_flags(libc::O_TMPFILE).open(directory) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        opened => return opened,
    }
    // Some file systems (overlayfs of older kernels) give every file a name, for a moment.
    let random = u64::from_ne_bytes(sys::random_bytes()?);
    let path = directory.join(format!("pgduck_receive_{random:016x}"));
    let file = options
        .custom_flags(libc::O_NOFOLLOW)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_path_changes_and_the_path_does_not() {
        let mut input = ReceiveInput::new().unwrap();
        let path = input.path();
        input.append(b"memory").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"memory");
        input.become_file(&std::env::temp_dir()).unwrap();
        input.append(b"disk").unwrap();
        assert_eq!(input.path(), path);
        assert_eq!(std::fs::read(&path).unwrap(), b"disk");
    }
}
