//! Tells lake tables from other relations.

use std::ffi::CStr;

use pgrx::pg_sys;

/// The server whose foreign tables are lake tables.
pub const LAKE_SERVER: &CStr = c"pg_lake_iceberg";

/// Whether a relation is a foreign table on [`LAKE_SERVER`].
pub fn is_lake_table(relid: pg_sys::Oid) -> bool {
    // SAFETY: syscache look-ups on an existing relation; the server of a foreign table exists.
    unsafe {
        if pg_sys::get_rel_relkind(relid) as u8 != pg_sys::RELKIND_FOREIGN_TABLE {
            return false;
        }
        let server = pg_sys::GetForeignServer((*pg_sys::GetForeignTable(relid)).serverid);
        CStr::from_ptr((*server).servername) == LAKE_SERVER
    }
}

/// The lake table of this name, or `None` if there is no relation of the name or it is something else.
///
/// # Safety
/// `relation` must be a valid range variable.
pub unsafe fn find(relation: *mut pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    // SAFETY: the caller's. No lock: the statement that follows takes the one that it needs.
    let relid = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            relation,
            pg_sys::NoLock as pg_sys::LOCKMODE,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
    };
    (relid != pg_sys::InvalidOid && is_lake_table(relid)).then_some(relid)
}
