//! Looking at every byte of the store, and at whether rows, artifacts and journal say the same.
//!
//! Files are hashed in parallel over all artifacts, so that neither one large file nor many small ones
//! leave the disk idle. What is damaged is set aside; nothing else is changed but what was written down
//! too little: rows that the journal lacks, and stamps of artifacts that were touched.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::entry::Entry;
use super::error::{CacheError, at};
use super::holds;
use super::store::{ManifestFile, Outline, Store};
use super::tree::{Item, Links, walk};
use super::{Cache, JOURNAL, journal, rows};
use crate::digest::Digest;

/// What was found.
#[derive(Debug, Default)]
pub struct Verification {
    /// How many artifacts were looked at.
    pub artifacts: usize,
    /// Their files.
    pub files: usize,
    /// The bytes that were hashed.
    pub bytes: u64,
    /// What cannot be used, or not be looked at.
    pub faults: Vec<Fault>,
    /// Artifacts that no row names, with their size in bytes: left by a commit that did not come to its
    /// end, or by a stage that came out differently a second time.
    pub orphans: Vec<(Digest, u64)>,
    /// What lies in the store and is no artifact.
    pub strays: Vec<PathBuf>,
    /// What dead processes left in `staging/`.
    pub leftovers: Vec<Leftover>,
    /// How many rows the journal did not have; it has them now.
    pub journaled: usize,
    /// Whether the database was damaged; it was made again from the journal.
    pub mended: bool,
}

/// An artifact that cannot be used.
#[derive(Debug)]
pub struct Fault {
    /// The artifact.
    pub artifact: Digest,
    /// What is wrong with it.
    pub flaw: Flaw,
    /// The finished stages that name it, oldest first.
    pub made_by: Vec<Entry>,
}

/// What is wrong with an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// A row names it, and it is not in the store.
    Missing,
    /// It is not as its name says, and was moved to this place.
    Damaged {
        /// In which way.
        how: String,
        /// Where it is now.
        aside: PathBuf,
    },
    /// It could not be read; it was left where it is.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// A directory of a process that is not there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The directory.
    pub path: PathBuf,
    /// The size of its files in bytes.
    pub bytes: u64,
}

/// How an artifact was found.
enum State {
    Intact { stamp: Digest },
    Missing,
    Damaged(String),
    Unreadable(String),
}

impl Cache {
    /// Hashes the artifacts of all results, or of those with the fingerprints `only`, and compares what
    /// there is with what the rows say. `told` is called from any thread with the bytes that are done and
    /// those to do.
    ///
    /// # Errors
    ///
    /// If the database fails, or something cannot be listed or set aside.
    pub fn verify(
        &mut self,
        only: Option<&HashSet<Digest>>,
        told: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Verification, CacheError> {
        let mut found = Verification { mended: self.mend_if_damaged()?, ..Verification::default() };
        let mut entries = self.entries()?;
        entries.retain(|entry| only.is_none_or(|only| only.contains(&entry.fingerprint)));
        let mut makers: BTreeMap<Digest, Vec<&Entry>> = BTreeMap::new();
        for entry in &entries {
            entry.outputs.values().for_each(|artifact| makers.entry(artifact.digest).or_default().push(entry));
        }
        let mut targets: BTreeSet<Digest> = makers.keys().copied().collect();
        if only.is_none() {
            let (present, strays) = listing(self.store.root()).map_err(at("list", self.store.root()))?;
            targets.extend(present);
            found.strays = strays;
        }
        let targets: Vec<Digest> = targets.into_iter().collect();
        let states = hash(&self.store, &targets, &mut found, told);
        self.restamp(&targets, &states)?;
        for (artifact, state) in targets.iter().zip(states) {
            let flaw = match state {
                State::Intact { .. } => continue,
                State::Missing => Flaw::Missing,
                State::Unreadable(why) => Flaw::Unreadable { why },
                State::Damaged(how) => match self.set_aside(artifact)? {
                    Some(aside) => Flaw::Damaged { how, aside },
                    None => Flaw::Missing,
                },
            };
            let made_by: Vec<Entry> =
                makers.get(artifact).into_iter().flatten().map(|entry| (*entry).clone()).collect();
            // Meanwhile somebody may have collected it with its rows, or made it again.
            let again = self.store.stamp(artifact).is_some() || self.producers(artifact)?.is_empty();
            if flaw == Flaw::Missing && again {
                continue;
            }
            found.faults.push(Fault { artifact: *artifact, flaw, made_by });
        }
        if only.is_none() {
            found.orphans = self.orphans()?;
            found.leftovers = self.leftovers()?;
            found.journaled = self.complete_journal(&entries)?;
        }
        Ok(found)
    }

    /// Remembers the stamps of artifacts that were touched and are intact: the next run need not read them.
    fn restamp(&mut self, targets: &[Digest], states: &[State]) -> Result<(), CacheError> {
        let known = rows::stamps(&self.connection).map_err(|source| self.problem(source))?;
        let touched = targets.iter().zip(states).filter_map(|(artifact, state)| match state {
            State::Intact { stamp } if known.get(artifact).is_some_and(|known| known != stamp) => {
                Some((*artifact, *stamp))
            }
            _ => None,
        });
        let touched: Vec<(Digest, Digest)> = touched.collect();
        if touched.is_empty() {
            return Ok(());
        }
        self.write(|connection| {
            touched.iter().try_for_each(|(artifact, stamp)| rows::update_stamp(connection, artifact, stamp))
        })
    }

    /// The artifacts in the store that no row names now and no living process is about to name.
    pub(super) fn orphans(&mut self) -> Result<Vec<(Digest, u64)>, CacheError> {
        // The listing comes first: what is put into the store later is nobody's orphan.
        let (present, _) = listing(self.store.root()).map_err(at("list", self.store.root()))?;
        let staging = self.directory.join("staging");
        let held = holds::held(&staging, &mut self.watch).map_err(at("list", &staging))?;
        let named = rows::named(&self.connection).map_err(|source| self.problem(source))?;
        let orphans = present.into_iter().filter(|artifact| !named.contains(artifact) && !held.contains(artifact));
        Ok(orphans.map(|artifact| (artifact, size(&self.store.path(&artifact)))).collect())
    }

    /// What dead processes left in `staging/`.
    pub(super) fn leftovers(&mut self) -> Result<Vec<Leftover>, CacheError> {
        let staging = self.directory.join("staging");
        let entries = match fs::read_dir(&staging) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at("list", &staging))?,
        };
        let mut leftovers = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at("list", &staging))?;
            if self.watch.living(&entry.file_name().to_string_lossy()).is_none() {
                let path = entry.path();
                leftovers.push(Leftover { bytes: size(&path), path });
            }
        }
        leftovers.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(leftovers)
    }

    /// Writes to the journal what it lacks of these results. Returns how many.
    fn complete_journal(&mut self, entries: &[Entry]) -> Result<usize, CacheError> {
        let path = self.directory.join(JOURNAL);
        let said = match journal::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            said => said.map_err(at("read", &path))?,
        };
        let said: HashMap<Digest, Entry> = said.into_iter().map(|entry| (entry.fingerprint, entry)).collect();
        let same = |entry: &&Entry| said.get(&entry.fingerprint).is_some_and(|said| said.outputs == entry.outputs);
        let missing: Vec<&Entry> = entries.iter().filter(|entry| !same(entry)).collect();
        if missing.is_empty() {
            return Ok(0);
        }
        // Whoever writes there has the database to itself, and what was collected meanwhile stays so.
        self.write(|connection| {
            let there = |entry: &&&Entry| rows::result(connection, &entry.fingerprint).map(|row| row.is_some());
            let mut still = Vec::new();
            for entry in &missing {
                if there(&entry)? {
                    still.push(*entry);
                }
            }
            let count = still.len();
            journal::append(&path, still).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            Ok(count)
        })
    }

    /// Has SQLite look at the whole database; makes it again if it is damaged.
    fn mend_if_damaged(&mut self) -> Result<bool, CacheError> {
        let checked = rows::check(&self.connection);
        let damaged = match &checked {
            Ok(sound) => !sound,
            Err(source) => self.can_be_mended(source),
        };
        if damaged && !journal::is_empty(&self.directory.join(JOURNAL)) {
            self.mend()?;
            self.index = None;
            return Ok(true);
        }
        checked.map(|_| false).map_err(|source| self.problem(source))
    }
}

/// Looks at every artifact, then hashes the files of all.
fn hash(store: &Store, targets: &[Digest], found: &mut Verification, told: &(dyn Fn(u64, u64) + Sync)) -> Vec<State> {
    let outline = |artifact: &Digest| match store.path(artifact).exists() {
        true => store.outline(artifact),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    let outlines: Vec<io::Result<Result<Outline, String>>> = targets.par_iter().map(outline).collect();
    let mut states: Vec<State> = Vec::with_capacity(targets.len());
    let mut files: Vec<(usize, Item, ManifestFile)> = Vec::new();
    for (place, outline) in outlines.into_iter().enumerate() {
        found.artifacts += usize::from(!matches!(&outline, Err(error) if error.kind() == io::ErrorKind::NotFound));
        states.push(match outline {
            Ok(Ok(Outline { stamp, files: of_this })) => {
                files.extend(of_this.into_iter().map(|(item, file)| (place, item, file)));
                State::Intact { stamp }
            }
            Ok(Err(how)) => State::Damaged(how),
            Err(error) => unread(&error),
        });
    }
    found.files = files.len();
    found.bytes = files.iter().map(|(_, _, file)| file.size).sum();
    let (total, done) = (found.bytes, AtomicU64::new(0));
    told(0, total);
    let hash = |(place, item, file): &(usize, Item, ManifestFile)| {
        let digest = Digest::of_file(&item.path);
        told(done.fetch_add(file.size, Ordering::Relaxed) + file.size, total);
        let name = String::from_utf8_lossy(&item.relative);
        match digest {
            Ok(digest) if digest == file.digest => None,
            Ok(_) => Some((*place, State::Damaged(format!("`{name}` has other bytes than when it was made")))),
            Err(error) => Some((*place, unread(&error))),
        }
    };
    let flawed: Vec<(usize, State)> = files.par_iter().with_max_len(1).filter_map(hash).collect();
    for (place, state) in flawed {
        // The first that was found is said.
        if matches!(states[place], State::Intact { .. }) {
            states[place] = state;
        }
    }
    states
}

fn unread(error: &io::Error) -> State {
    match error.kind() {
        io::ErrorKind::NotFound => State::Missing,
        _ => State::Unreadable(error.to_string()),
    }
}

/// The artifacts in the store, and what else lies there.
fn listing(store: &Path) -> io::Result<(Vec<Digest>, Vec<PathBuf>)> {
    let (mut artifacts, mut strays) = (Vec::new(), Vec::new());
    let shards = match fs::read_dir(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((artifacts, strays)),
        shards => shards?,
    };
    for shard in shards {
        let shard = shard?;
        let name = shard.file_name();
        if !shard.file_type()?.is_dir() || name.len() != 2 {
            strays.push(shard.path());
            continue;
        }
        for entry in fs::read_dir(shard.path())? {
            let entry = entry?;
            let hex = entry.file_name();
            let digest = hex.to_str().filter(|hex| hex.starts_with(&*name.to_string_lossy()));
            let digest = digest.and_then(|hex| format!("b3:{hex}").parse::<Digest>().ok());
            match digest {
                Some(digest) => artifacts.push(digest),
                None => strays.push(entry.path()),
            }
        }
    }
    strays.sort();
    Ok((artifacts, strays))
}

/// The size of the files of a tree in bytes, as far as it can be read.
pub(super) fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => metadata.len(),
        _ => walk(path, Links::Report).map_or(0, |items| items.iter().map(|item| item.stat.size as u64).sum()),
    }
}
