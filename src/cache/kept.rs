//! What stages that were cut off left for their next execution: `kept/<fingerprint>/`.
//!
//! Only who holds the right to write the result of a key lets a stage write there. It is removed when there
//! is a result, and when nobody went on with it for long.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::clock;
use super::error::at;
use super::{Cache, CacheError, Recorded};
use crate::digest::Digest;

const KEPT: &str = "kept";
/// What nobody went on with for so long is not gone on with any more.
const LONG_AGO: Duration = Duration::from_secs(30 * 24 * 3600);

impl Cache {
    /// Where a stage with this fingerprint keeps what its next execution goes on with.
    pub fn kept(&self, fingerprint: &Digest) -> PathBuf {
        self.directory().join(KEPT).join(fingerprint.hex())
    }

    /// Removes what is kept for a stage that has its result now.
    pub fn drop_kept(&self, fingerprint: &Digest) {
        // What cannot be removed now is swept later.
        let _ = fs::remove_dir_all(self.kept(fingerprint));
    }

    /// Removes what is kept for stages that have results, and what was left long ago.
    ///
    /// # Errors
    ///
    /// If the database fails, or the folder cannot be read.
    pub fn sweep_kept(&mut self) -> Result<(), CacheError> {
        let directory = self.directory().join(KEPT);
        if !directory.exists() {
            return Ok(());
        }
        let now = clock::time_of(&directory).map_err(at("write to", &directory))?;
        for entry in fs::read_dir(&directory).map_err(at("read", &directory))?.flatten() {
            let Some(fingerprint) = entry.file_name().to_str().and_then(|hex| format!("b3:{hex}").parse().ok()) else {
                continue;
            };
            if matches!(self.recorded(&fingerprint)?, Recorded::Present(_)) || is_old(&entry.path(), now) {
                self.drop_kept(&fingerprint);
            }
        }
        Ok(())
    }
}

/// Whether nothing in a directory was written for long.
fn is_old(directory: &Path, now: SystemTime) -> bool {
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let times = files.chain([directory.to_path_buf()]).filter_map(|path| fs::metadata(path).ok()?.modified().ok());
    let newest = times.max().unwrap_or(SystemTime::UNIX_EPOCH);
    now.duration_since(newest).is_ok_and(|age| age > LONG_AGO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_long_ago_is_swept_and_what_was_left_lately_is_not() {
        let root = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(root.path()).unwrap();
        let [lately, once] = ["lately", "once"].map(|name| cache.kept(&Digest::of(name.as_bytes())));
        for directory in [&lately, &once] {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join("save"), "half a model").unwrap();
        }
        for path in [once.join("save"), once.clone()] {
            fs::File::open(path).unwrap().set_modified(SystemTime::now() - 2 * LONG_AGO).unwrap();
        }
        cache.sweep_kept().unwrap();
        assert!(lately.exists() && !once.exists());
    }
}
