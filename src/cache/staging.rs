//! Where stages write until their results are committed.
//!
//! Each process that runs stages has a directory of its own below `staging/`, and holds a lock on a
//! file in it for as long as it lives. What a killed process left behind is recognised by its free
//! lock and removed by the next one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::error::{CacheError, at};

const LOCK: &str = "lock";

/// A directory without a lock file is being made, unless it is older than this.
const MAKING: Duration = Duration::from_secs(60);

/// The staging directory of this process. Removed when the last holder lets go.
#[derive(Debug)]
pub(super) struct Session {
    directory: PathBuf,
    next: AtomicU64,
    _lock: File,
}

impl Session {
    /// Makes a directory below `staging`, after removing what dead processes left there.
    pub fn start(staging: &Path) -> Result<Arc<Session>, CacheError> {
        fs::create_dir_all(staging).map_err(at("create", staging))?;
        sweep(staging).map_err(at("tidy", staging))?;
        loop {
            let directory = tempfile::Builder::new()
                .prefix("")
                .rand_bytes(8)
                .tempdir_in(staging)
                .map_err(at("create a directory in", staging))?
                .keep();
            let lock = File::create(directory.join(LOCK)).map_err(at("create a lock in", &directory))?;
            // Another process may have taken the lock, or even the directory, for a dead one's.
            if lock.try_lock().is_ok() && directory.join(LOCK).exists() {
                return Ok(Arc::new(Session { directory, next: AtomicU64::new(0), _lock: lock }));
            }
        }
    }

    /// Makes an empty directory that no other stage has.
    pub fn directory(&self) -> Result<PathBuf, CacheError> {
        let directory = self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&directory).map_err(at("create", &directory))?;
        Ok(directory)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next session.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Removes the directories of processes that are dead.
fn sweep(staging: &Path) -> io::Result<()> {
    for entry in fs::read_dir(staging)? {
        let directory = entry?.path();
        let dead = match File::open(directory.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(_) => is_older(&directory, MAKING),
        };
        if dead {
            let _ = fs::remove_dir_all(&directory);
        }
    }
    Ok(())
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|passed| passed > age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_swept_and_what_a_living_one_uses_is_not() {
        let root = tempfile::tempdir().unwrap();
        let living = Session::start(root.path()).unwrap();
        let used = living.directory().unwrap();
        let dead = root.path().join("dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("half a checkpoint"), "…").unwrap();

        let next = Session::start(root.path()).unwrap();
        assert!(!dead.exists());
        assert!(used.exists());
        drop((living, next));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
