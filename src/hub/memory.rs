//! What is remembered of the Hub in the work directory.
//!
//! ```text
//! hub/<repository>/branches.json       revision → the commit where it was last
//! hub/<repository>/<commit>-<path>.json  the listing of a folder at a commit, which never changes
//! hub/verified.json                    blob of the cache → its stat when its content was last checked
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Reason;
use super::listing::Listing;
use super::name::{Name, is_hex};
use crate::digest::Digest;

/// Device, inode, size, and the times of the last change of content and of attributes: equal stats
/// mean equal content.
pub(super) type Stat = [i64; 5];

/// The folder of what is remembered.
pub(super) struct Memory {
    directory: PathBuf,
}

impl Memory {
    pub fn new(directory: &Path) -> Memory {
        Memory { directory: directory.to_path_buf() }
    }

    /// Where a revision was when the Hub was last asked.
    pub fn branch(&self, name: &Name) -> Option<String> {
        let branches: BTreeMap<String, String> = read(&self.branches(name))?;
        branches.get(&name.revision).filter(|commit| is_hex(commit, 40)).cloned()
    }

    pub fn set_branch(&self, name: &Name, commit: &str) -> Result<(), Reason> {
        let path = self.branches(name);
        let mut branches: BTreeMap<String, String> = read(&path).unwrap_or_default();
        if branches.insert(name.revision.clone(), commit.to_string()).as_deref() == Some(commit) {
            return Ok(());
        }
        write(&path, &branches)
    }

    /// What a folder holds at a commit. A listing that cannot be read is none.
    pub fn listing(&self, name: &Name, commit: &str) -> Result<Option<Listing>, Reason> {
        let Some(listing) = read::<Listing>(&self.listing_file(name, commit)) else { return Ok(None) };
        listing.check()?;
        Ok(Some(listing))
    }

    pub fn set_listing(&self, name: &Name, commit: &str, listing: &Listing) -> Result<(), Reason> {
        write(&self.listing_file(name, commit), listing)
    }

    /// The blobs whose content was checked.
    pub fn verified(&self) -> BTreeMap<PathBuf, Stat> {
        read(&self.directory.join("verified.json")).unwrap_or_default()
    }

    /// Remembers more of them. Another process may have done so meanwhile.
    pub fn add_verified(&self, new: BTreeMap<PathBuf, Stat>) -> Result<(), Reason> {
        if new.is_empty() {
            return Ok(());
        }
        let mut verified = self.verified();
        verified.extend(new);
        write(&self.directory.join("verified.json"), &verified)
    }

    fn branches(&self, name: &Name) -> PathBuf {
        self.directory.join(name.repo().folder_name()).join("branches.json")
    }

    fn listing_file(&self, name: &Name, commit: &str) -> PathBuf {
        let folder = self.directory.join(name.repo().folder_name());
        match name.path.is_empty() {
            true => folder.join(format!("{commit}.json")),
            false => folder.join(format!("{commit}-{}.json", Digest::of(name.path.as_bytes()).short())),
        }
    }
}

/// The stat of the file that a path leads to.
pub(super) fn stat(path: &Path) -> Option<Stat> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let nanoseconds = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    Some([
        metadata.dev() as i64,
        metadata.ino() as i64,
        metadata.size() as i64,
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    ])
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a file so that a reader sees all of it or nothing.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Reason> {
    let failed = |error: std::io::Error| Reason::File { what: "write", path: path.into(), why: error.to_string() };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let text = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    file.write_all(&text).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
