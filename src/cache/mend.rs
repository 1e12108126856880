//! Making a damaged or lost database again from the journal.
//!
//! The new database is complete before it takes the place of the old one, which is kept in `damaged/`. A
//! crash in between leaves one of the two, or none, and then it is made again.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::TransactionBehavior;

use super::error::{CacheError, at};
use super::fault::{Point, reach};
use super::store::Store;
use super::{DATABASE, JOURNAL, MARK, database, journal, rows};

/// What SQLite puts beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What tells a database file from one that took its place.
pub(super) fn identity(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Puts a new database in the place of the one with the identity `damaged`, unless another process was
/// quicker.
pub(super) fn rebuild(directory: &Path, damaged: Option<u64>) -> Result<(), CacheError> {
    let (path, notes) = (directory.join(DATABASE), directory.join(JOURNAL));
    let lock = File::open(&notes).map_err(at("read", &notes))?;
    lock.lock().map_err(at("lock", &notes))?;
    if identity(&path) == damaged {
        let fresh = directory.join("cache.rebuilt");
        BESIDE.iter().chain([&""]).try_for_each(|suffix| remove(&with(&fresh, suffix)))?;
        fill(&fresh, &notes, &Store::new(directory))?;
        reach(Point::Rebuilt);
        set_aside(&path, &directory.join("damaged"))?;
        fs::rename(&fresh, &path).map_err(at("move", &fresh))?;
    }
    remove(&directory.join(MARK))
}

/// Writes all entries of the journal whose artifacts are in the store.
fn fill(fresh: &Path, notes: &Path, store: &Store) -> Result<(), CacheError> {
    let entries = journal::read(notes).map_err(at("read", notes))?;
    let mut connection = database::open(fresh)?;
    let mut write = || -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut missing = HashSet::new();
        for entry in &entries {
            let artifacts = || entry.outputs.values();
            missing.extend(artifacts().map(|artifact| artifact.digest).filter(|digest| !store.path(digest).exists()));
            if artifacts().any(|artifact| missing.contains(&artifact.digest)) {
                continue;
            }
            for artifact in artifacts() {
                // No stamp is known, so its bytes are looked at before it is used.
                rows::insert_artifact(&transaction, artifact, &artifact.digest)?;
            }
            let outputs = entry.outputs.iter().map(|(slot, artifact)| (slot.as_str(), artifact.digest)).collect();
            rows::insert_key(&transaction, &entry.fingerprint, &entry.key)?;
            rows::insert_entry(&transaction, &entry.fingerprint, &outputs, &entry.provenance)?;
        }
        transaction.commit()
    };
    write().map_err(|source| database::problem(fresh, source))?;
    connection.close().map_err(|(_, source)| database::problem(fresh, source))
}

/// Keeps the old database for someone to look at. What lies beside it goes first, for it must never be
/// taken for the new one's.
fn set_aside(path: &Path, damaged: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(damaged).map_err(at("create", damaged))?;
    let free = (1..).map(|number| damaged.join(format!("cache-{number}.sqlite")));
    let target = free.into_iter().find(|target| !target.exists()).expect("a number is free");
    for suffix in BESIDE {
        let from = with(path, suffix);
        match fs::rename(&from, with(&target, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("set aside", &from)(error)),
            _ => {}
        }
    }
    match fs::copy(path, &target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("set aside", path)(error)),
        _ => Ok(()),
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}
