//! Walking a directory tree: what files there are, and what the file system says of each.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

/// Deeper trees are taken for links that lead back up.
const MAX_DEPTH: usize = 64;

/// What the file system says of a file. Equal stats mean equal content, unless the file was written
/// twice within the resolution of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub device: i64,
    pub inode: i64,
    /// Bytes.
    pub size: i64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// Nanoseconds since 1970 of the last change of content or attributes: no program can set it.
    pub changed: i64,
}

impl Stat {
    /// SQLite has signed 64-bit integers only, so the unsigned numbers keep their bits, not their
    /// value.
    pub fn of(metadata: &Metadata) -> Stat {
        Stat {
            device: metadata.dev() as i64,
            inode: metadata.ino() as i64,
            size: metadata.size() as i64,
            modified: metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec()),
            changed: metadata.ctime().wrapping_mul(1_000_000_000).wrapping_add(metadata.ctime_nsec()),
        }
    }
}

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Path below the root, with `/` between its parts.
    pub relative: Vec<u8>,
    pub path: PathBuf,
    pub stat: Stat,
    /// Whether it is a symbolic link that was not followed.
    pub link: bool,
}

/// What to do about symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// They count as what they lead to.
    Follow,
    /// They are reported.
    Report,
}

/// All files below `root` in the order of their relative paths. Directories count only by the files
/// in them.
pub(super) fn walk(root: &Path, links: Links) -> io::Result<Vec<Item>> {
    let mut items = walk_below(root, &[], links, 0)?;
    items.sort_unstable_by(|left, right| left.relative.cmp(&right.relative));
    Ok(items)
}

fn walk_below(directory: &Path, prefix: &[u8], links: Links, depth: usize) -> io::Result<Vec<Item>> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!(
            "`{}` is nested too deeply; do links lead back up?",
            directory.display()
        )));
    }
    let entries: Vec<fs::DirEntry> = fs::read_dir(directory)?.collect::<io::Result<_>>()?;
    let visit = |entry: &fs::DirEntry| -> io::Result<Vec<Item>> {
        let path = entry.path();
        let symbolic = entry.file_type()?.is_symlink();
        // Asking the entry saves the system from finding the directory again.
        let metadata = if symbolic && links == Links::Follow { fs::metadata(&path) } else { entry.metadata() }
            .map_err(|error| io::Error::new(error.kind(), format!("{error} (at `{}`)", path.display())))?;
        let link = symbolic && links == Links::Report;
        let mut relative = prefix.to_vec();
        relative.extend_from_slice(entry.file_name().as_bytes());
        if metadata.is_dir() {
            relative.push(b'/');
            return walk_below(&path, &relative, links, depth + 1);
        }
        Ok(vec![Item { relative, path, stat: Stat::of(&metadata), link }])
    };
    // Most directories of the store hold a handful of files: splitting those over threads costs more
    // than it saves.
    let visited: io::Result<Vec<Vec<Item>>> = match entries.len() {
        0..=32 => entries.iter().map(visit).collect(),
        _ => entries.par_iter().with_min_len(16).map(visit).collect(),
    };
    Ok(visited?.into_iter().flatten().collect())
}
