//! The parsed metadata of the tables that this backend has committed to.
//!
//! Metadata files never change, so an entry is right exactly when its location is the one in the catalog; anything else is
//! read anew through the server.

use std::cell::RefCell;
use std::collections::HashMap;

use lake_iceberg::TableState;
use pgrx::pg_sys;

use crate::error::Result;
use crate::pgduck::object;

/// A backend that writes to more tables than this starts over.
const MAX_TABLES: usize = 256;

thread_local! {
    static STATES: RefCell<HashMap<u32, TableState>> = RefCell::new(HashMap::new());
}

/// The version of a table whose metadata is at `metadata_location`.
pub fn load(relid: pg_sys::Oid, metadata_location: &str) -> Result<TableState> {
    let cached = STATES.with_borrow(|states| states.get(&relid.to_u32()).cloned());
    if let Some(state) = cached.filter(|state| state.metadata_location() == metadata_location) {
        return Ok(state);
    }
    let mut state =
        TableState::from_metadata(metadata_location, &object::read(metadata_location)?)?;
    if let Some(list) = state.manifest_list_to_load().map(str::to_owned) {
        state = state.with_manifest_list(object::read(&list)?)?;
    }
    store(relid, state.clone());
    Ok(state)
}

/// Keeps a version that this backend has just written or read.
pub fn store(relid: pg_sys::Oid, state: TableState) {
    STATES.with_borrow_mut(|states| {
        if states.len() >= MAX_TABLES {
            states.clear();
        }
        states.insert(relid.to_u32(), state);
    });
}
