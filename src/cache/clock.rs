//! The clock of the file system that the store is on: how old a file is, is told by it alone. The clock of this
//! machine may be wrong, and those of machines that share a store differ.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::SystemTime;

use super::error::at;
use super::{Cache, CacheError};

/// The time where `directory` is.
///
/// # Errors
///
/// If no file can be made there.
pub(super) fn time_of(directory: &Path) -> io::Result<SystemTime> {
    tempfile::tempfile_in(directory)?.metadata()?.modified()
}

impl Cache {
    /// The time where the cache is, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// If no file can be made there.
    pub fn time(&self) -> Result<f64, CacheError> {
        let now = time_of(&self.directory).map_err(at("write to", &self.directory))?;
        Ok(now.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()))
    }
}

/// Gives a file the time that it is where the file is.
///
/// # Errors
///
/// If the file belongs to somebody else.
pub(super) fn touch(file: &File) -> io::Result<()> {
    // SAFETY: a plain system call on an open descriptor; without times it takes those of the file system.
    match unsafe { libc::futimens(file.as_raw_fd(), std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
