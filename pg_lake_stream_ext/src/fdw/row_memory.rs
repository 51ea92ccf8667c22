//! Memory for the values of one row, used again for the next: no allocation a value.

use pgrx::{PgSqlErrorCode, pg_sys, varlena};

use crate::error::{LakeError, Result};

/// Values begin at multiples of this, the largest alignment a type can ask for (`MAXIMUM_ALIGNOF`).
const ALIGNMENT: usize = size_of::<u64>();
/// Largest value PostgreSQL can hold (`MaxAllocSize`, utils/memutils.h).
const MAX_VALUE: usize = 0x3fff_ffff;

/// Holds the values of one row that are passed by reference. They are valid until the next [`RowMemory::begin_row`].
#[derive(Debug, Default)]
pub struct RowMemory {
    words: Vec<u64>,
    used: usize,
}

impl RowMemory {
    /// Bytes to reserve for a value of this size.
    pub fn space(size: usize) -> usize {
        size.next_multiple_of(ALIGNMENT)
    }

    /// Forgets the last row's values and reserves memory for all values of the next: nothing moves once it is stored.
    pub fn begin_row(&mut self, space: usize) {
        self.used = 0;
        let words = space / ALIGNMENT;
        if self.words.len() < words {
            self.words = vec![0; words.next_power_of_two()];
        }
    }

    /// Stores a value of fixed width.
    pub fn store(&mut self, value: &[u8]) -> pg_sys::Datum {
        let place = self.take(value.len());
        place.copy_from_slice(value);
        pg_sys::Datum::from(place.as_mut_ptr())
    }

    /// Stores a value of variable width.
    ///
    /// # Errors
    /// 54000 if it is larger than PostgreSQL's values can be.
    pub fn store_varlena(&mut self, value: &[u8]) -> Result<pg_sys::Datum> {
        let size = pg_sys::VARHDRSZ + value.len();
        if size > MAX_VALUE {
            return Err(LakeError::new(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("a value of {} bytes is too large", value.len()),
            ));
        }
        let place = self.take(size);
        place[pg_sys::VARHDRSZ..].copy_from_slice(value);
        let start: *mut pg_sys::varlena = place.as_mut_ptr().cast();
        // SAFETY: `start` has room for the header and is aligned for it; the size was checked.
        unsafe { varlena::set_varsize_4b(start, size as i32) };
        Ok(pg_sys::Datum::from(start))
    }

    /// The next `size` bytes of the reserved memory.
    fn take(&mut self, size: usize) -> &mut [u8] {
        let start = self.used;
        self.used += Self::space(size);
        // SAFETY: u64 has no invalid bytes, and the slice covers exactly the words, which are borrowed for as long.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(
                self.words.as_mut_ptr().cast::<u8>(),
                self.words.len() * ALIGNMENT,
            )
        };
        &mut bytes[start..start + size]
    }
}
