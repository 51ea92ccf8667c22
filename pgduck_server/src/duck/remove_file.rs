//! The SQL function `pg_lake_remove_file(url)`: removes one object through DuckDB's file systems, so that it works
//! wherever `COPY … TO` does: local paths, `file://`, and with the httpfs extension and a secret `s3://` and its kin.

use std::ffi::{c_char, c_int, c_void};
use std::{ptr, slice};

use libduckdb_sys as ffi;

use super::chunk::Vector;
use super::database::Connection;
use super::{EngineError, borrowed_text, c_string};
use crate::copy_target::local_path;

/// The name in SQL.
const NAME: &std::ffi::CStr = c"pg_lake_remove_file";

// Implemented in file_system.cpp.
unsafe extern "C" {
    fn pgduck_remove_file(
        client_context: *mut c_void,
        path: *const c_char,
        length: usize,
        check_directory: bool,
        error: *mut *mut c_char,
    ) -> c_int;
}

/// The results of `pgduck_remove_file`.
const REMOVED: c_int = 0;
const IS_DIRECTORY: c_int = 1;
const INTERRUPTED: c_int = 2;

/// `ENOENT`, and `ENOTDIR`: a part of the path is a file.
const LOCAL_ABSENT: [&str; 2] = ["2", "20"];

impl Connection {
    /// Adds the function to the database; all connections see it.
    pub fn register_remove_file(&self) -> Result<(), EngineError> {
        // SAFETY: all handles are created here, used while alive, and destroyed once; the callbacks have the signatures
        // that DuckDB asks for and hold to their contracts, see there. The connection is open.
        let state = unsafe {
            let mut varchar = ffi::duckdb_create_logical_type(ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR);
            let mut boolean = ffi::duckdb_create_logical_type(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN);
            let mut function = ffi::duckdb_create_scalar_function();
            ffi::duckdb_scalar_function_set_name(function, NAME.as_ptr());
            ffi::duckdb_scalar_function_add_parameter(function, varchar);
            ffi::duckdb_scalar_function_set_return_type(function, boolean);
            ffi::duckdb_scalar_function_set_volatile(function);
            ffi::duckdb_scalar_function_set_special_handling(function);
            ffi::duckdb_scalar_function_set_init(function, Some(init));
            ffi::duckdb_scalar_function_set_function(function, Some(remove_files));
            let state = ffi::duckdb_register_scalar_function(self.0.raw, function);
            ffi::duckdb_destroy_scalar_function(&mut function);
            ffi::duckdb_destroy_logical_type(&mut varchar);
            ffi::duckdb_destroy_logical_type(&mut boolean);
            state
        };
        if state == ffi::DuckDBSuccess {
            Ok(())
        } else {
            Err(EngineError(
                "Catalog Error: could not register pg_lake_remove_file".to_owned(),
            ))
        }
    }
}

/// Before a query (on one of its threads) calls the function: keeps a handle of the client that runs it.
///
/// # Safety
/// Called by DuckDB, with an `info` that lives during the call.
pub(super) unsafe extern "C" fn init(info: ffi::duckdb_init_info) {
    let mut context = ptr::null_mut();
    // SAFETY: `info` is alive, `context` valid for writing. The handle is destroyed by DuckDB with the query's state,
    // and the client context that it refers to outlives the query.
    unsafe {
        ffi::duckdb_scalar_function_init_get_client_context(info, &mut context);
        ffi::duckdb_scalar_function_init_set_state(info, context.cast(), Some(destroy_context));
    }
}

/// Destroys what [`init`] has made.
///
/// # Safety
/// Called by DuckDB once, with the state that `init` has set.
unsafe extern "C" fn destroy_context(state: *mut c_void) {
    let mut context: ffi::duckdb_client_context = state.cast();
    // SAFETY: made by `duckdb_scalar_function_init_get_client_context`, and not used after this.
    unsafe { ffi::duckdb_destroy_client_context(&mut context) };
}

/// The function: one column of URLs in, one column of booleans out.
///
/// # Safety
/// Called by DuckDB, with arguments that live during the call: a chunk with one column of strings without any
/// compression, and a vector with room for as many booleans.
unsafe extern "C" fn remove_files(
    info: ffi::duckdb_function_info,
    input: ffi::duckdb_data_chunk,
    output: ffi::duckdb_vector,
) {
    // SAFETY: `info` and `input` are alive, by this function's contract; the state was set by `init`.
    let (context, rows, urls) = unsafe {
        (
            Context(ffi::duckdb_scalar_function_get_state(info).cast()),
            ffi::duckdb_data_chunk_get_size(input) as usize,
            Vector::from_raw(ffi::duckdb_data_chunk_get_vector(input, 0)),
        )
    };
    // SAFETY: the vector has room for one boolean per row, and for the mask once that was asked for.
    let (removed, validity) = unsafe {
        ffi::duckdb_vector_ensure_validity_writable(output);
        (
            slice::from_raw_parts_mut(ffi::duckdb_vector_get_data(output).cast::<u8>(), rows),
            ffi::duckdb_vector_get_validity(output),
        )
    };
    for (row, removed) in removed.iter_mut().enumerate() {
        if urls.is_null(row) {
            // SAFETY: the mask has a bit for this row.
            unsafe { ffi::duckdb_validity_set_row_invalid(validity, row as u64) };
            continue;
        }
        match context.remove(urls.bytes(row)) {
            Ok(done) => *removed = done.into(),
            Err(error) => {
                let text = c_string(&error.0).unwrap_or_default();
                // SAFETY: `info` is alive; DuckDB copies the text.
                unsafe { ffi::duckdb_scalar_function_set_error(info, text.as_ptr()) };
                return;
            }
        }
    }
}

/// The client that runs the query.
struct Context(ffi::duckdb_client_context);

impl Context {
    /// Removes a file; false if there is none.
    fn remove(&self, url: &[u8]) -> Result<bool, EngineError> {
        let url = std::str::from_utf8(url)
            .map_err(|_| EngineError("Invalid Input Error: URL is not UTF-8".to_owned()))?;
        let is_local = local_path(url).is_some();
        // An exception of httpfs says "not found" for whatever goes wrong before the removal, so it is looked at
        // from another side. If that shows that the file is there after all, the first failure has passed.
        for last_try in [false, true] {
            let Some(failure) = self.try_remove(url, is_local)? else {
                return Ok(true);
            };
            if is_local {
                return match failure.errno {
                    Some(errno) if LOCAL_ABSENT.contains(&errno.as_str()) => Ok(false),
                    _ => Err(failure.error),
                };
            }
            if last_try || !failure.says_404() {
                return Err(failure.error);
            }
            if !self.is_readable(url)? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Removes a file; the failure if there is one that may mean that there is none.
    fn try_remove(&self, url: &str, is_local: bool) -> Result<Option<Failure>, EngineError> {
        let c_url = c_string(url)?;
        let mut error = ptr::null_mut();
        // SAFETY: the context is alive while the query runs, which calls this. The path is passed with its length,
        // and `error` is valid for writing.
        let result = unsafe {
            pgduck_remove_file(
                self.0.cast(),
                c_url.as_ptr(),
                url.len(),
                is_local,
                &mut error,
            )
        };
        match result {
            REMOVED => Ok(None),
            IS_DIRECTORY => Err(EngineError(format!(
                "IO Error: Could not remove file \"{url}\": it is a directory"
            ))),
            INTERRUPTED => Err(EngineError("INTERRUPT Error: Interrupted!".to_owned())),
            _ => {
                // SAFETY: a failure sets the text, which was allocated with `strdup`, and is not used after this.
                let text = unsafe {
                    let text = borrowed_text(error);
                    libc::free(error.cast());
                    text
                };
                Ok(Some(Failure::from_exception(&text)))
            }
        }
    }

    /// Whether there is a file that can be opened. Only for remote files: a local pipe would block.
    fn is_readable(&self, url: &str) -> Result<bool, EngineError> {
        let url = c_string(url)?;
        // SAFETY: all handles are created here, used while alive, and destroyed once, the file before its file system.
        // The context is alive while the query runs, which calls this.
        let error = unsafe {
            let mut files = ffi::duckdb_client_context_get_file_system(self.0);
            let mut options = ffi::duckdb_create_file_open_options();
            ffi::duckdb_file_open_options_set_flag(
                options,
                ffi::duckdb_file_flag_DUCKDB_FILE_FLAG_READ,
                true,
            );
            let mut file = ptr::null_mut();
            let state = ffi::duckdb_file_system_open(files, url.as_ptr(), options, &mut file);
            let error = (state != ffi::DuckDBSuccess).then(|| {
                let mut error = ffi::duckdb_file_system_error_data(files);
                let text = borrowed_text(ffi::duckdb_error_data_message(error));
                let class = match ffi::duckdb_error_data_error_type(error) {
                    ffi::duckdb_error_type_DUCKDB_ERROR_HTTP => "HTTP",
                    _ => "IO",
                };
                ffi::duckdb_destroy_error_data(&mut error);
                (class, text)
            });
            ffi::duckdb_destroy_file_handle(&mut file);
            ffi::duckdb_destroy_file_open_options(&mut options);
            ffi::duckdb_destroy_file_system(&mut files);
            error
        };
        match error {
            None => Ok(true),
            // As httpfs words the answer to HEAD, after the URL.
            Some((_, text))
                if text
                    .trim_end()
                    .rsplit_once("' (HTTP ")
                    .is_some_and(|(_, status)| status.starts_with("404")) =>
            {
                Ok(false)
            }
            Some((class, text)) => Err(EngineError(format!("{class} Error: {text}"))),
        }
    }
}

/// An exception of DuckDB.
struct Failure {
    error: EngineError,
    /// The operating system's number of the error, or the status of HTTP.
    errno: Option<String>,
    /// The status of HTTP.
    status_code: Option<String>,
}

impl Failure {
    /// Reads an exception's text: a JSON object (`StringUtil::ExceptionToJSONMap`).
    fn from_exception(text: &str) -> Failure {
        let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let field = |name: &str| json.get(name)?.as_str().map(str::to_owned);
        let error = match (field("exception_type"), field("exception_message")) {
            (Some(class), Some(message)) => format!("{class} Error: {message}"),
            _ => format!("IO Error: {text}"),
        };
        Failure {
            error: EngineError(error),
            errno: field("errno"),
            status_code: field("status_code"),
        }
    }

    /// Whether it is the answer "not found" of a web server.
    fn says_404(&self) -> bool {
        [&self.errno, &self.status_code]
            .into_iter()
            .any(|code| code.as_deref() == Some("404"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::Database;
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("remove_file_{name}_{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn connect() -> Connection {
        let connection = Database::open(":memory:", &[]).unwrap().connect().unwrap();
        connection.register_remove_file().unwrap();
        connection
    }

    /// The first column of a query, which is boolean.
    fn answers(connection: &Connection, sql: &str) -> Result<Vec<Option<bool>>, EngineError> {
        let mut result = connection.parse(sql)?.prepare(0)?.start()?.execute()?;
        let mut all = Vec::new();
        while let Some(chunk) = result.next_chunk()? {
            let column = chunk.column(0);
            all.extend(
                (0..chunk.rows())
                    .map(|row| (!column.is_null(row)).then(|| column.value::<u8>(row) != 0)),
            );
        }
        Ok(all)
    }

    fn remove(connection: &Connection, url: &str) -> Result<Option<bool>, EngineError> {
        answers(connection, &format!("SELECT pg_lake_remove_file('{url}')")).map(|all| all[0])
    }

    #[test]
    fn a_file_is_removed_once() {
        let (connection, root) = (connect(), scratch("once"));
        for prefix in ["", "file:", "file://", "file://localhost"] {
            let file = root.join("a file.parquet");
            fs::write(&file, "data").unwrap();
            let url = format!("{prefix}{}", file.display());
            assert_eq!(remove(&connection, &url).unwrap(), Some(true), "{url}");
            assert!(!file.exists());
            assert_eq!(remove(&connection, &url).unwrap(), Some(false), "{url}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_cannot_be_there_is_not_there() {
        let (connection, root) = (connect(), scratch("absent"));
        fs::write(root.join("file"), "").unwrap();
        for name in ["no/such/directory", "file/below"] {
            let url = root.join(name).display().to_string();
            assert_eq!(remove(&connection, &url).unwrap(), Some(false));
        }
        let null = answers(&connection, "SELECT pg_lake_remove_file(NULL)").unwrap();
        assert_eq!(null, [None]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn directories_and_other_schemes_are_refused() {
        let (connection, root) = (connect(), scratch("refused"));
        for url in [
            root.display().to_string(),
            format!("file://{}/", root.display()),
        ] {
            let error = remove(&connection, &url).unwrap_err().0;
            assert!(error.contains("is a directory"), "{error}");
        }
        assert!(root.is_dir());
        // Of a remote file nothing can be said without the extension that knows how to reach it.
        connection
            .run("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
            .unwrap();
        assert!(remove(&connection, "s3://bucket/key").is_err());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn each_row_is_a_removal_of_its_own() {
        let (connection, root) = (connect(), scratch("rows"));
        for number in 0..2500 {
            fs::write(root.join(number.to_string()), "").unwrap();
        }
        let call = format!("pg_lake_remove_file('{}/' || i)", root.display());
        let sql = format!("SELECT {call} FROM (SELECT unnest([NULL, 7, 7, 6000]) AS i)");
        assert_eq!(
            answers(&connection, &sql).unwrap(),
            [None, Some(true), Some(false), Some(false)]
        );
        let sql = format!("SELECT {call} AND NOT {call} FROM (SELECT 8 AS i)");
        assert_eq!(answers(&connection, &sql).unwrap(), [Some(true)]);
        let sql = format!("SELECT {call} FROM range(2500) t(i)");
        let removed = answers(&connection, &sql).unwrap();
        assert_eq!(
            removed.iter().filter(|done| **done == Some(true)).count(),
            2498
        );
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn exceptions_are_read() {
        let failure = Failure::from_exception(
            r#"{"exception_type":"IO","exception_message":"no \"x\"","errno":"13"}"#,
        );
        assert_eq!(failure.error.0, "IO Error: no \"x\"");
        assert_eq!(failure.errno.as_deref(), Some("13"));
        assert!(!failure.says_404());
        assert_eq!(Failure::from_exception("bad").error.0, "IO Error: bad");
    }
}
