//! The bytes of text, bytea, numeric and other variable-length values.

use pgrx::{pg_sys, varlena};

/// The payload of a varlena datum, detoasted if it has to be.
///
/// A value that is stored in the row as it is (the usual case) is borrowed; a compressed or external one is copied into the
/// current memory context, which must outlive the use of the slice.
///
/// # Safety
/// `datum` must be a non-null datum of a varlena type, alive for `'a`.
#[inline]
pub unsafe fn payload<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    let mut pointer: *mut pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: the caller's; pg_detoast_datum_packed returns a plain varlena with a one- or four-byte header.
    unsafe {
        let plain = varlena::varatt_is_4b_u(pointer)
            || (varlena::varatt_is_1b(pointer) && !varlena::varatt_is_1b_e(pointer));
        if !plain {
            pointer = pg_sys::pg_detoast_datum_packed(pointer);
        }
        std::slice::from_raw_parts(
            varlena::vardata_any(pointer).cast(),
            varlena::varsize_any_exhdr(pointer),
        )
    }
}
