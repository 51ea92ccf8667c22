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
            explain(state, &mut *es).or_raise();
        }
    }
}

fn explain(state: &mut ScanState, es: &mut pg_sys::ExplainState) -> Result<()> {
    let skipped_execution = es.analyze && !state.was_started();
    let files = state.files()?.to_vec();
    let scanned = if skipped_execution { 0 } else { files.len() };
    text(es, c"Engine", "DuckDB")?;
    text(
        es,
        c"Vectorized SQL",
        &state.query.text(&files, Audience::User),
    )?;
    number(es, c"Data Files Scanned", scanned as i64);
    number(es, c"Deletion Files Scanned", 0);
    number(es, c"Data Files Skipped", 0);
    if es.analyze {
        number(es, c"Rows Fetched", state.rows_fetched as i64);
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
