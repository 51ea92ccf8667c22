//! A row of the executor, read-only.

use pgrx::pg_sys;

/// All attributes of a slot's tuple, by attribute number.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl<'a> Row<'a> {
    /// Deforms the slot's tuple and borrows its values.
    ///
    /// # Safety
    /// `slot` must be valid and hold a tuple, and must not be cleared or refilled while the row is in use.
    pub unsafe fn of_slot(slot: *mut pg_sys::TupleTableSlot) -> Self {
        // SAFETY: the caller's; after slot_getsomeattrs the first `natts` entries of both arrays are set.
        unsafe {
            let natts = (*(*slot).tts_tupleDescriptor).natts;
            if i32::from((*slot).tts_nvalid) < natts {
                pg_sys::slot_getsomeattrs_int(slot, natts);
            }
            Self {
                values: std::slice::from_raw_parts((*slot).tts_values, natts as usize),
                nulls: std::slice::from_raw_parts((*slot).tts_isnull, natts as usize),
            }
        }
    }

    /// The attribute with this index (attribute number less one), or `None` for NULL.
    #[inline]
    pub fn get(&self, index: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[index]).then(|| self.values[index])
    }
}
