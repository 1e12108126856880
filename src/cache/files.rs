//! Digests of files and directories outside the store, without reading again what did not change.
//!
//! The content of a file is what counts, never its name or times. A known stat (path, device, inode,
//! size, times) only saves the reading. Racy-clean rule: a file that changed so shortly before it was
//! hashed that a second change could have left the same stat is not remembered.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;

use super::error::{CacheError, at};
use super::tree::{Item, Links, Stat, walk};
use crate::digest::Digest;

/// Coarser than the clock of any file system in use, and than the skew of a file server's clock that
/// is kept at all.
const RACY: i64 = 2_000_000_000;

/// A file whose content was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hashed {
    pub path: PathBuf,
    pub stat: Stat,
    pub digest: Digest,
}

/// Digests by path and stat. May be used from any thread; [`Cache`](super::Cache) fills it from its
/// database and saves what is new.
#[derive(Debug, Default)]
pub struct FileDigests {
    /// By whole paths: their parts need not be told apart, which takes longer than to hash them.
    known: Mutex<HashMap<OsString, (Stat, Digest)>>,
    /// Directories as they were found last, if any later change will show.
    trees: Mutex<HashMap<PathBuf, (Vec<Item>, Digest)>>,
    /// Files and directories that somebody vouched for, as they were then.
    vouched: Mutex<HashMap<PathBuf, (Vec<Item>, Digest)>>,
    new: Mutex<Vec<Hashed>>,
}

impl FileDigests {
    /// The content digest of a file, or of a directory with everything below it: a function of the
    /// relative paths and contents of its files. Links are followed.
    ///
    /// # Errors
    ///
    /// If something there cannot be read.
    pub fn digest(&self, path: &Path) -> Result<Digest, CacheError> {
        let path = &std::path::absolute(path).map_err(at("find", path))?;
        let problem = || at("read", path);
        let vouched = lock(&self.vouched).get(path).cloned();
        if let Some((before, digest)) = vouched
            && found(path).is_ok_and(|now| now == before)
        {
            return Ok(digest);
        }
        let metadata = fs::metadata(path).map_err(problem())?;
        if !metadata.is_dir() {
            let item = Item { relative: Vec::new(), path: path.clone(), stat: Stat::of(&metadata), link: false };
            return Ok(self.digests(std::slice::from_ref(&item)).map_err(problem())?[0]);
        }
        let items = walk(path, Links::Follow).map_err(problem())?;
        if let Some((_, digest)) = lock(&self.trees).get(path).filter(|(before, _)| *before == items) {
            return Ok(*digest);
        }
        let settled = items.iter().all(|item| is_settled(&item.stat, now()));
        let digests = self.digests(&items).map_err(problem())?;
        // A path has no zero byte and a digest no newline, so the listing can be read in one way only.
        let mut listing = b"directory 1\n".to_vec();
        for (item, digest) in items.iter().zip(digests) {
            listing.extend_from_slice(&item.relative);
            listing.push(0);
            let _ = writeln!(listing, "{digest}");
        }
        let digest = Digest::of(&listing);
        if settled {
            lock(&self.trees).insert(path.clone(), (items, digest));
        }
        Ok(digest)
    }

    /// Lets `digest` stand for a file or directory as it is now, until it changes: for what is known by
    /// another digest than that of its bytes, and was checked by that. What is not there may come to be
    /// no more than what is there may change.
    ///
    /// # Errors
    ///
    /// If something there cannot be read.
    pub fn vouch(&self, path: &Path, digest: Digest) -> Result<(), CacheError> {
        let path = std::path::absolute(path).map_err(at("find", path))?;
        let items = found(&path).map_err(at("read", &path))?;
        lock(&self.vouched).insert(path, (items, digest));
        Ok(())
    }

    /// Takes what the database knows.
    pub(super) fn remember(&self, rows: Vec<Hashed>) {
        lock(&self.known).extend(rows.into_iter().map(|row| (row.path.into_os_string(), (row.stat, row.digest))));
    }

    /// What was hashed and may be remembered since the last call.
    pub(super) fn take_new(&self) -> Vec<Hashed> {
        std::mem::take(&mut lock(&self.new))
    }

    /// The digests of files, in order.
    fn digests(&self, items: &[Item]) -> io::Result<Vec<Digest>> {
        let known: Vec<Option<Digest>> = {
            let known = lock(&self.known);
            let find = |item: &Item| match known.get(item.path.as_os_str()) {
                Some((stat, digest)) if *stat == item.stat => Some(*digest),
                _ => None,
            };
            items.iter().map(find).collect()
        };
        let now = now();
        let hash = |(item, known): (&Item, &Option<Digest>)| match known {
            Some(digest) => Ok((*digest, None)),
            None => {
                let digest = Digest::of_file(&item.path)?;
                let settled = is_settled(&item.stat, now);
                Ok((digest, settled.then(|| Hashed { path: item.path.clone(), stat: item.stat, digest })))
            }
        };
        let hashed: Vec<(Digest, Option<Hashed>)> =
            items.par_iter().zip(&known).with_min_len(16).map(hash).collect::<io::Result<_>>()?;
        let mut new = Vec::new();
        let digests = hashed.into_iter().map(|(digest, row)| {
            new.extend(row);
            digest
        });
        let digests = digests.collect();
        self.remember(new.clone());
        lock(&self.new).extend(new);
        Ok(digests)
    }
}

/// What is at a path: the file, the files below it, or nothing.
fn found(path: &Path) -> io::Result<Vec<Item>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => walk(path, Links::Follow),
        Ok(metadata) => {
            let (path, stat) = (path.to_path_buf(), Stat::of(&metadata));
            Ok(vec![Item { relative: Vec::new(), path, stat, link: false }])
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64)
}

/// Whether any later change of the file will show in its stat.
fn is_settled(stat: &Stat, now: i64) -> bool {
    stat.changed.saturating_add(RACY) < now
}

/// The maps hold whole rows only, so they are sound even after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn digest(root: &tempfile::TempDir) -> Digest {
        FileDigests::default().digest(root.path()).unwrap()
    }

    #[test]
    fn a_tree_is_its_relative_paths_and_contents() {
        let one = digest(&tree(&[("a.txt", "1"), ("b/c.txt", "2")]));
        assert_eq!(one, digest(&tree(&[("b/c.txt", "2"), ("a.txt", "1")])));
        assert_ne!(one, digest(&tree(&[("a.txt", "1"), ("b/c.txt", "3")])));
        assert_ne!(one, digest(&tree(&[("a.txt", "1"), ("b/d.txt", "2")])));
        assert_ne!(one, digest(&tree(&[("a.txt", "1")])));
    }

    #[test]
    fn a_link_counts_as_what_it_leads_to_and_a_broken_one_is_an_error() {
        let real = tree(&[("a.txt", "1")]);
        let linked = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(real.path().join("a.txt"), linked.path().join("a.txt")).unwrap();
        assert_eq!(digest(&real), digest(&linked));
        fs::remove_file(real.path().join("a.txt")).unwrap();
        let error = FileDigests::default().digest(linked.path()).unwrap_err().to_string();
        assert!(error.contains("a.txt"), "{error}");
    }

    #[test]
    fn a_link_that_leads_back_up_is_refused() {
        let root = tree(&[("a.txt", "1")]);
        std::os::unix::fs::symlink(root.path(), root.path().join("up")).unwrap();
        assert!(FileDigests::default().digest(root.path()).is_err());
    }

    #[test]
    fn a_file_written_twice_in_a_moment_is_read_twice() {
        let root = tree(&[("a.txt", "one")]);
        let path = root.path().join("a.txt");
        let digests = FileDigests::default();
        assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"one"));
        assert!(digests.take_new().is_empty(), "so young a file is not remembered");
        fs::write(&path, "two").unwrap();
        assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn what_is_vouched_for_has_the_digest_that_was_given_until_it_changes() {
        let root = tree(&[("a.txt", "one"), ("b/c.txt", "two")]);
        let digests = FileDigests::default();
        let given = Digest::of(b"given");
        let (file, absent) = (root.path().join("a.txt"), root.path().join("absent"));
        for path in [root.path(), &file, &absent] {
            digests.vouch(path, given).unwrap();
            assert_eq!(digests.digest(path).unwrap(), given);
        }
        fs::write(&file, "longer").unwrap();
        assert_eq!(digests.digest(&file).unwrap(), Digest::of(b"longer"));
        assert_ne!(digests.digest(root.path()).unwrap(), given);
        fs::write(&absent, "come").unwrap();
        assert_eq!(digests.digest(&absent).unwrap(), Digest::of(b"come"));
    }

    #[test]
    fn a_known_stat_saves_the_reading() {
        let root = tree(&[("a.txt", "one")]);
        let path = root.path().join("a.txt");
        let digests = FileDigests::default();
        let stat = Stat::of(&fs::metadata(&path).unwrap());
        digests.remember(vec![Hashed { path: path.clone(), stat, digest: Digest::of(b"remembered") }]);
        assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"remembered"));
        fs::write(&path, "longer").unwrap();
        assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"longer"));
    }
}
