//! Local targets of `COPY … TO` behave like an object store: directories are made on the way, what was written is on
//! disk before the client is told, and nothing is left of a COPY that failed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::errors::{ServerError, sqlstate};

/// A file by what does not change when it is renamed.
type FileId = (u64, u64);

/// The local target of one `COPY … TO`.
#[derive(Debug)]
pub struct CopyTarget {
    path: PathBuf,
    /// The deepest directory on the way that existed before.
    first_existing: PathBuf,
    before: Before,
}

/// What stood at the target before.
#[derive(Debug)]
enum Before {
    /// Nothing.
    Absent,
    /// A file.
    File,
    /// A directory with these files.
    Directory(HashSet<FileId>),
}

impl CopyTarget {
    /// Gets ready to write to `target`; `None` if it is not a local path.
    pub fn prepare(target: &str) -> Result<Option<CopyTarget>, ServerError> {
        let Some(path) = local_path(target) else {
            return Ok(None);
        };
        if path.starts_with("/dev") {
            return Err(ServerError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "cannot COPY to a device or to the standard output of the server",
            )
            .with_hint("Use TRANSMIT <query> to receive the rows as COPY data."));
        }
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        let first_existing = make_directories(&parent)
            .map_err(|error| ServerError::io("create directory", &parent, &error))?;
        let before = match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                Before::Directory(files_below(&path).iter().map(|(_, id)| *id).collect())
            }
            Ok(_) => Before::File,
            Err(_) => Before::Absent,
        };
        Ok(Some(CopyTarget {
            path,
            first_existing,
            before,
        }))
    }

    /// Makes what was written durable: every new file, and every directory from it up to the first that existed before.
    pub fn sync(&self) -> Result<(), ServerError> {
        let failed = |path: &Path, error: &io::Error| ServerError::io("synchronize", path, error);
        let mut directories = Vec::new();
        if self.path.is_dir() {
            let old = match &self.before {
                Before::Directory(files) => files,
                _ => &HashSet::new(),
            };
            for (file, id) in files_below(&self.path) {
                if !old.contains(&id) {
                    sync(&file).map_err(|error| failed(&file, &error))?;
                    directories.extend(file.parent().map(Path::to_owned));
                }
            }
            directories.push(self.path.clone());
            directories.sort();
            directories.dedup();
        } else {
            sync(&self.path).map_err(|error| failed(&self.path, &error))?;
        }
        directories.extend(directories_above(&self.path, &self.first_existing));
        for directory in directories {
            sync(&directory).map_err(|error| failed(&directory, &error))?;
        }
        Ok(())
    }

    /// Removes what a failed COPY has left: a file that was not there before, and DuckDB's temporary file.
    ///
    /// In a directory that held files before, others may be writing too; there nothing is removed.
    pub fn remove_leftovers(&self) {
        match &self.before {
            Before::Absent if self.path.is_dir() => {
                for (file, _) in files_below(&self.path) {
                    remove(&file);
                }
            }
            Before::Directory(files) if files.is_empty() => {
                for (file, _) in files_below(&self.path) {
                    remove(&file);
                }
            }
            Before::Directory(_) => tracing::warn!(
                path = %self.path.display(),
                "a COPY into a directory that held files before has failed, its files stay"
            ),
            Before::Absent => remove(&self.path),
            // Overwriting goes through the temporary file; the old file is still there or was truncated in place.
            Before::File => {}
        }
        if let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) {
            let mut temporary = std::ffi::OsString::from("tmp_");
            temporary.push(name);
            remove(&parent.join(temporary));
        }
    }
}

/// The path of a target that is not a URL of another scheme.
pub fn local_path(target: &str) -> Option<PathBuf> {
    if let Some(rest) = target.strip_prefix("file:") {
        // DuckDB knows file:/path, file:///path and file://localhost/path.
        let path = match rest.strip_prefix("//") {
            Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
            None => rest,
        };
        return Some(PathBuf::from(path));
    }
    let has_scheme = target.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    if has_scheme {
        return None;
    }
    std::path::absolute(target).ok()
}

/// Makes a directory and those on the way to it, for their owner only; returns the deepest that existed before.
pub fn make_directories(directory: &Path) -> io::Result<PathBuf> {
    let first_existing = existing_ancestor(directory);
    if first_existing != directory {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    Ok(first_existing)
}

/// The directories from that of a file up to `last`.
pub fn directories_above(path: &Path, last: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for directory in path.ancestors().skip(1) {
        directories.push(directory.to_owned());
        if directory == last {
            break;
        }
    }
    directories
}

/// The nearest directory at or above `path` that exists.
fn existing_ancestor(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

fn file_id(meta: &fs::Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

/// All regular files below a directory; symbolic links are not followed.
fn files_below(directory: &Path) -> Vec<(PathBuf, FileId)> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) if meta.is_file() => files.push((entry.path(), file_id(&meta))),
                _ => {}
            }
        }
    }
    files
}

/// Flushes a file or directory to disk.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file if it is there.
fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "could not remove a leftover file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("copy_target_{name}_{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn only_local_targets_are_ours() {
        assert_eq!(local_path("s3://b/k"), None);
        assert_eq!(local_path("file:///a/b"), Some("/a/b".into()));
        assert_eq!(local_path("file:/a"), Some("/a".into()));
        assert_eq!(local_path("file://localhost/a"), Some("/a".into()));
        assert_eq!(local_path("/a/b://c"), Some("/a/b://c".into()));
        assert!(CopyTarget::prepare("/dev/stdout").is_err());
    }

    #[test]
    fn directories_are_made_and_leftovers_removed() {
        let root = scratch("made");
        let file = root.join("x/y/z.parquet");
        let target = CopyTarget::prepare(file.to_str().unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(fs::metadata(root.join("x")).unwrap().mode() & 0o777, 0o700);
        fs::write(&file, "data").unwrap();
        fs::write(root.join("x/y/tmp_z.parquet"), "part").unwrap();
        target.sync().unwrap();
        target.remove_leftovers();
        assert_eq!(files_below(&root).len(), 0);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_was_there_before_stays() {
        let root = scratch("stays");
        let file = root.join("a.parquet");
        fs::write(&file, "old").unwrap();
        CopyTarget::prepare(file.to_str().unwrap())
            .unwrap()
            .unwrap()
            .remove_leftovers();
        let target = CopyTarget::prepare(root.to_str().unwrap())
            .unwrap()
            .unwrap();
        fs::write(root.join("b.parquet"), "new").unwrap();
        target.remove_leftovers();
        assert_eq!(files_below(&root).len(), 2);
        fs::remove_dir_all(root).unwrap();
    }
}
