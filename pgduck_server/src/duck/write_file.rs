//! The SQL function `pg_lake_write_file(url, content, first, length)`: stores a part of a blob as a new object through
//! DuckDB's file systems, so that one stream can bring several objects.
//!
//! All rows of one vector (2048) are one piece of work: local files are written first and made durable together, each
//! directory once; remote objects are uploaded at the same time. A failure removes the local files of that vector.

use std::collections::{BTreeSet, HashSet};
use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, ptr, slice, thread};

use libduckdb_sys as ffi;

use super::chunk::Vector;
use super::database::Connection;
use super::{EngineError, borrowed_text, c_string, remove_file};
use crate::copy_target::{directories_above, local_path, make_directories};

// Implemented in file_system.cpp.
unsafe extern "C" {
    fn pgduck_destroy_file_handle(file_handle: *mut *mut c_void);
}

/// The name in SQL.
const NAME: &std::ffi::CStr = c"pg_lake_write_file";

/// How many objects are uploaded, or synced, at the same time.
const PARALLEL: usize = 12;

/// The class of the error that a lack of memory is.
const OUT_OF_MEMORY: &str = "Out of Memory Error: ";

impl Connection {
    /// Adds the function to the database; all connections see it.
    pub fn register_write_file(&self) -> Result<(), EngineError> {
        // SAFETY: all handles are created here, used while alive, and destroyed once; the callbacks have the signatures
        // that DuckDB asks for and hold to their contracts, see there. The connection is open.
        let state = unsafe {
            let mut varchar = ffi::duckdb_create_logical_type(ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR);
            let mut blob = ffi::duckdb_create_logical_type(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BLOB);
            let mut bigint = ffi::duckdb_create_logical_type(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT);
            let mut function = ffi::duckdb_create_scalar_function();
            ffi::duckdb_scalar_function_set_name(function, NAME.as_ptr());
            for parameter in [varchar, blob, bigint, bigint] {
                ffi::duckdb_scalar_function_add_parameter(function, parameter);
            }
            ffi::duckdb_scalar_function_set_return_type(function, bigint);
            ffi::duckdb_scalar_function_set_volatile(function);
            ffi::duckdb_scalar_function_set_special_handling(function);
            ffi::duckdb_scalar_function_set_init(function, Some(remove_file::init));
            ffi::duckdb_scalar_function_set_function(function, Some(write_files));
            let state = ffi::duckdb_register_scalar_function(self.0.raw, function);
            ffi::duckdb_destroy_scalar_function(&mut function);
            ffi::duckdb_destroy_logical_type(&mut varchar);
            ffi::duckdb_destroy_logical_type(&mut blob);
            ffi::duckdb_destroy_logical_type(&mut bigint);
            state
        };
        if state == ffi::DuckDBSuccess {
            Ok(())
        } else {
            Err(EngineError(
                "Catalog Error: could not register pg_lake_write_file".to_owned(),
            ))
        }
    }
}

/// The function: columns of URLs, contents, first bytes and lengths in, one column of lengths out.
///
/// # Safety
/// Called by DuckDB, with arguments that live during the call: a chunk with four columns of these types without any
/// compression, and a vector with room for as many numbers.
unsafe extern "C" fn write_files(
    info: ffi::duckdb_function_info,
    input: ffi::duckdb_data_chunk,
    output: ffi::duckdb_vector,
) {
    // SAFETY: `info` and `input` are alive, by this function's contract; the state was set by `init`.
    let (context, rows, columns) = unsafe {
        (
            Context(ffi::duckdb_scalar_function_get_state(info).cast()),
            ffi::duckdb_data_chunk_get_size(input) as usize,
            [0, 1, 2, 3]
                .map(|column| Vector::from_raw(ffi::duckdb_data_chunk_get_vector(input, column))),
        )
    };
    // SAFETY: the vector has room for one number per row, and for the mask once that was asked for.
    let (written, validity) = unsafe {
        ffi::duckdb_vector_ensure_validity_writable(output);
        (
            slice::from_raw_parts_mut(ffi::duckdb_vector_get_data(output).cast::<i64>(), rows),
            ffi::duckdb_vector_get_validity(output),
        )
    };
    let objects = (0..rows)
        .filter(|row| columns.iter().all(|column| !column.is_null(*row)))
        .map(|row| Object::of_row(&columns, row))
        .collect::<Result<Vec<_>, _>>();
    if let Err(error) = objects.and_then(|objects| context.store(&objects)) {
        let text = c_string(&error.0).unwrap_or_default();
        // SAFETY: `info` is alive; DuckDB copies the text.
        unsafe { ffi::duckdb_scalar_function_set_error(info, text.as_ptr()) };
        return;
    }
    for (row, written) in written.iter_mut().enumerate() {
        if columns.iter().any(|column| column.is_null(row)) {
            // SAFETY: the mask has a bit for this row.
            unsafe { ffi::duckdb_validity_set_row_invalid(validity, row as u64) };
        } else {
            *written = columns[3].value::<i64>(row);
        }
    }
}

/// An object to store.
struct Object<'a> {
    url: &'a str,
    content: &'a [u8],
    /// Where, if it is local.
    path: Option<PathBuf>,
}

impl<'a> Object<'a> {
    /// The object of a row that is in range and has no NULL.
    fn of_row(columns: &[Vector<'a>; 4], row: usize) -> Result<Object<'a>, EngineError> {
        let url = std::str::from_utf8(columns[0].bytes(row))
            .map_err(|_| EngineError("Invalid Input Error: URL is not UTF-8".to_owned()))?;
        let content = columns[1].bytes(row);
        let (first, length) = (columns[2].value::<i64>(row), columns[3].value::<i64>(row));
        let part = usize::try_from(first)
            .ok()
            .zip(usize::try_from(length).ok())
            .and_then(|(first, length)| content.get(first..first.checked_add(length)?));
        let Some(part) = part else {
            return Err(EngineError(format!(
                "Invalid Input Error: could not write file \"{}\": there are no {length} bytes from byte {first} on in \
                 a content of {} bytes",
                without_options(url),
                content.len()
            )));
        };
        Ok(Object {
            url,
            content: part,
            path: local_path(url),
        })
    }

    /// An error of the operating system.
    fn io_error(&self, what: &str, error: &io::Error) -> EngineError {
        EngineError(format!(
            "IO Error: could not {what} \"{}\": {error}",
            without_options(self.url)
        ))
    }

    /// An error of DuckDB.
    fn engine_error(&self, class: &str, message: &str) -> EngineError {
        let url = without_options(self.url);
        EngineError(format!(
            "{class} Error: could not write file \"{url}\": {}",
            message.replace(self.url, url)
        ))
    }
}

/// A URL without the options behind it, of which one may be a secret.
fn without_options(url: &str) -> &str {
    match url.split_once('?') {
        Some((url, _)) if local_path(url).is_none() => url,
        _ => url,
    }
}

/// A local file that is removed again unless it is kept.
struct NewFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl NewFile {
    /// Creates a file that was not there.
    fn create(path: &Path) -> io::Result<NewFile> {
        // `path` comes from an URL; what is not a path from the root would depend on where the server was started.
        if !path.is_absolute() {
            return Err(io::Error::other("the path is not absolute"));
        }
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(NewFile {
            path: path.to_owned(),
            file,
            keep: false,
        })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a leftover file");
        }
    }
}

/// The client that runs the query.
struct Context(ffi::duckdb_client_context);

// SAFETY: the handle is a reference to the client, which is only read through it, and DuckDB itself opens files for one
// client in many threads (parallel scans). Each use makes a file system handle of its own.
unsafe impl Sync for Context {}

impl Context {
    /// Stores all objects, or fails; then no local one is left.
    fn store(&self, objects: &[Object<'_>]) -> Result<(), EngineError> {
        let mut urls = HashSet::new();
        if let Some(twice) = objects.iter().find(|object| !urls.insert(object.url)) {
            return Err(EngineError(format!(
                "IO Error: could not create file \"{}\": File exists, it is written by the same call",
                without_options(twice.url)
            )));
        }
        let mut files = Vec::new();
        let mut directories = BTreeSet::new();
        let mut remote = Vec::new();
        for object in objects {
            let Some(path) = &object.path else {
                remote.push(object);
                continue;
            };
            let parent = path.parent().unwrap_or(Path::new("/"));
            let first_existing = make_directories(parent)
                .map_err(|error| object.io_error("create the directory of", &error))?;
            directories.extend(directories_above(path, &first_existing));
            files.push((
                object,
                NewFile::create(path).map_err(|error| object.io_error("create file", &error))?,
            ));
            self.write(object)?;
        }
        for (object, outcome) in remote
            .iter()
            .zip(in_parallel(&remote, |object| self.write(object)))
        {
            match outcome {
                // An upload needs a large buffer for a while; there may be room for one when there is not for many.
                Err(error) if error.0.starts_with(OUT_OF_MEMORY) && remote.len() > 1 => {
                    self.write(object)?;
                }
                outcome => outcome?,
            }
        }
        sync(&files, &directories)?;
        for (_, file) in &mut files {
            file.keep = true;
        }
        Ok(())
    }

    /// Writes one object; a local one is there, and empty. It is closed afterwards, and what that says is heard: objects
    /// in a store come to be only then.
    fn write(&self, object: &Object<'_>) -> Result<(), EngineError> {
        let name = match &object.path {
            Some(path) => c_string(&path.to_string_lossy())?,
            None => c_string(object.url)?,
        };
        // SAFETY: all handles are created here, used while alive, and destroyed once, the file before its file system.
        // The context is alive while the query runs, which calls this. The content is alive during the call.
        unsafe {
            let mut files = ffi::duckdb_client_context_get_file_system(self.0);
            let mut options = ffi::duckdb_create_file_open_options();
            for flag in [
                ffi::duckdb_file_flag_DUCKDB_FILE_FLAG_WRITE,
                ffi::duckdb_file_flag_DUCKDB_FILE_FLAG_CREATE,
            ] {
                ffi::duckdb_file_open_options_set_flag(options, flag, true);
            }
            let mut file = ptr::null_mut();
            let state = ffi::duckdb_file_system_open(files, name.as_ptr(), options, &mut file);
            let result = if state == ffi::DuckDBSuccess {
                write_and_close(object, file)
            } else {
                Err(taken_error(
                    object,
                    ffi::duckdb_file_system_error_data(files),
                ))
            };
            pgduck_destroy_file_handle((&raw mut file).cast());
            ffi::duckdb_destroy_file_open_options(&mut options);
            ffi::duckdb_destroy_file_system(&mut files);
            result
        }
    }
}

/// Writes the whole content to a file and closes it.
///
/// # Safety
/// The file is open and not used by another thread.
unsafe fn write_and_close(
    object: &Object<'_>,
    file: ffi::duckdb_file_handle,
) -> Result<(), EngineError> {
    let mut rest = object.content;
    while !rest.is_empty() {
        // SAFETY: the file is open by this function's contract; the buffer has that many bytes.
        let count =
            unsafe { ffi::duckdb_file_handle_write(file, rest.as_ptr().cast(), rest.len() as i64) };
        match usize::try_from(count).ok().and_then(|at| rest.get(at..)) {
            Some(_) if count == 0 => return Err(object.engine_error("IO", "nothing was written")),
            Some(after) => rest = after,
            None => {
                // SAFETY: as above; the error is handed over.
                return Err(unsafe {
                    taken_error(object, ffi::duckdb_file_handle_error_data(file))
                });
            }
        }
    }
    // SAFETY: as above.
    unsafe {
        if ffi::duckdb_file_handle_close(file) == ffi::DuckDBSuccess {
            Ok(())
        } else {
            Err(taken_error(
                object,
                ffi::duckdb_file_handle_error_data(file),
            ))
        }
    }
}

/// What DuckDB says about a failure.
///
/// # Safety
/// `error` is alive, and not used after this.
unsafe fn taken_error(object: &Object<'_>, mut error: ffi::duckdb_error_data) -> EngineError {
    // SAFETY: the error is alive by this function's contract, and destroyed once.
    unsafe {
        let text = borrowed_text(ffi::duckdb_error_data_message(error));
        let class = match ffi::duckdb_error_data_error_type(error) {
            ffi::duckdb_error_type_DUCKDB_ERROR_HTTP => "HTTP",
            ffi::duckdb_error_type_DUCKDB_ERROR_OUT_OF_MEMORY => "Out of Memory",
            ffi::duckdb_error_type_DUCKDB_ERROR_PERMISSION => "Permission",
            _ => "IO",
        };
        ffi::duckdb_destroy_error_data(&mut error);
        object.engine_error(class, &text)
    }
}

/// Makes files and directories durable.
fn sync(
    files: &[(&Object<'_>, NewFile)],
    directories: &BTreeSet<PathBuf>,
) -> Result<(), EngineError> {
    let synced = in_parallel(files, |(object, new)| {
        new.file
            .sync_all()
            .map_err(|error| object.io_error("synchronize", &error))
    });
    synced.into_iter().collect::<Result<(), _>>()?;
    for path in directories {
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| {
                EngineError(format!(
                    "IO Error: could not synchronize \"{}\": {error}",
                    path.display()
                ))
            })?;
    }
    Ok(())
}

/// Calls a function for each item, up to [`PARALLEL`] at a time, one of them in this thread.
fn in_parallel<T: Sync, R: Send + Sync>(items: &[T], call: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let results: Vec<OnceLock<R>> = items.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((item, result)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).zip(results.get(index))
        } {
            let _ = result.set(call(item));
        }
    };
    thread::scope(|scope| {
        for _ in 1..items.len().min(PARALLEL) {
            // Without another thread it takes longer, no more.
            let _ = thread::Builder::new()
                .name("write_file".to_owned())
                .spawn_scoped(scope, work);
        }
        work();
    });
    results
        .into_iter()
        .filter_map(OnceLock::into_inner)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::Database;
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("write_file_{name}_{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn connect() -> Connection {
        let connection = Database::open(":memory:", &[]).unwrap().connect().unwrap();
        connection.register_write_file().unwrap();
        connection
    }

    /// The first column of a query, which is numbers.
    fn answers(connection: &Connection, sql: &str) -> Result<Vec<Option<i64>>, EngineError> {
        let mut result = connection.parse(sql)?.prepare(0)?.start()?.execute()?;
        let mut all = Vec::new();
        while let Some(chunk) = result.next_chunk()? {
            let column = chunk.column(0);
            all.extend(
                (0..chunk.rows()).map(|row| (!column.is_null(row)).then(|| column.value(row))),
            );
        }
        Ok(all)
    }

    /// Writes parts of `0123456789`.
    fn write(connection: &Connection, rows: &str) -> Result<Vec<Option<i64>>, EngineError> {
        let sql = format!(
            "SELECT pg_lake_write_file(url, '0123456789'::BLOB, first, length) \
             FROM (VALUES {rows}) AS v(url, first, length)"
        );
        answers(connection, &sql)
    }

    fn entries(root: &Path) -> usize {
        fs::read_dir(root).unwrap().count()
    }

    #[test]
    fn parts_become_files_and_directories_are_made() {
        let (connection, root) = (connect(), scratch("parts"));
        let at = root.display();
        let rows = format!(
            "('{at}/a', 0, 3), ('file://{at}/x/y/b c.gz', 3, 7), (NULL, 0, 1), ('{at}/n', NULL, 1), ('{at}/x/e', 10, 0)"
        );
        let written = write(&connection, &rows).unwrap();
        assert_eq!(written, [Some(3), Some(7), None, None, Some(0)]);
        assert_eq!(fs::read(root.join("a")).unwrap(), b"012");
        assert_eq!(fs::read(root.join("x/y/b c.gz")).unwrap(), b"3456789");
        assert_eq!(fs::read(root.join("x/e")).unwrap(), b"");
        assert_eq!(entries(&root), 2);
        let mode = fs::metadata(root.join("x/y")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_exists_stays_and_nothing_else_is_left() {
        let (connection, root) = (connect(), scratch("exists"));
        let at = root.display();
        fs::write(root.join("old"), "old").unwrap();
        for (rows, part) in [
            (format!("('{at}/new', 0, 3), ('{at}/old', 0, 3)"), "/old\""),
            (format!("('{at}/new', 0, 3), ('{at}', 0, 3)"), "File exists"),
            (
                format!("('{at}/new', 0, 3), ('{at}/new', 3, 3)"),
                "File exists",
            ),
            (
                format!("('{at}/new', 0, 3), ('{at}/old/below', 3, 3)"),
                "/old/below\"",
            ),
        ] {
            let error = write(&connection, &rows).unwrap_err().0;
            assert!(error.contains(part), "{error}");
            assert_eq!(entries(&root), 1);
        }
        assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn ranges_are_checked_before_anything_is_written() {
        let (connection, root) = (connect(), scratch("ranges"));
        let at = root.display();
        for range in ["-1, 2", "0, -1", "0, 11", "11, 0", "1, 9223372036854775807"] {
            let rows = format!("('{at}/a', 0, 1), ('{at}/b', {range})");
            let error = write(&connection, &rows).unwrap_err().0;
            assert!(error.contains(&format!("{at}/b")), "{error}");
            assert_eq!(entries(&root), 0);
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn nothing_is_written_before_the_query_runs() {
        let (connection, root) = (connect(), scratch("plan"));
        let url = root.join("a").display().to_string();
        let sql = format!("SELECT count(pg_lake_write_file('{url}', 'abc'::BLOB, 0, 3))");
        let prepared = connection.parse(&sql).unwrap().prepare(0).unwrap();
        assert_eq!(entries(&root), 0);
        drop(prepared);
        assert_eq!(answers(&connection, &sql).unwrap(), [Some(1)]);
        assert_eq!(entries(&root), 1);
        // Two mentions are two calls.
        let call = format!("pg_lake_write_file('{url}2', 'abc'::BLOB, 0, 3)");
        let error = answers(&connection, &format!("SELECT {call} + {call}")).unwrap_err();
        assert!(error.0.contains("File exists"), "{error}");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn rows_of_one_stream_are_one_piece_of_work() {
        let (connection, root) = (connect(), scratch("stream"));
        let at = root.display();
        fs::write(root.join("blob"), "0123456789").unwrap();
        let sql = |second: &str| {
            format!(
                "SELECT count(pg_lake_write_file(v.url, b.content, v.first, v.length)) FROM read_blob('{at}/blob') AS b, \
                 (VALUES ('{at}/a', 0, 4), ('{at}/{second}', 4, 6)) AS v(url, first, length)"
            )
        };
        assert!(answers(&connection, &sql("blob")).is_err());
        assert_eq!(entries(&root), 1);
        assert_eq!(answers(&connection, &sql("b")).unwrap(), [Some(2)]);
        assert_eq!(fs::read(root.join("b")).unwrap(), b"456789");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn secrets_in_a_url_are_not_shown() {
        let connection = connect();
        connection
            .run("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
            .unwrap();
        for range in ["0, 3", "0, 11"] {
            let rows = format!("('s3://bucket/key?s3_secret_access_key=hidden', {range})");
            let error = write(&connection, &rows).unwrap_err().0;
            assert!(error.contains("s3://bucket/key"), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn all_items_have_results_in_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(in_parallel(&items, |item| *item), items);
        assert!(in_parallel(&[], |item: &usize| *item).is_empty());
    }
}
