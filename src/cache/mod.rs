//! The work directory: what was computed, under which key, and where its files are.
//!
//! ```text
//! .runner/
//!   cache.sqlite   the action cache: key → outputs and provenance; digests of files outside
//!   journal.txt    every finished stage once more, to make the database again if it is damaged
//!   store/         immutable artifacts, each under the digest of its manifest
//!   staging/       where stages write until their result is committed
//!   damaged/       what was not as it was left, set aside: artifacts, databases
//!   logs/          what each stage wrote to its standard error, by fingerprint
//!   kept/          what stages that were cut off go on with, by fingerprint
//! ```
//!
//! A result is committed in three steps: its files are hashed and renamed into the store, then brought to
//! the disk, and then one transaction writes the row; the last two steps serve all results that wait for
//! them. A crash in between leaves an artifact that no row names, never a row without files. A row whose
//! files are missing all the same is a miss. Of several processes with one work directory only one makes
//! a result: it claims the key before, and its claim is void when it is gone.
//! Artifacts are checked by the sizes and times of their files whenever a result is looked up, and
//! by their bytes before a stage reads them.
//!
//! Unaware of the plan and of how stages are run.

mod database;
mod entry;
mod error;
mod fault;
mod files;
mod journal;
mod kept;
mod mend;
mod owner;
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
pub use fault::Point;
pub use files::FileDigests;
pub use owner::{Owner, host};
pub use store::{Artifact, Health, Manifest, ManifestFile, Store};
pub use ticket::{Lookup, Sealed, Ticket};

use crate::digest::Digest;
use crate::fingerprint::Key;
use error::at;
use fault::reach;
use staging::{Session, Watch};

const DATABASE: &str = "cache.sqlite";
const JOURNAL: &str = "journal.txt";
/// Says that the database was found damaged by someone who could not mend it then.
const MARK: &str = "cache.damaged";

/// The cache of a work directory, for one process.
pub struct Cache {
    directory: PathBuf,
    connection: Connection,
    /// Which file the connection is to.
    identity: Option<u64>,
    store: Arc<Store>,
    files: Arc<FileDigests>,
    /// Made when the first stage is to run.
    session: Option<Arc<Session>>,
    watch: Watch,
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
    /// then nothing there is changed. A damaged database of this program is made again.
    pub fn open(directory: &Path) -> Result<Cache, CacheError> {
        database::create_directory(directory)?;
        let directory = directory.canonicalize().map_err(at("find", directory))?;
        let path = directory.join(DATABASE);
        let journaled = !journal::is_empty(&directory.join(JOURNAL));
        let lost = path.metadata().map_or(true, |metadata| metadata.len() == 0) || directory.join(MARK).exists();
        if journaled && lost {
            mend::rebuild(&directory, mend::identity(&path))?;
        }
        let connection = match database::open(&path) {
            Err(error) if journaled && error.is_damage() => {
                mend::rebuild(&directory, mend::identity(&path))?;
                database::open(&path)?
            }
            opened => opened?,
        };
        let store = Arc::new(Store::new(&directory));
        let (identity, watch) = (mend::identity(&path), Watch::new(directory.join("staging")));
        let (files, session, index) = (Arc::default(), None, None);
        Ok(Cache { directory, connection, identity, store, files, session, watch, index })
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

    /// The result of a key, or the right to write it, or who has that: `outputs` are the slots with their
    /// artifact kinds.
    ///
    /// # Errors
    ///
    /// If the database fails or a staging directory cannot be made.
    pub fn lookup(&mut self, key: &Key, outputs: &IndexMap<String, String>) -> Result<Lookup, CacheError> {
        let fingerprint = key.fingerprint;
        loop {
            // Until the claim is made, other processes may finish the stage, and make lost artifacts again.
            self.look_again(&fingerprint)?;
            if let Some(found) = self.usable(&fingerprint)? {
                return Ok(Lookup::Hit(found));
            }
            let name = self.session()?.name();
            let row = self.index()?.results.get(&fingerprint).cloned();
            let claim = rows::claim(&self.connection, &fingerprint).map_err(|source| self.problem(source))?;
            let other = claim.as_ref().filter(|claim| **claim != name);
            if let Some(owner) = other.and_then(|other| self.watch.living(other)) {
                return Ok(Lookup::Taken(owner));
            }
            // What was found so far allows the claim, if it is still so.
            let claimed = self.write(|connection| {
                let same =
                    rows::claim(connection, &fingerprint)? == claim && rows::result(connection, &fingerprint)? == row;
                if same {
                    rows::set_claim(connection, &fingerprint, &name)?;
                }
                Ok(same)
            })?;
            if claimed {
                break;
            }
        }
        reach(Point::Claimed);
        let (session, store) = (self.session()?, self.store());
        Ok(Lookup::Miss(Ticket::new(key.clone(), outputs.clone(), session, store)?))
    }

    fn session(&mut self) -> Result<Arc<Session>, CacheError> {
        Ok(match &self.session {
            Some(session) => session.clone(),
            None => self.session.insert(Session::start(&self.directory.join("staging"))?).clone(),
        })
    }

    /// Who makes the result of a key now in another process. `None` if nobody does any more: then the
    /// result may be there.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn holder(&mut self, fingerprint: &Digest) -> Result<Option<Owner>, CacheError> {
        let session = rows::claim(&self.connection, fingerprint).map_err(|source| self.problem(source))?;
        let this = self.session.as_ref().map(|session| session.name());
        let owner = session.filter(|session| Some(session) != this.as_ref());
        let owner = owner.and_then(|session| self.watch.living(&session));
        if owner.is_none() {
            self.look_again(fingerprint)?;
        }
        Ok(owner)
    }

    /// Gives up the right to write the result of a key: the stage failed or was stopped.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn release(&mut self, fingerprint: &Digest) -> Result<(), CacheError> {
        let Some(session) = self.session.as_ref().map(|session| session.name()) else { return Ok(()) };
        self.write(|connection| rows::remove_claim(connection, fingerprint, &session))
    }

    /// Reads the row of a fingerprint that has no usable result so far, and forgets what was found out
    /// about its artifacts: other processes may have made them.
    fn look_again(&mut self, fingerprint: &Digest) -> Result<(), CacheError> {
        if matches!(self.recorded(fingerprint)?, Recorded::Present(_)) {
            return Ok(());
        }
        let row = rows::result(&self.connection, fingerprint).map_err(|source| self.problem(source))?;
        let index = self.index()?;
        match row {
            Some((outputs, cpu)) => {
                outputs.values().for_each(|artifact| {
                    index.checked.remove(artifact);
                });
                index.results.insert(*fingerprint, (outputs, cpu));
            }
            None => drop(index.results.remove(fingerprint)),
        }
        Ok(())
    }

    /// The result of a fingerprint, if all its artifacts are in the store as they were left.
    fn usable(&mut self, fingerprint: &Digest) -> Result<Option<Outputs>, CacheError> {
        if let Recorded::Present(found) = self.recorded(fingerprint)? {
            self.check(found.values().copied())?;
        }
        Ok(match self.recorded(fingerprint)? {
            Recorded::Present(found) => Some(found),
            Recorded::Broken { .. } | Recorded::Absent => None,
        })
    }

    /// Writes the row of a finished stage, and returns the result of its key: if another came first
    /// and is still there, that one, and the difference is recorded.
    ///
    /// # Errors
    ///
    /// If the disk or the database fails.
    pub fn record(&mut self, sealed: Sealed, provenance: &Provenance) -> Result<Outputs, CacheError> {
        let mut results = self.record_all(vec![(sealed, provenance.clone())])?;
        Ok(results.pop().expect("one result for each stage"))
    }

    /// [`Cache::record`] for several stages in one transaction: all rows are written or none.
    ///
    /// # Errors
    ///
    /// If the disk or the database fails.
    pub fn record_all(&mut self, mut finished: Vec<(Sealed, Provenance)>) -> Result<Vec<Outputs>, CacheError> {
        Sealed::sync(finished.iter_mut().map(|(sealed, _)| sealed))?;
        let stamp = |artifact: &Artifact| self.store.stamp(&artifact.digest).unwrap_or(artifact.digest);
        let stamps: Vec<Vec<Digest>> =
            finished.iter().map(|(sealed, _)| sealed.artifacts.values().map(stamp).collect()).collect();
        let (store, journal) = (self.store(), self.directory.join(JOURNAL));
        let session = self.session.as_ref().map(|session| session.name()).unwrap_or_default();
        let results = self.write(|connection| {
            let mut results = Vec::with_capacity(finished.len());
            let mut entries = Vec::new();
            for ((sealed, provenance), stamps) in finished.iter().zip(&stamps) {
                let fingerprint = sealed.key.fingerprint;
                let first = rows::result(connection, &fingerprint)?.map(|(outputs, _)| outputs);
                rows::remove_claim(connection, &fingerprint, &session)?;
                for (artifact, stamp) in sealed.artifacts.values().zip(stamps) {
                    rows::insert_artifact(connection, artifact, stamp)?;
                }
                for divergence in divergences(sealed, first.as_ref(), provenance) {
                    rows::insert_divergence(connection, &divergence)?;
                }
                let is_there = |outputs: &Outputs| outputs.values().all(|artifact| store.path(artifact).exists());
                if let Some(first) = first.filter(is_there) {
                    results.push(first);
                    continue;
                }
                let later = outputs(sealed);
                rows::insert_key(connection, &fingerprint, &sealed.key.text)?;
                rows::insert_entry(connection, &fingerprint, &later, provenance)?;
                results.push(later);
                let (key, outputs) = (sealed.key.text.clone(), sealed.artifacts.clone());
                entries.push(Entry { fingerprint, key, outputs, provenance: provenance.clone() });
            }
            if journal::is_empty(&journal) {
                // There are results from before there was a journal, or only those of this transaction.
                entries = rows::entries(connection, None)?;
            }
            journal::append(&journal, &entries)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            reach(Point::Journaled);
            reach(Point::RowsWritten);
            Ok(results)
        })?;
        reach(Point::Recorded);
        let index = self.index()?;
        for (((sealed, provenance), stamps), result) in finished.iter().zip(stamps).zip(&results) {
            for (artifact, stamp) in sealed.artifacts.values().zip(stamps) {
                index.checked.insert(artifact.digest, true);
                index.stamps.insert(artifact.digest, stamp);
            }
            index.results.insert(sealed.key.fingerprint, (result.clone(), provenance.cpu));
        }
        Ok(results)
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
            let read = |connection: &Connection| -> rusqlite::Result<Index> {
                let results = rows::results(connection)?;
                let stamps = rows::stamps(connection)?;
                Ok(Index { results, stamps, checked: HashMap::new() })
            };
            let index = match read(&self.connection) {
                Err(source) if self.can_be_mended(&source) => {
                    self.mend()?;
                    read(&self.connection)
                }
                read => read,
            };
            self.index = Some(index.map_err(|source| self.problem(source))?);
        }
        Ok(self.index.as_mut().expect("it was just read"))
    }

    /// Runs `body` in one transaction; once more, if the database had to be mended.
    fn write<T>(&mut self, body: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, CacheError> {
        let transact = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = body(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        match transact(&mut self.connection) {
            Err(source) if self.can_be_mended(&source) => {
                self.mend()?;
                transact(&mut self.connection)
            }
            result => result,
        }
        .map_err(|source| self.problem(source))
    }

    fn can_be_mended(&self, source: &rusqlite::Error) -> bool {
        database::is_damage(source) && !journal::is_empty(&self.directory.join(JOURNAL))
    }

    /// Makes the database again from the journal. What was read of it before stays true: it came from
    /// rows that could be read.
    fn mend(&mut self) -> Result<(), CacheError> {
        let path = self.directory.join(DATABASE);
        mend::rebuild(&self.directory, self.identity)?;
        self.connection = database::open(&path)?;
        self.identity = mend::identity(&path);
        Ok(())
    }

    /// A failure of the database. If it is damage, whoever opens it next mends it.
    fn problem(&self, source: rusqlite::Error) -> CacheError {
        if database::is_damage(&source) {
            let _ = std::fs::write(self.directory.join(MARK), format!("{source}\n"));
        }
        database::problem(&self.directory.join(DATABASE), source)
    }
}

fn outputs(sealed: &Sealed) -> Outputs {
    sealed.artifacts.iter().map(|(slot, artifact)| (slot.clone(), artifact.digest)).collect()
}

/// Where a result differs from the first one of its key.
fn divergences(sealed: &Sealed, first: Option<&Outputs>, provenance: &Provenance) -> Vec<Divergence> {
    let differs = |(slot, first): (&String, &Digest)| {
        let later = sealed.artifacts.get(slot).map(|artifact| artifact.digest).filter(|later| later != first)?;
        let (fingerprint, host) = (sealed.key.fingerprint, provenance.origin.host.clone());
        Some(Divergence { fingerprint, slot: slot.clone(), first: *first, later, found: now(), host })
    };
    first.into_iter().flatten().filter_map(differs).collect()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
