//! The object access hook: a dropped lake table leaves the catalogs, however it was dropped (DROP TABLE, CASCADE, OWNED BY).

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pgrx::{pg_guard, pg_sys};

use crate::catalog::tables;
use crate::ddl::lake_relation;
use crate::error::OrRaise;

static PREVIOUS: OnceLock<pg_sys::object_access_hook_type> = OnceLock::new();

/// Puts this hook before the others.
pub fn install() {
    // SAFETY: hooks are installed while the library is loaded, by the backend's only thread.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::object_access_hook);
        pg_sys::object_access_hook = Some(object_access);
    }
}

unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: c_int,
    argument: *mut c_void,
) {
    if let Some(Some(previous)) = PREVIOUS.get() {
        // SAFETY: PostgreSQL's arguments, passed on.
        unsafe { previous(access, class, object, sub_object, argument) };
    }
    let drops_relation = access == pg_sys::ObjectAccessType::OAT_DROP
        && class == pg_sys::RelationRelationId
        && sub_object == 0;
    if drops_relation {
        // SAFETY: the relation still exists while it is being dropped.
        unsafe { relation_dropped(object) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_dropped(relid: pg_sys::Oid) {
    if lake_relation::is_lake_table(relid) {
        tables::delete(relid).or_raise();
    }
}
