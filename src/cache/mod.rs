//! The work directory: what was computed, under which key, and where its files are.
//!
//! ```text
//! .runner/
//!   cache.sqlite   the action cache: key → outputs and provenance; digests of files outside
//!   store/         immutable artifacts, each under the digest of its manifest
//!   staging/       where stages write until their result is committed
//!   damaged/       artifacts that were not what their name says, set aside
//!   logs/          what each stage wrote to its standard error, by fingerprint
//! ```
//!
//! A result is committed in three steps: its files are hashed and brought to the disk, renamed into
//! the store, and then one transaction writes the row. A crash in between leaves an artifact that no
//! row names, never a row without files. A row whose files are missing all the same is a miss.
//! Artifacts are checked by the sizes and times of their files whenever a result is looked up, and
//! by their bytes before a stage reads them.
//!
//! Unaware of the plan and of how stages are run.

mod database;
mod entry;
mod error;
mod files;
mod rows;
mod staging;
mod store;
mod ticket;
mod tree;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use rayon::prelude::*;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Map, Value};

pub use entry::{Divergence, Entry, Origin, Outputs, Provenance};
pub use error::CacheError;
pub use files::FileDigests;
pub use store::{Artifact, Health, Manifest, ManifestFile, Store};
pub use ticket::{Lookup, Sealed, Ticket};

use crate::digest::Digest;
use crate::fingerprint::Key;
use error::at;
use staging::Session;

/// The cache of a work directory, for one process.
pub struct Cache {
    directory: PathBuf,
    connection: Connection,
    store: Arc<Store>,
    files: Arc<FileDigests>,
    /// Made when the first stage is to run.
    session: Option<Arc<Session>>,
    /// Read when the first key is looked up.
    index: Option<Index>,
}

/// The action cache in memory, and what is known of the artifacts.
struct Index {
    /// Fingerprint → outputs and processor time.
    results: HashMap<Digest, (Outputs, f64)>,
    stamps: HashMap<Digest, Digest>,
    /// Artifacts that were checked: whether they can be used.
    checked: HashMap<Digest, bool>,
}

/// What the action cache says of a key, by its rows and by what was checked so far.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// There is a result, and nothing is known against its artifacts.
    Present(Outputs),
    /// There was a result, but this output of it is missing or damaged.
    Broken {
        /// The output slot.
        slot: String,
        /// The artifact.
        artifact: Digest,
    },
    /// There is none.
    Absent,
}

/// What a prefix of hexadecimal digits stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A finished stage, by its fingerprint.
    Entry(Entry),
    /// An artifact, with the stages that made it, first one first.
    Artifact(Artifact, Vec<Entry>),
}

impl Cache {
    /// Opens the cache in `directory`; makes it where there is none.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used, or its database is another program's or a newer version's:
    /// then nothing there is changed.
    pub fn open(directory: &Path) -> Result<Cache, CacheError> {
        database::create_directory(directory)?;
        let directory = directory.canonicalize().map_err(at("find", directory))?;
        let connection = database::open(&directory.join("cache.sqlite"))?;
        let store = Arc::new(Store::new(&directory));
        Ok(Cache { directory, connection, store, files: Arc::default(), session: None, index: None })
    }

    /// The work directory, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The content digest of a file or directory outside the store; what did not change since it was
    /// last hashed is not read again.
    ///
    /// # Errors
    ///
    /// If something there cannot be read.
    pub fn digest(&mut self, path: &Path) -> Result<Digest, CacheError> {
        let path = std::path::absolute(path).map_err(at("find", path))?;
        let known = rows::files(&self.connection, &path).map_err(|source| self.problem(source))?;
        self.files.remember(known);
        let digest = self.files.digest(&path)?;
        self.save_files()?;
        Ok(digest)
    }

    /// Saves the digests of files outside that other threads found since the last call of
    /// [`Cache::digest`], so that the next process need not read those files.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn save_files(&mut self) -> Result<(), CacheError> {
        let new = self.files.take_new();
        if new.is_empty() {
            return Ok(());
        }
        self.write(|connection| new.iter().try_for_each(|file| rows::insert_file(connection, file)))
    }

    /// The digests of files outside the store that are known so far, for use in other threads.
    pub fn files(&self) -> Arc<FileDigests> {
        self.files.clone()
    }

    /// The store, for use in other threads.
    pub fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// What the rows say of a fingerprint. Files are not looked at: [`Cache::check`] does that for
    /// many artifacts at once.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn recorded(&mut self, fingerprint: &Digest) -> Result<Recorded, CacheError> {
        let index = self.index()?;
        let Some((outputs, _)) = index.results.get(fingerprint) else { return Ok(Recorded::Absent) };
        let broken = outputs.iter().find(|(_, artifact)| index.checked.get(artifact) == Some(&false));
        Ok(match broken {
            Some((slot, artifact)) => Recorded::Broken { slot: slot.clone(), artifact: *artifact },
            None => Recorded::Present(outputs.clone()),
        })
    }

    /// The processor time in seconds that the result of a fingerprint took.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn cpu(&mut self, fingerprint: &Digest) -> Result<f64, CacheError> {
        Ok(self.index()?.results.get(fingerprint).map_or(0.0, |(_, cpu)| *cpu))
    }

    /// Looks whether artifacts are in the store as they were left, by the sizes and times of their
    /// files; those that were touched are hashed, and set aside if they are damaged. Returns how many
    /// were found missing or damaged for the first time.
    ///
    /// # Errors
    ///
    /// If the database fails or a damaged artifact cannot be set aside.
    pub fn check(&mut self, artifacts: impl IntoIterator<Item = Digest>) -> Result<usize, CacheError> {
        let store = self.store();
        let index = self.index()?;
        let unknown: BTreeSet<Digest> =
            artifacts.into_iter().filter(|artifact| !index.checked.contains_key(artifact)).collect();
        let unknown: Vec<(Digest, Option<Digest>)> =
            unknown.into_iter().map(|artifact| (artifact, index.stamps.get(&artifact).copied())).collect();
        // Health, and the stamp where it is a new one.
        let look = |(artifact, known): &(Digest, Option<Digest>)| match store.stamp(artifact) {
            None => (Health::Missing, None),
            Some(stamp) if Some(stamp) == *known => (Health::Intact, None),
            Some(stamp) => (store.verify(artifact), Some(stamp)),
        };
        let looked: Vec<(Health, Option<Digest>)> = unknown.par_iter().with_min_len(16).map(look).collect();
        let mut restamped = Vec::new();
        let mut broken = 0;
        for ((artifact, _), (health, stamp)) in unknown.iter().zip(looked) {
            let intact = health == Health::Intact;
            index.checked.insert(*artifact, intact);
            if let (true, Some(stamp)) = (intact, stamp) {
                index.stamps.insert(*artifact, stamp);
                restamped.push((*artifact, stamp));
            }
            broken += usize::from(!intact);
            if health == Health::Damaged {
                store.set_aside(artifact)?;
            }
        }
        if !restamped.is_empty() {
            self.write(|connection| {
                restamped.iter().try_for_each(|(artifact, stamp)| rows::update_stamp(connection, artifact, stamp))
            })?;
        }
        Ok(broken)
    }

    /// The result of a key, or the right to write it: `outputs` are the slots with their artifact
    /// kinds.
    ///
    /// # Errors
    ///
    /// If the database fails or a staging directory cannot be made.
    pub fn lookup(&mut self, key: &Key, outputs: &IndexMap<String, String>) -> Result<Lookup, CacheError> {
        if self.recorded(&key.fingerprint)? == Recorded::Absent {
            // Another process may have finished it since the index was read.
            let row = rows::result(&self.connection, &key.fingerprint).map_err(|source| self.problem(source))?;
            self.index()?.results.extend(row.map(|row| (key.fingerprint, row)));
        }
        if let Recorded::Present(found) = self.recorded(&key.fingerprint)? {
            self.check(found.values().copied())?;
        }
        if let Recorded::Present(found) = self.recorded(&key.fingerprint)? {
            return Ok(Lookup::Hit(found));
        }
        let session = match &self.session {
            Some(session) => session.clone(),
            None => self.session.insert(Session::start(&self.directory.join("staging"))?).clone(),
        };
        Ok(Lookup::Miss(Ticket::new(key.clone(), outputs.clone(), session, self.store())?))
    }

    /// Writes the row of a finished stage, and returns the result of its key: if another came first
    /// and is still there, that one, and the difference is recorded.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn record(&mut self, sealed: Sealed, provenance: &Provenance) -> Result<Outputs, CacheError> {
        let Sealed { key, artifacts } = sealed;
        let fingerprint = key.fingerprint;
        let later: Outputs = artifacts.iter().map(|(slot, artifact)| (slot.clone(), artifact.digest)).collect();
        let stamps: Vec<Option<Digest>> =
            artifacts.values().map(|artifact| self.store.stamp(&artifact.digest)).collect();
        let store = self.store();
        let first = self.write(|connection| {
            let first = rows::result(connection, &fingerprint)?.map(|(outputs, _)| outputs);
            let kept = first.as_ref().is_some_and(|first| first.values().all(|artifact| store.path(artifact).exists()));
            for (slot, first) in first.iter().flatten() {
                match later.get(slot) {
                    Some(later) if later != first => {
                        let (slot, found, host) = (slot.clone(), now(), provenance.origin.host.clone());
                        let divergence = Divergence { fingerprint, slot, first: *first, later: *later, found, host };
                        rows::insert_divergence(connection, &divergence)?;
                    }
                    _ => {}
                }
            }
            for (artifact, stamp) in artifacts.values().zip(&stamps) {
                rows::insert_artifact(connection, artifact, &stamp.unwrap_or(artifact.digest))?;
            }
            if !kept {
                rows::insert_key(connection, &fingerprint, &key.text)?;
                rows::insert_entry(connection, &fingerprint, &later, provenance)?;
            }
            Ok(first.filter(|_| kept))
        })?;
        let result = first.unwrap_or(later);
        let index = self.index()?;
        index.checked.extend(artifacts.values().map(|artifact| (artifact.digest, true)));
        index.results.insert(fingerprint, (result.clone(), provenance.cpu));
        Ok(result)
    }

    /// Takes an artifact out of the store that was found damaged while it was read.
    ///
    /// # Errors
    ///
    /// If it cannot be moved, or the database fails.
    pub fn set_aside(&mut self, artifact: &Digest) -> Result<(), CacheError> {
        self.index()?.checked.insert(*artifact, false);
        self.store.set_aside(artifact)
    }

    /// Remembers under which key each stage of an experiment was last finished or found.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn remember<'a>(
        &mut self,
        experiment: &str,
        stages: impl IntoIterator<Item = (&'a str, Digest)>,
    ) -> Result<(), CacheError> {
        let known = rows::last(&self.connection, experiment).map_err(|source| self.problem(source))?;
        let new: Vec<(&str, Digest)> =
            stages.into_iter().filter(|(stage, fingerprint)| known.get(*stage) != Some(fingerprint)).collect();
        if new.is_empty() {
            return Ok(());
        }
        self.write(|connection| {
            new.iter().try_for_each(|(stage, fingerprint)| rows::set_last(connection, experiment, stage, fingerprint))
        })
    }

    /// The text of the key under which a stage of an experiment was last finished or found.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn last_key(&self, experiment: &str, stage: &str) -> Result<Option<String>, CacheError> {
        rows::last_key(&self.connection, experiment, stage).map_err(|source| self.problem(source))
    }

    /// Name, kind and duration in seconds of every finished stage, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn durations(&self) -> Result<Vec<(String, String, f64)>, CacheError> {
        rows::durations(&self.connection).map_err(|source| self.problem(source))
    }

    /// Every finished stage, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        rows::entries(&self.connection, None).map_err(|source| self.problem(source))
    }

    /// The last finished stages of a kind, `most` of them, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn latest(&self, kind: &str, most: usize) -> Result<Vec<Entry>, CacheError> {
        let condition = format!(
            "entries.fingerprint IN (SELECT fingerprint FROM entries WHERE kind = ?1 ORDER BY started DESC LIMIT {most})"
        );
        rows::entries(&self.connection, Some((&condition, kind))).map_err(|source| self.problem(source))
    }

    /// The finished stage with this fingerprint.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn entry(&self, fingerprint: &Digest) -> Result<Option<Entry>, CacheError> {
        let entries = rows::entries(&self.connection, Some(("fingerprint = ?1", &fingerprint.to_string())));
        Ok(entries.map_err(|source| self.problem(source))?.pop())
    }

    /// The finished stages that made an artifact, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn producers(&self, artifact: &Digest) -> Result<Vec<Entry>, CacheError> {
        let made = "fingerprint IN (SELECT fingerprint FROM outputs WHERE artifact = ?1)";
        rows::entries(&self.connection, Some((made, &artifact.to_string()))).map_err(|source| self.problem(source))
    }

    /// Everything whose digest starts with `prefix`: hexadecimal digits, with or without `b3:`.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn find(&self, prefix: &str) -> Result<Vec<Found>, CacheError> {
        let digits = prefix.strip_prefix("b3:").unwrap_or(prefix).to_lowercase();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let pattern = format!("b3:{digits}*");
        let condition = "fingerprint GLOB ?1";
        let entries =
            rows::entries(&self.connection, Some((condition, &pattern))).map_err(|source| self.problem(source))?;
        let artifacts = rows::artifacts(&self.connection, &pattern).map_err(|source| self.problem(source))?;
        let mut found: Vec<Found> = entries.into_iter().map(Found::Entry).collect();
        for artifact in artifacts {
            let producers = self.producers(&artifact.digest)?;
            found.push(Found::Artifact(artifact, producers));
        }
        Ok(found)
    }

    /// Results that came out differently from the first one of their key, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn divergences(&self) -> Result<Vec<Divergence>, CacheError> {
        rows::divergences(&self.connection).map_err(|source| self.problem(source))
    }

    /// The directory of an artifact.
    pub fn path(&self, artifact: &Digest) -> PathBuf {
        self.store.path(artifact)
    }

    /// The manifest of an artifact.
    ///
    /// # Errors
    ///
    /// If it is not in the store or cannot be read.
    pub fn manifest(&self, artifact: &Digest) -> Result<Manifest, CacheError> {
        self.store.manifest(artifact)
    }

    /// The few numbers and words that an artifact says of itself: empty if it says nothing.
    ///
    /// # Errors
    ///
    /// If its summary cannot be read.
    pub fn summary(&self, artifact: &Digest) -> Result<Map<String, Value>, CacheError> {
        let path = self.path(artifact).join("summary.json");
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
            read => {
                read.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other)).map_err(at("read", &path))
            }
        }
    }

    /// Where a stage with this fingerprint writes its log.
    pub fn log(&self, fingerprint: &Digest) -> PathBuf {
        self.directory.join("logs").join(format!("{}.log", fingerprint.hex()))
    }

    fn index(&mut self) -> Result<&mut Index, CacheError> {
        if self.index.is_none() {
            let read = || -> rusqlite::Result<Index> {
                let results = rows::results(&self.connection)?;
                let stamps = rows::stamps(&self.connection)?;
                Ok(Index { results, stamps, checked: HashMap::new() })
            };
            self.index = Some(read().map_err(|source| self.problem(source))?);
        }
        Ok(self.index.as_mut().expect("it was just read"))
    }

    /// Runs `body` in one transaction.
    fn write<T>(&mut self, body: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, CacheError> {
        let transact = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = body(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        transact(&mut self.connection).map_err(|source| self.problem(source))
    }

    fn problem(&self, source: rusqlite::Error) -> CacheError {
        CacheError::Database { path: self.directory.join("cache.sqlite"), source }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
