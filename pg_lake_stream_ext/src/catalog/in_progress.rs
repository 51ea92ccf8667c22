//! Names for new objects, and `lake_engine.in_progress_files`, by which objects are found that nothing came to refer to.
//!
//! An *operation* is a stretch of a session's life without an abort. All objects that it writes have UUIDs that begin with
//! its number. Before it writes to a location for the first time, a record of the two goes to the table, in a way that
//! survives the transaction's abort and a crash: as a frozen row, flushed to the write-ahead log. From then on objects
//! cost nothing. While the operation lasts the session holds a lock on its number; an abort ends both. Whoever finds a
//! record whose lock is free knows that all objects with its number that the catalogs do not name are garbage.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_int;

use pgrx::{IntoDatum, pg_guard, pg_sys};
use uuid::Uuid;

use crate::commit::transaction;
use crate::error::{LakeError, Result};

/// Bits of an operation's number: what the first 6 bytes of a UUID hold.
const OPERATION_BITS: u32 = 48;

/// A session's operation.
struct Operation {
    id: i64,
    /// Where it has written.
    locations: HashSet<String>,
    /// Whether a savepoint was rolled back in it: it ends with the transaction then.
    has_garbage: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Operation>> = const { RefCell::new(None) };
    static EXIT_IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// A UUID for a new object somewhere below `location`.
pub fn new_object_id(location: &str) -> Result<Uuid> {
    let random = Uuid::new_v4();
    let id = CURRENT.with_borrow(|current| current.as_ref().map(|operation| operation.id));
    transaction::watch();
    let id = match id {
        Some(id) => id,
        None => begin(&random)?,
    };
    let is_new = CURRENT.with_borrow(|current| {
        current
            .as_ref()
            .is_some_and(|operation| !operation.locations.contains(location))
    });
    if is_new {
        record(location, id)?;
        CURRENT.with_borrow_mut(|current| {
            if let Some(operation) = current {
                operation.locations.insert(location.to_owned());
            }
        });
    }
    let mut bytes = *Uuid::new_v4().as_bytes();
    bytes[..6].copy_from_slice(&id.to_be_bytes()[2..]);
    Ok(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// The first 13 characters of the UUIDs of an operation's objects.
pub fn name_prefix(operation_id: i64) -> String {
    format!("{:08x}-{:04x}", operation_id >> 16, operation_id & 0xffff)
}

/// The transaction has committed.
pub fn at_commit() {
    let ended =
        CURRENT.with_borrow_mut(|current| current.take_if(|operation| operation.has_garbage));
    if let Some(operation) = ended {
        unlock(&operation);
    }
}

/// The session ends. PostgreSQL releases session locks of this kind only with an abort, and there may be none
/// (`ShutdownPostgres`, utils/init/postinit.c).
#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: c_int, _argument: pg_sys::Datum) {
    if let Some(operation) = CURRENT.take() {
        unlock(&operation);
    }
}

fn unlock(operation: &Operation) {
    let tag = lock_tag(operation.id);
    // SAFETY: held by this session since `begin`.
    unsafe { pg_sys::LockRelease(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, true) };
}

/// The transaction has aborted. PostgreSQL releases the session's locks of this kind (`ProcReleaseLocks`,
/// storage/lmgr/proc.c).
pub fn at_abort() {
    CURRENT.set(None);
}

/// A savepoint was rolled back.
pub fn at_subtransaction_abort() {
    CURRENT.with_borrow_mut(|current| {
        if let Some(operation) = current {
            operation.has_garbage = true;
        }
    });
}

/// Takes the lock of an operation that has ended, until the end of the transaction; false if it has not.
pub fn lock_if_ended(operation_id: i64) -> bool {
    let is_own = CURRENT.with_borrow(|current| {
        current
            .as_ref()
            .is_some_and(|operation| operation.id == operation_id)
    });
    let tag = lock_tag(operation_id);
    // SAFETY: a lock tag made as lock.h says; not waiting.
    !is_own
        && unsafe {
            pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false, true)
        } != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Begins an operation with a number taken from `random`.
fn begin(random: &Uuid) -> Result<i64> {
    let id = (random.as_u64_pair().0 >> (64 - OPERATION_BITS)) as i64;
    let tag = lock_tag(id);
    // SAFETY: as above; as a session's lock it survives commits.
    let result =
        unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, true, true) };
    if result == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
        return Err(LakeError::internal(
            "two sessions have drawn the same number",
        ));
    }
    if !EXIT_IS_WATCHED.replace(true) {
        // SAFETY: the callback lives as long as the library, which is never unloaded.
        unsafe { pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::from(0usize)) };
    }
    CURRENT.set(Some(Operation {
        id,
        locations: HashSet::new(),
        has_garbage: false,
    }));
    Ok(id)
}

/// The lock on an operation's number: an object lock in a class of which nobody else locks objects of this kind.
fn lock_tag(operation_id: i64) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: a plain read.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: pg_sys::ForeignDataWrapperRelationId.to_u32(),
        locktag_field3: operation_id as u32,
        locktag_field4: (operation_id >> 32) as u16,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}

/// Enters a record that stays whatever becomes of the transaction (`HEAP_INSERT_FROZEN`, access/heapam.h), and makes it
/// durable.
fn record(location: &str, operation_id: i64) -> Result<()> {
    // SAFETY: the relation exists as the install script made it, with these three columns; it has no index or trigger.
    unsafe {
        let namespace = pg_sys::get_namespace_oid(c"lake_engine".as_ptr(), false);
        let relid = pg_sys::get_relname_relid(c"in_progress_files".as_ptr(), namespace);
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(relid, lock);
        let mut values = [
            location.into_datum().unwrap_or(pg_sys::Datum::from(0usize)),
            pg_sys::Datum::from(operation_id),
            pg_sys::Datum::from(true),
        ];
        let mut nulls = [false; 3];
        let tuple =
            pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::heap_insert(
            relation,
            tuple,
            pg_sys::GetCurrentCommandId(true),
            pg_sys::TABLE_INSERT_FROZEN as i32,
            std::ptr::null_mut(),
        );
        pg_sys::table_close(relation, lock);
        pg_sys::XLogFlush(pg_sys::XactLastRecEnd);
    }
    Ok(())
}
