//! What can go wrong with the work directory.

use std::io;
use std::path::{Path, PathBuf};

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
    /// How to mend it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CacheError::Foreign { .. } => Some("choose another work directory, or move that file away"),
            CacheError::Newer { .. } => Some("use the newer version, or choose another work directory"),
            CacheError::File { .. } | CacheError::Database { .. } | CacheError::Output { .. } => None,
        }
    }
}

/// Gives a failed file operation its name and place.
pub(super) fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_path_buf();
    move |source| CacheError::File { what, path, source }
}
