//! Memory for the values of one row, used again for the next: no allocation a value.

use pgrx::{PgSqlErrorCode, pg_sys, varlena};

use crate::error::{LakeError, Result};

/// Values begin at multiples of this, the largest alignment a type can ask for (`MAXIMUM_ALIGNOF`).
const ALIGNMENT: usize = size_of::<u64>();
/// Words of the first block: enough for most rows.
const FIRST_BLOCK: usize = 8 * 1024 / ALIGNMENT;
/// Words of a block that is kept for the next row; a larger one was for one large value.
const KEPT_BLOCK: usize = 1024 * 1024 / ALIGNMENT;
/// Largest value PostgreSQL can hold (`MaxAllocSize`, utils/memutils.h).
const MAX_VALUE: usize = 0x3fff_ffff;

/// Holds the values of one row that are passed by reference. They do not move, and are valid until the next
/// [`RowMemory::begin_row`].
#[derive(Debug, Default)]
pub struct RowMemory {
    /// Full blocks of the row, which only wait for its end.
    full: Vec<Box<[u64]>>,
    /// The block in use.
    block: Box<[u64]>,
    /// Words of `block` that are taken.
    used: usize,
}

impl RowMemory {
    /// Forgets the last row's values.
    pub fn begin_row(&mut self) {
        self.used = 0;
        self.full.clear();
        if self.block.len() > KEPT_BLOCK {
            self.block = Box::default();
        }
    }

    /// Stores a value of fixed width.
    pub fn store(&mut self, value: &[u8]) -> pg_sys::Datum {
        let place = self.take(value.len());
        place[..value.len()].copy_from_slice(value);
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
        place[pg_sys::VARHDRSZ..size].copy_from_slice(value);
        let start: *mut pg_sys::varlena = place.as_mut_ptr().cast();
        // SAFETY: `start` has room for the header and is aligned for it; the size was checked.
        unsafe { varlena::set_varsize_4b(start, size as i32) };
        Ok(pg_sys::Datum::from(start))
    }

    /// At least `size` bytes that nobody has.
    fn take(&mut self, size: usize) -> &mut [u8] {
        let words = size.div_ceil(ALIGNMENT);
        if self.block.len() - self.used < words {
            let larger = words.max(2 * self.block.len()).max(FIRST_BLOCK);
            self.full
                .push(std::mem::replace(&mut self.block, vec![0; larger].into()));
            self.used = 0;
        }
        let taken = &mut self.block[self.used..self.used + words];
        self.used += words;
        // SAFETY: the same memory, in bytes; u64 and u8 have no invalid values, and u8 no alignment.
        unsafe { std::slice::from_raw_parts_mut(taken.as_mut_ptr().cast(), words * ALIGNMENT) }
    }
}
