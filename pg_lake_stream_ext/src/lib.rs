//! Ext.
use pgrx::prelude::*;
pgrx::pg_module_magic!();
/// Init.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {}
