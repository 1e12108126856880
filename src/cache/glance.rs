//! A quick look at artifacts that were looked at before: the names of their files are known, so no directory
//! has to be listed.
//!
//! A glance sees what a stamp sees: what is added to a directory or taken from it changes the times of the
//! directory, what is written changes those of the file. Where it sees something new, the artifact is walked.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD};

use super::store::Store;
use super::tree::Stat;
use crate::digest::Digest;

/// Artifacts with more files are walked.
const MOST: usize = 32;

/// How an artifact was when it was last found intact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glance {
    /// The names of its files with `/` between them: none of them is in a folder of the artifact.
    pub names: Arc<str>,
    /// The digest of the sizes, times and inodes of the files and of the directory.
    pub seen: Digest,
}

impl Glance {
    /// The first one at a directory. `None` if it is not as simple as that.
    pub fn first(directory: &Path) -> Option<Glance> {
        let before = fs::symlink_metadata(directory).ok()?;
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).ok()? {
            let entry = entry.ok()?;
            if names.len() == MOST || !entry.file_type().ok()?.is_file() {
                return None;
            }
            names.push(entry.file_name().into_string().ok()?);
        }
        names.sort_unstable();
        let names: Arc<str> = names.join("/").into();
        let seen = look(CWD, directory.to_str()?, &names)?;
        // What comes while the names are read is not among them.
        let after = fs::symlink_metadata(directory).ok()?;
        (Stat::of(&before) == Stat::of(&after)).then_some(Glance { names, seen })
    }

    /// Whether an artifact of the store that `root` is still looks like this.
    pub fn is_true(&self, root: impl AsFd, artifact: &Digest) -> bool {
        self.still(root, &Store::below(artifact))
    }

    /// Whether the directory, whose path begins at `root`, still looks like this.
    fn still(&self, root: impl AsFd, directory: &str) -> bool {
        look(root, directory, &self.names) == Some(self.seen)
    }
}

fn look(root: impl AsFd, directory: &str, names: &str) -> Option<Digest> {
    let mut seen = Vec::with_capacity(512);
    let mut path = String::with_capacity(directory.len() + 64);
    path.push_str(directory);
    let mut look = |path: &str| {
        let stat = rustix::fs::statat(&root, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let time = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
        let modified = time(stat.st_mtime, stat.st_mtime_nsec as i64);
        let changed = time(stat.st_ctime, stat.st_ctime_nsec as i64);
        let numbers = [stat.st_size as i64, stat.st_ino as i64, modified, changed];
        seen.extend(numbers.into_iter().flat_map(i64::to_le_bytes));
        Some(())
    };
    look(&path)?;
    path.push('/');
    for name in names.split('/') {
        path.push_str(name);
        look(&path)?;
        path.truncate(directory.len() + 1);
    }
    Some(Digest::of(&seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_happens_to_a_directory_of_files_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let (file, other) = (root.path().join("a.txt"), root.path().join("b.txt"));
        fs::write(&file, "one").unwrap();
        fs::write(&other, "one").unwrap();
        let first = || Glance::first(root.path()).unwrap();
        let before = first();
        assert_eq!(&*before.names, "a.txt/b.txt");
        assert!(before.still(CWD, root.path().to_str().unwrap()));

        // Clocks of file systems are coarse.
        let later = || std::thread::sleep(std::time::Duration::from_millis(20));
        let mut seen = vec![before];
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&file, "two").unwrap(),
            &|| fs::write(root.path().join("c.txt"), "").unwrap(),
            &|| fs::rename(root.path().join("c.txt"), root.path().join("d.txt")).unwrap(),
            &|| fs::remove_file(root.path().join("d.txt")).unwrap(),
        ];
        for change in changes {
            later();
            change();
            assert!(seen.iter().all(|glance| !glance.still(CWD, root.path().to_str().unwrap())));
            seen.push(first());
        }
        fs::remove_file(&other).unwrap();
        assert!(!seen[4].still(CWD, root.path().to_str().unwrap()));
    }

    #[test]
    fn what_has_folders_is_not_glanced_at() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("folder")).unwrap();
        assert_eq!(Glance::first(root.path()), None);
    }
}
