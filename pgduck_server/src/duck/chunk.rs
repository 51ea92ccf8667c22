//! Chunks of rows, and typed access to their columns.

use std::marker::PhantomData;

use libduckdb_sys as ffi;

/// Up to 2048 rows, in columns.
#[derive(Debug)]
pub struct Chunk {
    raw: ffi::duckdb_data_chunk,
    rows: usize,
}

// SAFETY: a chunk owns its memory and is used by one thread at a time (it is not `Sync`).
unsafe impl Send for Chunk {}

impl Chunk {
    /// Takes over a chunk that the caller got from DuckDB.
    pub(super) fn from_owned(raw: ffi::duckdb_data_chunk) -> Chunk {
        // SAFETY: the chunk is alive.
        let rows = unsafe { ffi::duckdb_data_chunk_get_size(raw) } as usize;
        Chunk { raw, rows }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One column; the index must be in range.
    pub fn column(&self, index: usize) -> Vector<'_> {
        // SAFETY: the chunk is alive as long as the vector borrows it.
        unsafe { Vector::from_raw(ffi::duckdb_data_chunk_get_vector(self.raw, index as u64)) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: taken over by `from_owned` and destroyed only here.
        unsafe { ffi::duckdb_destroy_data_chunk(&mut self.raw) };
    }
}

/// A fixed-size value that DuckDB stores as it is, in native byte order.
///
/// # Safety
/// Every bit pattern must be a valid value of the type.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($ty:ty),*) => {$(
        // SAFETY: numbers, and structs of numbers without padding, are valid for every bit pattern.
        unsafe impl Plain for $ty {}
    )*};
}
plain!(
    u8,
    i8,
    u16,
    i16,
    u32,
    i32,
    u64,
    i64,
    f32,
    f64,
    ListEntry,
    IntervalValue,
    Wide
);

/// Where a row's list lies in the child vector.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ListEntry {
    /// First element.
    pub offset: u64,
    /// Number of elements.
    pub length: u64,
}

/// An interval as it is stored.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct IntervalValue {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub microseconds: i64,
}

/// A 128-bit integer as it is stored: lower half first, aligned to 8 bytes only.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Wide {
    lower: u64,
    upper: u64,
}

impl Wide {
    /// The value as a signed number.
    pub fn signed(self) -> i128 {
        self.unsigned() as i128
    }

    /// The value as an unsigned number.
    pub fn unsigned(self) -> u128 {
        (u128::from(self.upper) << 64) | u128::from(self.lower)
    }
}

/// A column of a chunk, or a child of such a column.
#[derive(Debug, Clone, Copy)]
pub struct Vector<'a> {
    raw: ffi::duckdb_vector,
    data: *const u8,
    validity: *const u64,
    _chunk: PhantomData<&'a Chunk>,
}

impl<'a> Vector<'a> {
    /// Wraps a vector.
    ///
    /// # Safety
    /// `raw` is a live, flat vector whose memory outlives `'a`.
    pub(super) unsafe fn from_raw(raw: ffi::duckdb_vector) -> Vector<'a> {
        // SAFETY: the vector is alive by this function's contract.
        let (data, validity) = unsafe {
            (
                ffi::duckdb_vector_get_data(raw),
                ffi::duckdb_vector_get_validity(raw),
            )
        };
        Vector {
            raw,
            data: data.cast(),
            validity,
            _chunk: PhantomData,
        }
    }

    /// Whether a row is NULL; the row must be in range.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        if self.validity.is_null() {
            return false;
        }
        // SAFETY: the mask has one bit for each row of the vector, and `row` is in range.
        let word = unsafe { *self.validity.add(row / 64) };
        word >> (row % 64) & 1 == 0
    }

    /// The value of a row; the row must be in range and `T` the type of the column's storage.
    #[inline]
    pub fn value<T: Plain>(&self, row: usize) -> T {
        // SAFETY: the storage holds one `T` for each row, and every bit pattern is a valid `T`.
        unsafe { self.data.cast::<T>().add(row).read_unaligned() }
    }

    /// The bytes of a row of a column of strings, blobs or bits; the row must be in range and not NULL.
    #[inline]
    pub fn bytes(&self, row: usize) -> &'a [u8] {
        // SAFETY: the storage holds one `duckdb_string_t` for each row. Strings of up to 12 bytes are stored in
        // place, longer ones behind the pointer; both live as long as the chunk.
        unsafe {
            let string = self.data.cast::<ffi::duckdb_string_t>().add(row);
            let length = (*string).value.inlined.length as usize;
            let start = if length <= 12 {
                (&raw const (*string).value.inlined.inlined).cast::<u8>()
            } else {
                (*string).value.pointer.ptr.cast::<u8>().cast_const()
            };
            std::slice::from_raw_parts(start, length)
        }
    }

    /// The elements of all lists of a `LIST` or `MAP` column.
    pub fn list_child(&self) -> Vector<'a> {
        // SAFETY: the child belongs to this vector and lives as long.
        unsafe { Vector::from_raw(ffi::duckdb_list_vector_get_child(self.raw)) }
    }

    /// The elements of all arrays of an `ARRAY` column, one array behind the other.
    pub fn array_child(&self) -> Vector<'a> {
        // SAFETY: the child belongs to this vector and lives as long.
        unsafe { Vector::from_raw(ffi::duckdb_array_vector_get_child(self.raw)) }
    }

    /// A member of a `STRUCT` column; for a `UNION`, the tag is member 0.
    pub fn struct_child(&self, index: usize) -> Vector<'a> {
        // SAFETY: the child belongs to this vector and lives as long.
        unsafe { Vector::from_raw(ffi::duckdb_struct_vector_get_child(self.raw, index as u64)) }
    }
}
