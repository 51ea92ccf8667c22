//! PostgreSQL's temporary files (storage/file/fd.c): counted against `temp_file_limit`, removed at the end of the transaction.

use std::ffi::{CStr, c_int};

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{LakeError, Result};

/// An open temporary file; removed when dropped, and by PostgreSQL if the transaction ends first.
pub struct TempFile {
    file: pg_sys::File,
    length: i64,
}

impl TempFile {
    /// Creates an empty file in a temporary tablespace.
    pub fn create() -> Self {
        // SAFETY: called in a transaction; errors raise.
        let file = unsafe { pg_sys::OpenTemporaryFile(false) };
        Self { file, length: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// 53100 when the disk is full; `temp_file_limit` raises.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let chunk = rest.len().min(c_int::MAX as usize);
            // SAFETY: the file is open and the buffer valid for `chunk` bytes, which FileWrite only reads.
            let written = unsafe { file_write(self.file, rest.as_ptr(), chunk, self.length) };
            let Some(written) = usize::try_from(written).ok().filter(|written| *written > 0) else {
                return Err(LakeError::new(
                    PgSqlErrorCode::ERRCODE_DISK_FULL,
                    format!(
                        "could not write temporary file: {}",
                        std::io::Error::last_os_error()
                    ),
                ));
            };
            self.length += written as i64;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// The file's absolute path.
    pub fn path(&self) -> String {
        // SAFETY: the file is open; both pointers are C strings that outlive this call.
        unsafe {
            let data_directory = CStr::from_ptr(pg_sys::DataDir).to_string_lossy();
            let path = CStr::from_ptr(pg_sys::FilePathName(self.file)).to_string_lossy();
            if path.starts_with('/') {
                path.into_owned()
            } else {
                format!("{data_directory}/{path}")
            }
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // After an ERROR the transaction's resource owner closes and removes the file; its descriptor may be gone by now.
        if !std::thread::panicking() && self.is_open_in_transaction() {
            // SAFETY: the file is open.
            unsafe { pg_sys::FileClose(self.file) };
        }
    }
}

impl TempFile {
    fn is_open_in_transaction(&self) -> bool {
        // SAFETY: a plain read. While a transaction aborts, PostgreSQL removes the file itself.
        unsafe { pg_sys::IsTransactionState() }
    }
}

/// `FileWrite`, whose buffer is `char *` before PostgreSQL 16 and `const void *` since.
unsafe fn file_write(file: pg_sys::File, buffer: *const u8, length: usize, offset: i64) -> isize {
    let event = pg_sys::WaitEventIO::WAIT_EVENT_BUFFILE_WRITE;
    // SAFETY: the caller's.
    unsafe { pg_sys::FileWrite(file, buffer as *mut _, length as _, offset, event) as isize }
}
