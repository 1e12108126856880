//! What living processes use of the store, so that nobody collects it under their hands.
//!
//! A process that runs stages lists in `staging/<session>/uses` every artifact that it is about to rely on
//! or to put into the store: before it looks whether the artifact is there. It writes under a shared lock on
//! `collect.lock`; whoever collects has that lock alone, from reading the lists until the last artifact is
//! out of the store. So what is looked at after it was listed is there to stay, or gone already and then
//! simply missing.
//!
//! Never listed inside a transaction: whoever collects takes the lock first and the database second.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::error::{CacheError, at};
use super::staging::Watch;
use crate::digest::Digest;

const LOCK: &str = "collect.lock";
const LIST: &str = "uses";

/// The list of this process: none until it runs a stage.
#[derive(Debug)]
pub(super) struct Holds {
    lock: PathBuf,
    list: Mutex<Option<List>>,
}

#[derive(Debug)]
struct List {
    lock: File,
    file: File,
    path: PathBuf,
}

impl Holds {
    pub fn new(work: &Path) -> Holds {
        Holds { lock: work.join(LOCK), list: Mutex::default() }
    }

    /// Begins the list in the directory of the session with what was relied on so far.
    pub fn begin(&self, session: &Path, so_far: impl IntoIterator<Item = Digest>) -> Result<(), CacheError> {
        let lock = File::options().create(true).append(true).open(&self.lock).map_err(at("create", &self.lock))?;
        let path = session.join(LIST);
        let file = File::options().create(true).append(true).open(&path).map_err(at("create", &path))?;
        *self.list.lock().expect("no panic while it is locked") = Some(List { lock, file, path });
        self.hold(so_far)
    }

    /// Lists artifacts, if there is a list.
    pub fn hold(&self, artifacts: impl IntoIterator<Item = Digest>) -> Result<(), CacheError> {
        let mut list = self.list.lock().expect("no panic while it is locked");
        let Some(List { lock, file, path }) = list.as_mut() else { return Ok(()) };
        let mut text = String::new();
        for artifact in artifacts {
            text.push_str(&artifact.to_string());
            text.push('\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        lock.lock_shared().map_err(at("lock", &self.lock))?;
        let written = file.write_all(text.as_bytes());
        let _ = lock.unlock();
        written.map_err(at("write", path))
    }

    /// The right to collect: as long as it lives, nobody else collects, and nobody lists anything.
    pub fn collect(&self) -> Result<Collecting, CacheError> {
        let mut lock = File::options().create(true).append(true).open(&self.lock).map_err(at("create", &self.lock))?;
        lock.lock().map_err(at("lock", &self.lock))?;
        lock.write_all(b"(").map_err(at("write", &self.lock))?;
        Ok(Collecting { lock })
    }

    /// How often somebody began or ended to collect. If it is the same before something is looked up and
    /// after that was listed, nothing of it was collected in between.
    pub fn collections(&self) -> u64 {
        fs::metadata(&self.lock).map_or(0, |metadata| metadata.len())
    }
}

/// See [`Holds::collect`].
pub(super) struct Collecting {
    lock: File,
}

impl Drop for Collecting {
    fn drop(&mut self) {
        // Should it fail, or this process be killed before: a run that read rows meanwhile finds artifacts
        // missing and makes them again, nothing worse.
        let _ = self.lock.write_all(b")");
    }
}

/// What the living sessions list. A line that is being written is not whole, and nothing relies on it yet.
pub(super) fn held(staging: &Path, watch: &mut Watch) -> io::Result<HashSet<Digest>> {
    let mut held = HashSet::new();
    let entries = match fs::read_dir(staging) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(held),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if watch.living(&entry.file_name().to_string_lossy()).is_none() {
            continue;
        }
        match fs::read_to_string(entry.path().join(LIST)) {
            Ok(text) => held.extend(text.lines().filter_map(|line| line.parse::<Digest>().ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}
