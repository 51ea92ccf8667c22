//! What EXPLAIN (VERBOSE) tells of a scan.

use std::ffi::{CStr, CString};

use pgrx::{pg_guard, pg_sys};

use crate::error::{LakeError, OrRaise, Result};
use crate::fdw::scan::ScanState;
use crate::fdw::scan_query::Audience;

/// `ExplainForeignScan`: the SQL for the server and the files it reads.
///
/// # Safety
/// Called by EXPLAIN.
#[pg_guard]
pub unsafe extern "C-unwind" fn explain_foreign_scan(
    node: *mut pg_sys::ForeignScanState,
    es: *mut pg_sys::ExplainState,
) {
    // SAFETY: EXPLAIN passes a node that has begun and its own state.
    unsafe {
        if (*es).verbose
            && let Some(state) = ScanState::of(node)
        {
            explain(state, (*node).ss.ps.ps_ExprContext, &mut *es).or_raise();
        }
    }
}

unsafe fn explain(
    state: &mut ScanState,
    context: *mut pg_sys::ExprContext,
    es: &mut pg_sys::ExplainState,
) -> Result<()> {
    if es.analyze && !state.was_started() {
        return text(es, c"Engine", "DuckDB");
    }
    // SAFETY: the callers'; without ANALYZE the scan was initialised for EXPLAIN.
    let (chosen, all) = unsafe { state.explain_files(context)? };
    let rows = state.live_rows(&chosen);
    let deletes: usize = rows.files().iter().map(|file| file.deletes.len()).sum();
    let sql = match chosen.is_empty() {
        true => "none: no data file has such rows".to_owned(),
        false => state.query.text(&rows, Audience::User),
    };
    text(es, c"Engine", "DuckDB")?;
    text(es, c"Vectorized SQL", &sql)?;
    number(es, c"Data Files Scanned", chosen.len() as i64);
    number(es, c"Deletion Files Scanned", deletes as i64);
    number(es, c"Data Files Skipped", (all - chosen.len()) as i64);
    if es.analyze {
        number(es, c"Rows Fetched", state.rows_fetched as i64);
    }
    Ok(())
}

/// Of a change that the server does: which rows, and their new values.
pub fn explain_change(state: &ScanState, es: &mut pg_sys::ExplainState) -> Result<()> {
    let condition = state.query.condition(Audience::User);
    if !condition.is_empty() {
        text(es, c"Vectorized Condition", &condition)?;
    }
    let values = state
        .query
        .change
        .as_ref()
        .and_then(|change| change.values.as_ref());
    for (column, sql) in values.into_iter().flatten() {
        let mut value = String::new();
        sql.write(Audience::User, &mut value);
        text(es, c"New Value", &format!("{column} = {value}"))?;
    }
    Ok(())
}

fn text(es: &mut pg_sys::ExplainState, label: &CStr, value: &str) -> Result<()> {
    let value =
        CString::new(value).map_err(|_| LakeError::internal("zero byte in the SQL of a scan"))?;
    // SAFETY: C strings that live through the call.
    unsafe { pg_sys::ExplainPropertyText(label.as_ptr(), value.as_ptr(), es) };
    Ok(())
}

fn number(es: &mut pg_sys::ExplainState, label: &CStr, value: i64) {
    // SAFETY: as above; no unit.
    unsafe { pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value, es) };
}
