//! What can go wrong with the work directory.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

const FULL: &str = "make room on the disk and run again: what is finished is kept";

/// A problem of the cache: where, and what.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file operation failed.
    #[error("cannot {what} `{}`: {source}", path.display())]
    File {
        /// The operation, such as `read`.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database failed.
    #[error("the cache database `{}` failed: {source}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file is not a database, or one of another program.
    #[error("`{}` is not a cache of this program", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The database is of a later version of this program.
    #[error("the cache `{}` has schema {found}, and this version of runner knows no later one than {known}", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// The latest schema known.
        known: usize,
    },
    /// The directory is another user's, or read-only.
    #[error("`{}` cannot be written: {reason}", path.display())]
    Unwritable {
        /// The directory or file.
        path: PathBuf,
        /// Why, and whose it is.
        reason: String,
    },
    /// Locks on the file system keep nobody out.
    #[error("file locks do not work in `{}`, so two runs could not be told apart from one", path.display())]
    NoLocks {
        /// The directory.
        path: PathBuf,
    },
    /// A stage left an output directory that cannot become an artifact.
    #[error("output `{slot}` {problem}")]
    Output {
        /// The output slot.
        slot: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CacheError {
    /// Whether the database is not as it was left.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            CacheError::Foreign { .. } => true,
            CacheError::Database { source, .. } => is_damage(source),
            _ => false,
        }
    }

    /// How to mend it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CacheError::Foreign { .. } => Some("choose another work directory, or move that file away"),
            CacheError::Newer { .. } => Some("use the newer version, or choose another work directory"),
            CacheError::Unwritable { .. } => Some(
                "choose another work directory with `--store`, or have its owner give you the right to write there",
            ),
            CacheError::NoLocks { .. } => Some(
                "choose a work directory on a local disk with `--store`, or have the file system mounted with locks \
                 (Lustre: `-o flock`; NFS: version 4, or 3 without `nolock`)",
            ),
            CacheError::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some(FULL),
            CacheError::Database { source, .. } if source.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                Some(FULL)
            }
            CacheError::File { .. } | CacheError::Database { .. } | CacheError::Output { .. } => None,
        }
    }
}

/// Gives a failed file operation its name and place.
pub(super) fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_path_buf();
    move |source| CacheError::File { what, path, source }
}

/// Whether a failure says that the file is not as SQLite left it, or that it holds what nobody wrote.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    let code = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
    let short = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHORT_READ);
    let value = matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
    );
    // The statements are right, so the schema is not.
    let schema = error.sqlite_error_code() == Some(ErrorCode::Unknown);
    code || short || value || schema
}
