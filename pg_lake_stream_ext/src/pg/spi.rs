//! Statements on the extension's own catalog tables, through SPI.
//!
//! They run as the owner of the catalogs with `search_path = pg_catalog`, whatever the session has set, and their plans
//! are kept for the life of the backend. Values come back as text: catalog rows are few and small.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int};

use pgrx::{IntoDatum, pg_sys};

use crate::error::{LakeError, Result};

/// One argument of a statement.
#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    /// `oid`
    Oid(pg_sys::Oid),
    /// `bigint`
    Int8(i64),
    /// `boolean`
    Bool(bool),
    /// `text`
    Text(&'a str),
    /// `text`, or NULL.
    OptText(Option<&'a str>),
}

impl Arg<'_> {
    fn type_oid(self) -> pg_sys::Oid {
        match self {
            Arg::Oid(_) => pg_sys::OIDOID,
            Arg::Int8(_) => pg_sys::INT8OID,
            Arg::Bool(_) => pg_sys::BOOLOID,
            Arg::Text(_) | Arg::OptText(_) => pg_sys::TEXTOID,
        }
    }

    fn datum(self) -> Option<pg_sys::Datum> {
        match self {
            Arg::Oid(oid) => Some(oid.into()),
            Arg::Int8(value) => value.into_datum(),
            Arg::Bool(value) => value.into_datum(),
            Arg::Text(text) => text.into_datum(),
            Arg::OptText(text) => text.and_then(IntoDatum::into_datum),
        }
    }
}

/// Which rows a statement sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// What the running query sees (the active snapshot); for reading.
    Query,
    /// What the transaction sees now, its own changes included; for reading and writing.
    Transaction,
    /// The newest committed state and the own changes, also under REPEATABLE READ; for writing under a lock.
    Latest,
}

/// A result row: one optional text a column.
pub type Row = Vec<Option<String>>;

thread_local! {
    static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
}

/// Runs a statement and returns its rows.
///
/// `sql` must qualify every name that is not in `pg_catalog`. SQL errors raise.
pub fn run(sql: &'static str, args: &[Arg<'_>], visibility: Visibility) -> Result<Vec<Row>> {
    let _owner = AsOwner::enter();
    let _session = Session::connect()?;
    let plan = plan(sql, args)?;
    let mut values: Vec<pg_sys::Datum> = Vec::with_capacity(args.len());
    let mut nulls: Vec<c_char> = Vec::with_capacity(args.len());
    for arg in args {
        let datum = arg.datum();
        nulls.push(if datum.is_some() { b' ' } else { b'n' } as c_char);
        values.push(datum.unwrap_or(pg_sys::Datum::from(0usize)));
    }
    // SAFETY: SPI is connected; the plan is kept and has as many parameters as `values` and `nulls`.
    let outcome = unsafe {
        match visibility {
            Visibility::Query => {
                pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), true, 0)
            }
            Visibility::Transaction => {
                pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), false, 0)
            }
            Visibility::Latest => {
                pg_sys::CommandCounterIncrement();
                pg_sys::SPI_execute_snapshot(
                    plan,
                    values.as_mut_ptr(),
                    nulls.as_ptr(),
                    pg_sys::GetLatestSnapshot(),
                    std::ptr::null_mut(),
                    false,
                    false,
                    0,
                )
            }
        }
    };
    if outcome < 0 {
        return Err(LakeError::internal(format!(
            "catalog statement failed with SPI code {outcome}"
        )));
    }
    Ok(rows())
}

/// The plan of `sql`, prepared once a backend.
fn plan(sql: &'static str, args: &[Arg<'_>]) -> Result<pg_sys::SPIPlanPtr> {
    if let Some(plan) = PLANS.with_borrow(|plans| plans.get(sql).copied()) {
        return Ok(plan);
    }
    let text =
        CString::new(sql).map_err(|_| LakeError::internal("zero byte in a catalog statement"))?;
    let mut types: Vec<pg_sys::Oid> = args.iter().map(|arg| arg.type_oid()).collect();
    // SAFETY: SPI is connected; the arrays live through the call; SPI_keepplan moves the plan to a context of its own.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as c_int, types.as_mut_ptr());
        if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
            return Err(LakeError::internal(format!(
                "could not prepare catalog statement: {sql}"
            )));
        }
        plan
    };
    PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
    Ok(plan)
}

/// Copies the rows of the statement that has just run.
fn rows() -> Vec<Row> {
    // SAFETY: SPI is connected; SPI_tuptable is null or holds `numvals` tuples of its descriptor.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return Vec::new();
        }
        let columns = (*(*table).tupdesc).natts;
        let tuples = std::slice::from_raw_parts((*table).vals, (*table).numvals as usize);
        tuples
            .iter()
            .map(|tuple| {
                (1..=columns)
                    .map(|column| {
                        let text = pg_sys::SPI_getvalue(*tuple, (*table).tupdesc, column);
                        (!text.is_null())
                            .then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
                    })
                    .collect()
            })
            .collect()
    }
}

/// An SPI connection; ended on drop. After an `ERROR` the (sub)transaction's abort ends it.
struct Session;

impl Session {
    fn connect() -> Result<Self> {
        // SAFETY: called in a transaction.
        match unsafe { pg_sys::SPI_connect() } {
            code if code == pg_sys::SPI_OK_CONNECT as c_int => Ok(Self),
            code => Err(LakeError::internal(format!(
                "SPI_connect failed with code {code}"
            ))),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: connected by `connect`, and SPI connections nest strictly.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// The catalogs' owner as the current user and `search_path = pg_catalog`, until dropped.
struct AsOwner {
    user: pg_sys::Oid,
    security: c_int,
    guc_level: c_int,
}

impl AsOwner {
    fn enter() -> Self {
        let (mut user, mut security) = (pg_sys::InvalidOid, 0);
        // SAFETY: plain reads and writes of backend state; an abort of the (sub)transaction restores both as well
        // (AbortTransaction in access/transam/xact.c).
        let guc_level = unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut security);
            pg_sys::SetUserIdAndSecContext(
                pg_sys::BOOTSTRAP_SUPERUSERID.into(),
                security
                    | pg_sys::SECURITY_LOCAL_USERID_CHANGE as c_int
                    | pg_sys::SECURITY_NOFORCE_RLS as c_int,
            );
            let level = pg_sys::NewGUCNestLevel();
            pg_sys::set_config_option(
                c"search_path".as_ptr(),
                c"pg_catalog, pg_temp".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
            level
        };
        Self {
            user,
            security,
            guc_level,
        }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: restores what `enter` saved.
            unsafe {
                pg_sys::AtEOXact_GUC(false, self.guc_level);
                pg_sys::SetUserIdAndSecContext(self.user, self.security);
            }
        }
    }
}

/// The columns of a row, whose number the statement says.
pub fn columns<const N: usize>(row: Row) -> Result<[Option<String>; N]> {
    row.try_into()
        .map_err(|_| LakeError::internal("catalog row with another number of columns"))
}

/// A value that is not NULL.
pub fn value(value: Option<String>) -> Result<String> {
    value.ok_or_else(|| LakeError::internal("unexpected NULL in a catalog row"))
}

/// A number that is not NULL.
pub fn number<T: std::str::FromStr>(text: Option<String>) -> Result<T> {
    value(text)?
        .parse()
        .map_err(|_| LakeError::internal("unexpected number in a catalog row"))
}
