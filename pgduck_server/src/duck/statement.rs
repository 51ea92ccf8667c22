//! Query strings, prepared statements, and their start.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use libduckdb_sys as ffi;

use super::database::{Connection, RawConnection};
use super::fresh_plan::FreshPlan;
use super::result::QueryResult;
use super::{EngineError, Type, borrowed_text, c_string, owned_text};

/// A parsed query string: any number of statements.
#[derive(Debug)]
pub struct Script {
    raw: ffi::duckdb_extracted_statements,
    count: u64,
    connection: Arc<RawConnection>,
}

// SAFETY: the parsed statements are plain memory that only their owner touches.
unsafe impl Send for Script {}

impl Script {
    /// Parses; a syntax error anywhere is an error of the whole.
    pub(super) fn parse(connection: &Connection, sql: &str) -> Result<Script, EngineError> {
        let sql = c_string(sql)?;
        let connection = Arc::clone(&connection.0);
        let mut raw = ptr::null_mut();
        // SAFETY: the connection is open, the string and `raw` are valid for the call.
        let count =
            unsafe { ffi::duckdb_extract_statements(connection.raw, sql.as_ptr(), &mut raw) };
        let script = Script {
            raw,
            count,
            connection,
        };
        if count == 0 {
            // SAFETY: `raw` was set by the call above; its error, if any, lives as long as `script`.
            let error = unsafe { borrowed_text(ffi::duckdb_extract_statements_error(script.raw)) };
            if !error.is_empty() {
                return Err(EngineError(error));
            }
        }
        Ok(script)
    }

    /// How many statements there are; none for an empty query string.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Prepares (binds and plans) one statement.
    pub fn prepare(&self, index: u64) -> Result<Prepared, EngineError> {
        let mut raw = ptr::null_mut();
        // SAFETY: connection and script are alive, `raw` is valid for writing.
        let state = unsafe {
            ffi::duckdb_prepare_extracted_statement(self.connection.raw, self.raw, index, &mut raw)
        };
        let prepared = Prepared {
            raw,
            connection: Arc::clone(&self.connection),
        };
        if state != ffi::DuckDBSuccess {
            // SAFETY: the statement exists even after a failure and owns its error.
            return Err(EngineError(unsafe {
                borrowed_text(ffi::duckdb_prepare_error(prepared.raw))
            }));
        }
        Ok(prepared)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // SAFETY: created by `parse` and destroyed only here; null is allowed.
        unsafe { ffi::duckdb_destroy_extracted(&mut self.raw) };
    }
}

/// What kind of statement it is; what decides its command tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Copy,
    Create,
    CreateFunction,
    Drop,
    Alter,
    Transaction,
    Set,
    Explain,
    Prepare,
    Execute,
    Analyze,
    Vacuum,
    Call,
    Attach,
    Detach,
    Load,
    Other,
}

/// A value for a parameter of a prepared statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    Null,
    Boolean(bool),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Float(f32),
    Double(f64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 UTC.
    TimestampTz(i64),
    Interval {
        months: i32,
        days: i32,
        microseconds: i64,
    },
    /// A decimal number: unscaled value, width, scale.
    Decimal(i128, u8, u8),
    Uuid([u8; 16]),
    Text(String),
    Blob(Vec<u8>),
}

/// A prepared statement.
#[derive(Debug)]
pub struct Prepared {
    raw: ffi::duckdb_prepared_statement,
    connection: Arc<RawConnection>,
}

// SAFETY: a prepared statement is used by one thread at a time (it is not `Sync`), and DuckDB does not tie it to a thread.
unsafe impl Send for Prepared {}

impl Prepared {
    /// The statement's kind.
    pub fn kind(&self) -> Kind {
        // SAFETY: the statement is alive.
        match unsafe { ffi::duckdb_prepared_statement_type(self.raw) } {
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_SELECT => Kind::Select,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_INSERT => Kind::Insert,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_UPDATE => Kind::Update,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_DELETE => Kind::Delete,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_MERGE_INTO => Kind::Merge,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_COPY => Kind::Copy,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_CREATE => Kind::Create,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_CREATE_FUNC => Kind::CreateFunction,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_DROP => Kind::Drop,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_ALTER => Kind::Alter,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_TRANSACTION => Kind::Transaction,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_SET
            | ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_VARIABLE_SET => Kind::Set,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_EXPLAIN => Kind::Explain,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_PREPARE => Kind::Prepare,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_EXECUTE => Kind::Execute,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_ANALYZE => Kind::Analyze,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_VACUUM => Kind::Vacuum,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_CALL => Kind::Call,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_ATTACH => Kind::Attach,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_DETACH => Kind::Detach,
            ffi::duckdb_statement_type_DUCKDB_STATEMENT_TYPE_LOAD => Kind::Load,
            _ => Kind::Other,
        }
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        // SAFETY: the statement is alive.
        unsafe { ffi::duckdb_nparams(self.raw) as usize }
    }

    /// The type that DuckDB derived for a parameter (counted from zero); `Type::Unknown` if it could not.
    pub fn parameter_type(&self, index: usize) -> Type {
        // SAFETY: the statement is alive; an index out of range yields null, which `from_owned` takes as unknown.
        unsafe { Type::from_owned(ffi::duckdb_param_logical_type(self.raw, index as u64 + 1)) }
    }

    /// Names and types of the result's columns; types are `Type::Unknown` as long as they hang on parameters.
    pub fn columns(&self) -> Vec<(String, Type)> {
        // SAFETY: the statement is alive.
        let count = unsafe { ffi::duckdb_prepared_statement_column_count(self.raw) };
        (0..count)
            .map(|index| {
                // SAFETY: the statement is alive and the index in range; the name is ours to free.
                unsafe {
                    let name = ffi::duckdb_prepared_statement_column_name(self.raw, index);
                    let ty = ffi::duckdb_prepared_statement_column_logical_type(self.raw, index);
                    (owned_text(name.cast_mut()), Type::from_owned(ty))
                }
            })
            .collect()
    }

    /// Binds a value to a parameter (counted from zero).
    pub fn bind(&mut self, index: usize, value: &Parameter) -> Result<(), EngineError> {
        let (raw, at) = (self.raw, index as u64 + 1);
        // SAFETY: the statement is alive; text and bytes are passed with their length and copied by DuckDB; a
        // `duckdb_value` made here is destroyed here.
        let state = unsafe {
            match value {
                Parameter::Null => ffi::duckdb_bind_null(raw, at),
                Parameter::Boolean(v) => ffi::duckdb_bind_boolean(raw, at, *v),
                Parameter::Int16(v) => ffi::duckdb_bind_int16(raw, at, *v),
                Parameter::Int32(v) => ffi::duckdb_bind_int32(raw, at, *v),
                Parameter::Int64(v) => ffi::duckdb_bind_int64(raw, at, *v),
                Parameter::Float(v) => ffi::duckdb_bind_float(raw, at, *v),
                Parameter::Double(v) => ffi::duckdb_bind_double(raw, at, *v),
                Parameter::Date(days) => {
                    ffi::duckdb_bind_date(raw, at, ffi::duckdb_date { days: *days })
                }
                Parameter::Time(micros) => {
                    ffi::duckdb_bind_time(raw, at, ffi::duckdb_time { micros: *micros })
                }
                Parameter::Timestamp(micros) => {
                    ffi::duckdb_bind_timestamp(raw, at, ffi::duckdb_timestamp { micros: *micros })
                }
                Parameter::TimestampTz(micros) => ffi::duckdb_bind_timestamp_tz(
                    raw,
                    at,
                    ffi::duckdb_timestamp { micros: *micros },
                ),
                Parameter::Interval {
                    months,
                    days,
                    microseconds,
                } => ffi::duckdb_bind_interval(
                    raw,
                    at,
                    ffi::duckdb_interval {
                        months: *months,
                        days: *days,
                        micros: *microseconds,
                    },
                ),
                Parameter::Decimal(unscaled, width, scale) => ffi::duckdb_bind_decimal(
                    raw,
                    at,
                    ffi::duckdb_decimal {
                        width: *width,
                        scale: *scale,
                        value: ffi::duckdb_hugeint {
                            lower: *unscaled as u64,
                            upper: (*unscaled >> 64) as i64,
                        },
                    },
                ),
                Parameter::Uuid(bytes) => {
                    let number = u128::from_be_bytes(*bytes);
                    let mut uuid = ffi::duckdb_create_uuid(ffi::duckdb_uhugeint {
                        lower: number as u64,
                        upper: (number >> 64) as u64,
                    });
                    let state = ffi::duckdb_bind_value(raw, at, uuid);
                    ffi::duckdb_destroy_value(&mut uuid);
                    state
                }
                Parameter::Text(text) => ffi::duckdb_bind_varchar_length(
                    raw,
                    at,
                    text.as_ptr().cast(),
                    text.len() as u64,
                ),
                Parameter::Blob(bytes) => {
                    ffi::duckdb_bind_blob(raw, at, bytes.as_ptr().cast(), bytes.len() as u64)
                }
            }
        };
        if state != ffi::DuckDBSuccess {
            // SAFETY: the statement is alive and owns its error.
            let message = unsafe { borrowed_text(ffi::duckdb_prepare_error(raw)) };
            return Err(EngineError(if message.is_empty() {
                format!("Invalid Input Error: could not bind parameter ${at}")
            } else {
                message
            }));
        }
        Ok(())
    }

    /// Starts the statement for the first time, right after it was prepared: with the plan that was made then, even if
    /// files have changed since.
    pub fn start_fresh(&self) -> Result<Pending, EngineError> {
        // SAFETY: the statement is alive as long as `self`, and `self` is used by one thread at a time.
        let _plan = unsafe { FreshPlan::keep(self.raw) };
        self.start()
    }

    /// Starts the statement; from here on an interrupt reaches it. Its result will be a stream.
    pub fn start(&self) -> Result<Pending, EngineError> {
        let mut raw = ptr::null_mut();
        // SAFETY: the statement is alive, `raw` is valid for writing.
        let state = unsafe { ffi::duckdb_pending_prepared_streaming(self.raw, &mut raw) };
        let pending = Pending {
            raw,
            connection: Arc::clone(&self.connection),
        };
        if state != ffi::DuckDBSuccess {
            return Err(pending.error());
        }
        Ok(pending)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // SAFETY: created by `prepare` and destroyed only here.
        unsafe { ffi::duckdb_destroy_prepare(&mut self.raw) };
    }
}

/// Pause between two looks for work, while other threads have all of it.
const IDLE_STEP: Duration = Duration::from_micros(50);

/// A statement that has started.
#[derive(Debug)]
pub struct Pending {
    raw: ffi::duckdb_pending_result,
    connection: Arc<RawConnection>,
}

impl Pending {
    /// Runs until there is a result to read, or, for a statement that changes something, until it is done.
    ///
    /// This thread takes part in the work. While others have all of it, it sleeps in short steps: DuckDB's own wait
    /// (`duckdb_execute_pending`) asks for tasks without a pause, and its lock then keeps the very threads waiting that
    /// finish the query; on two cores a small COPY takes milliseconds instead of a fraction of one.
    pub fn execute(self) -> Result<QueryResult, EngineError> {
        loop {
            // SAFETY: the pending result is alive.
            match unsafe { ffi::duckdb_pending_execute_task(self.raw) } {
                ffi::duckdb_pending_state_DUCKDB_PENDING_RESULT_NOT_READY => {}
                ffi::duckdb_pending_state_DUCKDB_PENDING_NO_TASKS_AVAILABLE => {
                    std::thread::sleep(IDLE_STEP);
                }
                ffi::duckdb_pending_state_DUCKDB_PENDING_ERROR => return Err(self.error()),
                _ => break,
            }
        }
        QueryResult::from_call(Arc::clone(&self.connection), |result| {
            // SAFETY: the pending result is alive, `result` is valid for writing.
            unsafe { ffi::duckdb_execute_pending(self.raw, result) }
        })
    }

    /// The error of a failed start.
    fn error(&self) -> EngineError {
        // SAFETY: the pending result is alive and owns its error.
        EngineError(unsafe { borrowed_text(ffi::duckdb_pending_error(self.raw)) })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // SAFETY: created by `start` and destroyed only here.
        unsafe { ffi::duckdb_destroy_pending(&mut self.raw) };
    }
}
